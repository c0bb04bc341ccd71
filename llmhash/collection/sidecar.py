"""The sidecar: the documents' float vectors beside their codes, as int8 or float16, for rescoring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.collection.manifest import SidecarKind
from llmhash.errors import InputError

_CHECKED_ROWS = 16384


def check_vectors(values: ArrayLike, dim: int | None = None) -> NDArray[Any]:
    """Return vectors (n, dim) of numbers as they are; they may be a memory map larger than memory.

    Raises:
        InputError: Another shape or dtype, or a number that is no finite float32.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"vectors must be numbers of shape (n, dim), not {array.dtype} {array.shape}.")
    if dim is not None and array.shape[1] != dim:
        raise InputError(f"vectors have {array.shape[1]} dimensions, the collection's have {dim}.")
    for start in range(0, len(array), _CHECKED_ROWS):
        with np.errstate(over="ignore"):
            block = array[start : start + _CHECKED_ROWS].astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise InputError(
                f"vectors hold NaN or infinity, first in row {start + bad[0]}; remove or embed them again."
            )
    return array


def row_dtype(kind: SidecarKind, dim: int) -> np.dtype[np.void]:
    """How a vector of `dim` dimensions lies on disk: for int8, its float32 scale comes first."""
    if kind == "int8":
        return np.dtype([("scale", "<f4"), ("values", "i1", (dim,))])
    return np.dtype([("values", "<f2", (dim,))])


def encode_vectors(kind: SidecarKind, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 (n, dim) to the stored rows, uint8 (n, row bytes).

    int8 is symmetric per row: scale = max|v| / 127, so that a component is off by at most scale / 2.

    Raises:
        InputError: A component is beyond float16.
    """
    count, dim = vectors.shape
    rows = np.zeros(count, dtype=row_dtype(kind, dim))
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    if kind == "int8":
        scale = (largest / np.float32(127)).astype(np.float32)
        rows["scale"] = scale
        # A row of zeros, or of numbers so small that its scale is zero, is stored as zeros.
        usable = scale > np.finfo(np.float32).tiny
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=usable)
        rows["values"] = np.clip(np.rint(vectors * inverse[:, None]), -127, 127)
    else:
        beyond = np.flatnonzero(largest > np.finfo(np.float16).max)
        if len(beyond):
            size = largest[beyond[0]]
            raise InputError(f"vectors[{beyond[0]}] holds {size:g}, beyond float16; normalize the vectors.")
        rows["values"] = vectors
    return rows.view(np.uint8).reshape(count, rows.dtype.itemsize)


def decode_vectors(kind: SidecarKind, dim: int, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stored rows, uint8 (n, row bytes), to float32 (n, dim)."""
    stored = np.ascontiguousarray(rows).view(row_dtype(kind, dim))[:, 0]
    values: NDArray[np.float32] = stored["values"].astype(np.float32)
    if kind == "int8":
        values *= stored["scale"][:, None]
    return values
