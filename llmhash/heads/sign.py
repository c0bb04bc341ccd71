"""Sign heads: one bit per feature, thresholded at zero or at the feature's median. Nothing is rotated."""

from __future__ import annotations

import numpy as np

from llmhash.codes import check_bits
from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures


def fit_sign(features: TrainingFeatures, bits: int) -> AffineHead:
    """The signs of the first `bits` dimensions: what "binary quantization" means elsewhere.

    The first dimensions are those that Matryoshka-trained teachers pack with most information.

    Raises:
        InputError: `bits` is not from 1 to 4096, or above the dimension.
    """
    refuse_above_dim("sign", "takes the first b dimensions", bits, features.dim)
    return AffineHead(_first_dimensions(bits, features.dim), np.zeros(bits, dtype=np.float32))


def fit_median(features: TrainingFeatures, bits: int) -> AffineHead:
    """The first `bits` dimensions, each split at its median, so that every bit halves the corpus.

    Where the sides differ, the query side is split at the queries' own medians.

    Raises:
        InputError: `bits` is not from 1 to 4096, or above the dimension.
    """
    refuse_above_dim("median", "takes the first b dimensions", bits, features.dim)
    queries = features.query_statistics
    return AffineHead(
        _first_dimensions(bits, features.dim),
        -median_thresholds(features.documents[:, :bits]),
        query_bias=None if queries is None else -median_thresholds(queries[:, :bits]),
    )


def median_thresholds(values: FloatArray) -> FloatArray:
    """Thresholds float32 (d,) that split the columns of `values` (n, d) as evenly as their ties allow.

    A threshold lies midway between two neighbouring distinct values, so that rounding noise cannot flip a
    training row's bit: with an odd number of rows that is above the middle value, not on it. A constant
    column gets a threshold slightly above its value, so that its bit is always 0.
    """
    return np.array([_split(column) for column in values.T], dtype=np.float32)


def refuse_above_dim(name: str, reason: str, bits: int, dim: int) -> None:
    """Raise `InputError` unless `bits` is a code width of at most `dim`."""
    if check_bits(bits) > dim:
        raise InputError(
            f"{name} {reason}, and the teacher has {dim}: ask for at most {dim} bits, or use lsh or distill, "
            f"which take any number of bits."
        )


def _first_dimensions(bits: int, dim: int) -> FloatArray:
    return np.eye(bits, dim, dtype=np.float32)


def _split(column: FloatArray) -> float:
    """The most balanced gap next to the lower middle value of `column`; the upper one where both are even."""
    rank = (len(column) - 1) // 2
    middle = float(np.partition(column, rank)[rank])
    above, below = column[column > middle], column[column < middle]
    if len(above) == 0 and len(below) == 0:
        return middle + 1e-3 * (abs(middle) or 1.0)
    ones_if_upper, ones_if_lower = len(above), len(column) - len(below)
    half = len(column) / 2
    upper = len(above) > 0 and (len(below) == 0 or abs(ones_if_upper - half) <= abs(ones_if_lower - half))
    neighbour = float(above.min()) if upper else float(below.max())
    return (middle + neighbour) / 2
