"""Spectral hashing: a bit is the sign of a sine along a principal component.

Weiss, Torralba and Fergus, "Spectral Hashing" (NeurIPS 2008), section 3. For features that are uniform on
[a, b] along each principal component, the eigenfunctions of the graph Laplacian are
`sin(pi/2 + k pi / (b - a) * x)` with eigenvalues that grow with `k / (b - a)`: codes are the b bits of the
smallest ones, long components being cut more than once before short ones are cut at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import check_bits
from llmhash.errors import FormatError, InputError
from llmhash.heads.base import (
    AnyFeatures,
    FloatArray,
    SignsHead,
    TrainingFeatures,
    refuse_not_dense,
    refuse_wrong_width,
)
from llmhash.heads.projection import principal_components

# Rows that components and ranges are estimated on: more change them less than another seed does.
_MAX_ROWS = 100_000
# Components whose range is a smaller share of the longest one's are numerically empty.
_EMPTY_RANGE = 1e-5


@dataclass(frozen=True, eq=False)
class SpectralHead(SignsHead):
    """Logits `cos(x @ weight.T + bias)`: frequency, component, mean and start of the range in one map.

    Attributes:
        weight: float32 (bits, dim).
        bias: float32 (bits,), the document side.
        query_bias: float32 (bits,), or None where queries use `bias`.
    """

    weight: FloatArray
    bias: FloatArray
    query_bias: FloatArray | None = None
    kind = "spectral"

    def __post_init__(self) -> None:
        for name, array in self.tensors().items():
            expected = self.weight.shape if name == "weight" else self.weight.shape[:1]
            if array.dtype != np.float32 or array.shape != expected or self.weight.ndim != 2:
                raise InputError(f"{name} must be float32 {expected}, not {array.dtype} {array.shape}.")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity.")

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return int(self.weight.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return int(self.weight.shape[1])

    def document_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits), in [-1, 1], of document features float32 (n, dim)."""
        return self._logits(features, self.bias)

    def query_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits), in [-1, 1], of query features float32 (n, dim)."""
        return self._logits(features, self.bias if self.query_bias is None else self.query_bias)

    def _logits(self, features: AnyFeatures, bias: FloatArray) -> FloatArray:
        refuse_wrong_width(features, self.dim)
        logits: FloatArray = np.cos(features.astype(np.float32, copy=False) @ self.weight.T + bias)
        return logits

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored."""
        named = {"weight": self.weight, "bias": self.bias, "query_bias": self.query_bias}
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> SpectralHead:
        """The inverse of `tensors`.

        Raises:
            FormatError: An array is missing, unknown or of the wrong shape.
        """
        try:
            return cls(**tensors)
        except (TypeError, InputError) as error:
            raise FormatError(f"the stored head is not of spectral hashing ({error}).") from error


def fit_spectral(features: TrainingFeatures, bits: int, *, seed: int = 0) -> SpectralHead:
    """Spectral hashing of the documents, any number of bits.

    Where the sides differ, queries are centred on their own mean.

    Args:
        features: Dense ones.
        bits: Bits in a code.
        seed: Decides the sample of a corpus of more than 100,000 documents.

    Raises:
        InputError: `bits` is not from 1 to 4096, the features are not dense, or all documents are the same.
    """
    check_bits(bits)
    refuse_not_dense("spectral", features.documents)
    rows = features.documents
    if len(rows) > _MAX_ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), _MAX_ROWS, replace=False))]
    mean = rows.mean(axis=0, dtype=np.float64)
    components = principal_components(rows, min(bits, features.dim))
    projected = rows @ components.T - components @ mean
    starts, lengths = projected.min(axis=0), np.ptp(projected, axis=0)
    kept = lengths > _EMPTY_RANGE * max(float(lengths.max()), float(np.finfo(np.float32).tiny))
    if not kept.any():
        raise InputError("spectral needs documents that differ; all of these have the same features.")
    components, starts, lengths = components[kept], starts[kept], lengths[kept]
    axes, modes = _smallest(lengths, bits)
    frequencies = modes * np.pi / lengths[axes]
    weight = frequencies[:, None] * components[axes]
    queries = features.query_statistics

    def bias(centre: NDArray[np.float64]) -> FloatArray:
        # sin(pi/2 + f (x - start)) is cos(f (x - start)).
        values: FloatArray = (-weight @ centre - frequencies * starts[axes]).astype(np.float32)
        return values

    return SpectralHead(
        weight.astype(np.float32),
        bias(mean),
        None if queries is None else bias(queries.mean(axis=0, dtype=np.float64)),
    )


def _smallest(lengths: NDArray[np.float64], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Component and mode (from 1) of the `bits` smallest eigenvalues, ascending; k / length orders them."""
    modes = np.arange(1, bits + 1)
    values = modes[None, :] / lengths[:, None]
    axes, columns = np.unravel_index(np.argsort(values, axis=None, kind="stable")[:bits], values.shape)
    return axes.astype(np.int64), modes[columns]
