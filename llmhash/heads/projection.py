"""Closed-form projections: random hyperplanes (LSH), principal components and their rotation (ITQ).

All of them centre the features on the corpus mean (where the sides differ, queries on their own mean) and
take the signs of a linear map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import check_bits
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.heads.sign import refuse_above_dim

ITQ_ITERATIONS = 50
# Rows that covariances and rotations are estimated on: more change the result less than another seed does.
_MAX_ROWS = 100_000
#: Rows that a start is fitted to at most: what is trained or fitted goes on from there with more.
START_ROWS = 20_000
_BLOCK_ROWS = 8192
# Components that hold a smaller share of the largest one's variance are numerically empty.
_EMPTY_COMPONENT = 1e-10


def fit_lsh(features: TrainingFeatures, bits: int, *, seed: int = 0) -> AffineHead:
    """Random hyperplanes through the corpus mean (Charikar 2002): Gaussian normals, any number of bits.

    Raises:
        InputError: `bits` is not from 1 to 4096.
    """
    rng = np.random.default_rng(seed)
    return centred_head(rng.standard_normal((check_bits(bits), features.dim)), features)


def fit_pca(features: TrainingFeatures, bits: int) -> AffineHead:
    """The signs of the first `bits` principal components.

    Components without variance (a corpus of fewer documents than bits) are zero, not noise.

    Raises:
        InputError: `bits` is not from 1 to 4096, or above the dimension.
    """
    refuse_above_dim("pca", "has one component per dimension", bits, features.dim)
    return centred_head(principal_components(_sample(features.documents, 0), bits), features)


def fit_itq(
    features: TrainingFeatures,
    bits: int,
    *,
    seed: int = 0,
    iterations: int = ITQ_ITERATIONS,
    max_rows: int = _MAX_ROWS,
    progress: Callable[[int, int, str], None] | None = None,
) -> AffineHead:
    """Iterative quantization (Gong & Lazebnik, CVPR 2011): principal components, rotated towards their signs.

    Args:
        features: What to fit on.
        bits: Bits in a code, at most the dimension.
        seed: Decides the first rotation and, above `max_rows`, the sample.
        iterations: Alternations between signs and rotation.
        max_rows: Documents that take part; a seeded sample of a larger corpus.
        progress: Called with (iteration, iterations, message).

    Raises:
        InputError: `bits` is not from 1 to 4096, or above the dimension.
    """
    refuse_above_dim("itq", "rotates b principal components", bits, features.dim)
    rows = _sample(features.documents, seed, max_rows)
    components = principal_components(rows, bits)
    projected = (rows - mean_vector(rows)) @ components.T.astype(np.float32)
    rotation, _ = itq_rotation(projected, seed=seed, iterations=iterations, progress=progress)
    return centred_head(rotation.T @ components, features)


def itq_start(documents: FloatArray, bits: int, *, seed: int) -> AffineHead:
    """What is fitted further starts here: ITQ of a sample, several on end for more bits than dimensions."""
    dim = documents.shape[1]
    parts = [
        fit_itq(TrainingFeatures(documents), min(dim, bits - first), seed=seed + first, max_rows=START_ROWS)
        for first in range(0, bits, dim)
    ]
    return AffineHead(
        np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])
    )


def itq_rotation(
    projected: FloatArray,
    *,
    seed: int = 0,
    iterations: int = ITQ_ITERATIONS,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[NDArray[np.float64], list[float]]:
    """Minimise `||sign(V R) - V R||_F^2` over orthogonal R by alternating between the signs and R.

    With the signs B fixed, the best R is `U W^T` from the singular value decomposition of `V^T B`
    (orthogonal Procrustes); neither step can raise the error.

    Args:
        projected: V, float32 (n, b), centred.
        seed: Decides the random rotation that it starts from.
        iterations: Alternations.
        progress: Called with (iteration, iterations, message).

    Returns:
        R float64 (b, b), and the mean squared error per row before each update of R.
    """
    bits = projected.shape[1]
    rotation = random_rotation(bits, np.random.default_rng(seed))
    errors: list[float] = []
    for iteration in range(iterations):
        rotated = projected @ rotation.astype(projected.dtype)
        signs = np.where(rotated > 0, 1, -1).astype(projected.dtype)
        errors.append(float(np.square(signs - rotated).sum(axis=1).mean()))
        left, _, right = np.linalg.svd((projected.T @ signs).astype(np.float64))
        rotation = left @ right
        if progress is not None:
            progress(iteration + 1, iterations, f"quantization error {errors[-1]:.4f}")
    return rotation, errors


def principal_components(rows: FloatArray, count: int) -> NDArray[np.float64]:
    """The first `count` principal axes of `rows` (n, d), float64 (count, d), by falling variance.

    Each axis points where its largest entry is positive, so that the result does not depend on the LAPACK
    build. Axes without variance are zero.
    """
    mean = mean_vector(rows)
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        # In double precision: empty components could not be told from rounding noise otherwise.
        centred = (rows[start : start + _BLOCK_ROWS] - mean).astype(np.float64)
        covariance += centred.T @ centred
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1][:count], axes[:, ::-1][:, :count].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    floor = _EMPTY_COMPONENT * max(float(variances[0]), np.finfo(np.float64).tiny)
    kept: NDArray[np.float64] = np.where(variances[:, None] > floor, axes, 0.0)
    return kept


def random_rotation(dim: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation or reflection (dim, dim), uniform over the orthogonal group."""
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    rotation: NDArray[np.float64] = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return rotation


def centred_head(weight: NDArray[np.float64], features: TrainingFeatures) -> AffineHead:
    """The head `weight @ (x - mean)`, each side with its own mean where the sides differ."""
    queries = features.query_statistics
    return AffineHead(
        weight.astype(np.float32),
        -(weight @ mean_vector(features.documents)).astype(np.float32),
        query_bias=None if queries is None else -(weight @ mean_vector(queries)).astype(np.float32),
    )


def _sample(rows: FloatArray, seed: int, limit: int = _MAX_ROWS) -> FloatArray:
    if len(rows) <= limit:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False))]
