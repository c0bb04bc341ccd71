"""Float arrays that a user already holds: `.npy`, or a Parquet column of lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError


def read_vectors(path: str | Path) -> NDArray[np.float32]:
    """Read float32 (n, d) vectors.

    Args:
        path: A `.npy` file (n, d), or a `.parquet` file with one column of equally long lists of numbers
            (named `embedding`, `embeddings` or `vector` where there are several).

    Raises:
        InputError: The file is missing, unreadable, or not n equally long vectors.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source} does not exist.")
    if source.suffix == ".npy":
        values = _read_npy(source)
    elif source.suffix == ".parquet":
        values = _read_parquet(source)
    else:
        raise InputError(f"{source}: vectors are read from .npy and .parquet files.")
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise InputError(f"{source} must hold numbers of shape (n, d), not {values.dtype} {values.shape}.")
    if not len(values):
        raise InputError(f"{source} holds no vectors.")
    return np.asarray(values, dtype=np.float32)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is not a readable .npy file ({error}).") from None
    return values


def _read_parquet(path: Path) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = parquet.read_schema(path)
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    named = [name for name in lists if name in ("embedding", "embeddings", "vector")] or lists
    if len(named) != 1:
        raise InputError(
            f"{path} needs one column of vectors named `embedding`; its list columns are {lists}."
        )
    column = parquet.read_table(path, columns=named)[named[0]].combine_chunks()
    lengths = set(column.value_lengths().to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise InputError(f"{path}: the vectors of column `{named[0]}` are not all equally long.")
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), lengths.pop())
