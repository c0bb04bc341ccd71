"""What is known of queries before any is asked: how they lie off the documents that answer them.

A query of a document x is taken to be `a x + c + e`: a share of the document, a constant that queries have in
common, and noise, which is stronger in some directions than in others. Pseudo-queries and the documents that
they were cut from tell all three. Where there are none, documents and their nearest others tell the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector

# What the noise's covariance gets of a multiple of the identity, up to so many bits: queries at hand are cut
# from documents, and real ones are off in other directions, too. More bits leave less to gain by knowing
# where queries lie, and as much to lose by being wrong about it: the covariance's own share falls with their
# root.
_SHRINKAGE, _SHRUNK_BITS = 0.5, 64
# Queries that have nothing of their documents would leave nothing to search for.
_LEAST_SHARE = 0.1
# Documents that stand in for queries at most, where there are no queries of known sources.
_STAND_INS = 4096
# Documents at a time that nearest ones are looked for in.
_BLOCK_ROWS = 1 << 12
# Squared distance, of a document's squared length, up to which another is a copy of it, but for rounding.
_COPY = 1e-5


@dataclass(frozen=True, eq=False)
class QueryModel:
    """How queries lie off their documents.

    Attributes:
        share: a, what a query holds of its document, above 0 and at most 1.
        shift: float32 (d,), what queries' mean is off the documents'; None where nothing tells.
        noise: float32 (m, d), e of queries at hand, centred.
    """

    share: np.float32
    shift: FloatArray | None
    noise: FloatArray

    def whitening(self, shrinkage: float) -> FloatArray:
        """`S^(-1/2)`, float32 (d, d), the map under which noise is about the same in all directions.

        S is the noise's covariance, of which `shrinkage` is drawn to the identity.
        """
        return inverse_root(self.noise, shrinkage)


def query_model(features: TrainingFeatures) -> QueryModel:
    """What queries of known sources say; without any, what documents are off their nearest others."""
    if features.queries is not None and features.sources is not None and (features.sources >= 0).any():
        known = features.sources >= 0
        documents = features.documents[features.sources[known]]
        share, noise = share_and_noise(features.queries[known], documents)
        clean = features.queries if features.clean_queries is None else features.clean_queries
        common = mean_vector(clean[known]) - share * mean_vector(documents)
        return QueryModel(share, common - (1 - share) * mean_vector(features.documents), noise)
    share, noise = share_and_noise(*near_documents(features.documents))
    queries = features.query_statistics
    if queries is None:
        return QueryModel(share, None, noise)
    return QueryModel(share, mean_vector(queries) - mean_vector(features.documents), noise)


def share_and_noise(queries: FloatArray, documents: FloatArray) -> tuple[np.float32, FloatArray]:
    """The share a of its document that a query holds, by least squares, and what is left, float32 (m, d).

    Args:
        queries: float32 (m, d).
        documents: float32 (m, d), the document of each.
    """
    queries, documents = queries - queries.mean(axis=0), documents - documents.mean(axis=0)
    squares = float(np.einsum("md,md->", documents, documents, dtype=np.float64))
    products = float(np.einsum("md,md->", queries, documents, dtype=np.float64))
    share = np.float32(np.clip(products / squares, _LEAST_SHARE, 1.0) if squares else 1.0)
    return share, queries - share * documents


def stand_in_queries(
    documents: FloatArray, shift: FloatArray | None, count: int, seed: int
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Queries where there are none: documents moved as others' nearest lie off those, and as long as before.

    Args:
        documents: float32 (n, d).
        shift: float32 (d,), what queries' mean is off the documents'; None where nothing tells.
        count: Of queries.
        seed: Draws the documents, and what each is moved by.

    Returns:
        float32 (count, d), the queries, and int64 (count,), the row of the document that each was.
    """
    rng = np.random.default_rng(seed)
    some, nearest = near_documents(documents)
    rows, moves = rng.integers(len(documents), size=count), rng.integers(len(some), size=count)
    sources = documents[rows]
    queries = sources + (nearest - some)[moves]
    queries *= _lengths(sources) / np.maximum(_lengths(queries), np.finfo(np.float32).tiny)
    return queries if shift is None else queries + shift, rows


def near_documents(documents: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Documents, a sample, and the nearest other of each that is no copy of it, both float32 (m, d).

    Where all are copies of one, each is its own nearest.
    """
    some = documents[:: max(1, len(documents) // _STAND_INS)][:_STAND_INS]
    squares = np.einsum("md,md->m", some, some)[:, None]
    best = np.full(len(some), -np.inf, np.float32)
    nearest: NDArray[np.int64] = np.zeros(len(some), np.int64)
    for start in range(0, len(documents), _BLOCK_ROWS):
        block = documents[start : start + _BLOCK_ROWS]
        similarities = some @ block.T
        distances = squares + np.einsum("nd,nd->n", block, block) - 2 * similarities
        similarities[distances <= _COPY * squares] = -np.inf
        found = similarities.argmax(axis=1)
        values = similarities[np.arange(len(some)), found]
        nearest = np.where(values > best, found + start, nearest)
        best = np.maximum(best, values)
    others = np.isfinite(best)
    return (some[others], documents[nearest[others]]) if others.any() else (some, some)


def _lengths(vectors: FloatArray) -> FloatArray:
    """Of vectors (m, d), float32 (m, 1)."""
    lengths: FloatArray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return lengths


def shrinkage_at(bits: int) -> float:
    """The share of the identity in the covariance of queries off their documents, 0.5 to 1."""
    return 1 - (1 - _SHRINKAGE) * min(1.0, math.sqrt(_SHRUNK_BITS / bits))


def inverse_root(vectors: FloatArray, shrinkage: float) -> FloatArray:
    """`S^(-1/2)`, float32 (d, d), of the covariance S of vectors (m, d).

    S is `(1 - shrinkage) C + shrinkage * tr(C) / d * I`, with C the covariance at hand.
    """
    wide = vectors.astype(np.float64)
    wide -= wide.mean(axis=0)
    variances, axes = np.linalg.eigh(wide.T @ wide / len(wide))
    variances = np.maximum(variances, 0)
    shrunk = (1 - shrinkage) * variances + shrinkage * (float(variances.mean()) or 1.0)
    root: FloatArray = ((axes / np.sqrt(shrunk)) @ axes.T).astype(np.float32)
    return root
