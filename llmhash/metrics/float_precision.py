"""Precision of float embeddings by labels: what codes are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.metrics.shared_labels import SharedLabels

# Scores in memory at a time: 32 MB of float32, and as much again for the partition.
_BLOCK_SCORES = 1 << 23


def float_precision(
    queries: Any,
    database: Any,
    query_labels: NDArray[Any],
    database_labels: NDArray[Any],
    k: Sequence[int],
) -> NDArray[np.float64]:
    """Precision@k of ranking all documents by cosine, at several k at once.

    A document is relevant if it shares a label. The denominator is k, and documents that tie at the k-th
    place count in expectation, as in `RadiusCounts.precision`. The cosine of a zero vector is 0.

    Args:
        queries: float (q, d): an array, or a SciPy CSR array.
        database: float (n, d), likewise.
        query_labels: bool (q, L).
        database_labels: bool (n, L).
        k: Cut-offs, each at least 1.

    Returns:
        float64 (q, len(k)).

    Raises:
        InputError: A cut-off is below 1, the arrays do not fit each other, or they hold NaN or infinity.
    """
    if not k or min(k) < 1:
        raise InputError(f"k must be whole numbers of at least 1, not {list(k)}.")
    if queries.shape[1] != database.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions, documents {database.shape[1]}.")
    count, documents = queries.shape[0], database.shape[0]
    shared = SharedLabels(query_labels, database_labels, count, documents)
    asked, answers = _unit(queries, "queries"), _unit(database, "documents").T
    # In ascending order, the k-th best score stands at n - k. With k >= n there is no cut.
    places = sorted({documents - cut for cut in k if cut < documents})
    values = np.empty((count, len(k)))
    step = max(1, _BLOCK_SCORES // max(1, documents))
    for start in range(0, count, step):
        rows = slice(start, start + step)
        scores, relevant = _dense(asked[rows] @ answers), shared[rows]
        ordered = np.partition(scores, places, axis=1) if places else scores
        for column, cut in enumerate(k):
            if cut < documents:
                hits = _hits(scores, relevant, ordered[:, documents - cut, None], cut)
            else:
                hits = relevant.sum(axis=1)
            values[rows, column] = hits / cut
    return values


def _hits(
    scores: NDArray[np.float32], relevant: NDArray[np.bool_], last: NDArray[np.float32], k: int
) -> NDArray[np.float64]:
    """Expected relevant documents among the first k, `last` (rows, 1) being the k-th best score."""
    better, tied = scores > last, scores == last
    places = (k - np.count_nonzero(better, axis=1)) / np.count_nonzero(tied, axis=1)
    sure = np.count_nonzero(better & relevant, axis=1)
    hits: NDArray[np.float64] = sure + np.count_nonzero(tied & relevant, axis=1) * places
    return hits


def _unit(rows: Any, what: str) -> Any:
    """Rows of length 1 as float32, dense or CSR as they came; zero rows stay zero."""
    sparse = not isinstance(rows, np.ndarray)
    if not np.isfinite(rows.data if sparse else rows).all():
        raise InputError(f"the embeddings of the {what} hold NaN or infinity; embed them again.")
    rows = rows.astype(np.float32)
    if sparse:
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        rows.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(rows.indptr)).astype(np.float32)
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _dense(scores: Any) -> NDArray[np.float32]:
    dense: NDArray[np.float32] = scores if isinstance(scores, np.ndarray) else scores.toarray()
    return dense
