"""How embeddings lie around zero, which decides what a sign at zero tells apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A dimension is imbalanced where a share of signs outside these bounds is positive, and nearly constant
#: where it lies outside the wider ones: such a bit says almost nothing.
IMBALANCED = (0.1, 0.9)
NEARLY_CONSTANT = (0.01, 0.99)
#: Where the quantiles of the shares of positive signs are taken.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_BLOCK_ROWS = 8192

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SideGeometry:
    """How the n embeddings of one side lie.

    Attributes:
        rows: n.
        shift: Length of the mean vector over the mean length of a vector: 0 is centred, 1 a single point.
        positive: Quantiles over the dimensions (at `QUANTILES`) of the share of positive signs.
        imbalanced: Dimensions whose share of positive signs lies outside `IMBALANCED`.
        nearly_constant: Dimensions whose share lies outside `NEARLY_CONSTANT`.
        effective_dimension: Participation ratio of the covariance's spectrum, (sum l)^2 / sum l^2: as many
            equally strong directions would spread as evenly.
        anisotropy: Mean cosine of all pairs of rows.
    """

    rows: int
    shift: float
    positive: tuple[float, ...]
    imbalanced: int
    nearly_constant: int
    effective_dimension: float
    anisotropy: float


@dataclass(frozen=True)
class Geometry:
    """Both sides.

    Attributes:
        dim: Dimensions of the embeddings.
        documents: The document side.
        queries: The query side; None where documents stand in for queries.
        between_sides: Distance of the sides' means over the mean length of a document's vector.
        sides_differ: Whether the teacher treats queries by another function or prompt than documents.
        duplicates: Documents whose vector equals that of an earlier one.
    """

    dim: int
    documents: SideGeometry
    queries: SideGeometry | None
    between_sides: float | None
    sides_differ: bool
    duplicates: int


def measure_geometry(
    documents: FloatArray, queries: FloatArray | None, *, sides_differ: bool, duplicates: int
) -> Geometry:
    """The geometry of documents float32 (n, d) and queries float32 (m, d)."""
    between = None
    if queries is not None:
        distance = float(np.linalg.norm(_mean(queries) - _mean(documents)))
        between = _ratio(distance, float(np.linalg.norm(documents, axis=1).mean()))
    return Geometry(
        dim=int(documents.shape[1]),
        documents=measure_side(documents),
        queries=None if queries is None else measure_side(queries),
        between_sides=between,
        sides_differ=sides_differ,
        duplicates=duplicates,
    )


def measure_side(rows: FloatArray) -> SideGeometry:
    """The geometry of embeddings float32 (n, d), n at least 2."""
    norms = np.linalg.norm(rows, axis=1)
    mean = _mean(rows)
    positive = np.count_nonzero(rows > 0, axis=0) / len(rows)
    return SideGeometry(
        rows=len(rows),
        shift=_ratio(float(np.linalg.norm(mean)), float(norms.mean())),
        positive=tuple(float(value) for value in np.quantile(positive, QUANTILES)),
        imbalanced=_outside(positive, IMBALANCED),
        nearly_constant=_outside(positive, NEARLY_CONSTANT),
        effective_dimension=_participation_ratio(rows, mean),
        anisotropy=_mean_cosine(rows, norms),
    )


def _outside(shares: NDArray[np.float64], bounds: tuple[float, float]) -> int:
    return int(np.count_nonzero((shares < bounds[0]) | (shares > bounds[1])))


def _participation_ratio(rows: FloatArray, mean: NDArray[np.float64]) -> float:
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        centred = rows[start : start + _BLOCK_ROWS] - mean
        covariance += centred.T @ centred
    # The traces of C and C^2 are the sums of eigenvalues and of their squares: no spectrum is needed.
    return _ratio(float(np.trace(covariance)) ** 2, float(np.square(covariance).sum()))


def _mean_cosine(rows: FloatArray, norms: NDArray[np.float32]) -> float:
    """Mean cosine over all pairs, in closed form: |sum of unit vectors|^2 is n plus the sum over pairs."""
    kept = norms > 0
    count = int(np.count_nonzero(kept))
    if count < 2:
        return 0.0
    total = np.divide(rows[kept], norms[kept, None], dtype=np.float64).sum(axis=0)
    return float((total @ total - count) / (count * (count - 1)))


def _mean(rows: FloatArray) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = rows.mean(axis=0, dtype=np.float64)
    return mean


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0
