"""Where the relevant documents of each query stand in a ranking with ties.

A document that `above` documents beat and that shares its score with `tied` documents (itself included)
takes each of the positions above + 1, ..., above + tied equally often when ties are broken at random.
These two counts over *all* documents are everything that the metrics need, so a metric never depends on how
a search happened to order equal scores. A truncated list could not tell: with 64-bit codes dozens of
documents share the distance at rank 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.judgements import Judgements


@dataclass(frozen=True, eq=False)
class Ranks:
    """Positions of the relevant documents of q queries, one query after the other.

    Attributes:
        offsets: int64 (q + 1,); query i owns the entries `offsets[i]:offsets[i + 1]`.
        gains: float64 (r,), grades of *all* relevant documents, retrieved or not.
        above: int64 (r,), documents that score strictly higher; 0 where the document was not retrieved.
        tied: int64 (r,), documents with the same score, itself included; 0 where it was not retrieved, which
            makes every formula count it as never found.
    """

    offsets: NDArray[np.int64]
    gains: NDArray[np.float64]
    above: NDArray[np.int64]
    tied: NDArray[np.int64]

    @classmethod
    def from_scores(
        cls,
        scores: NDArray[Any],
        judgements: Judgements,
        *,
        order: NDArray[np.int64] | None = None,
    ) -> Ranks:
        """Ranks from scores, higher is better.

        Args:
            scores: floats (q, n); -inf (and NaN) is "not retrieved".
            judgements: Of the same q queries, with rows into the n columns.
            order: int64 (n,) or (q, n), distinct within a query: breaks ties, lower first, instead of
                leaving them open; scores are then compared as float32. With `id_order` this is the ranking
                of trec_eval and pytrec_eval.
        """
        above = np.zeros(len(judgements.rows), dtype=np.int64)
        tied = np.zeros(len(judgements.rows), dtype=np.int64)
        if order is not None:
            scores = np.asarray(scores, dtype=np.float32)
        bounds = judgements.offsets.tolist()
        for i, row in enumerate(scores):
            start, stop = bounds[i], bounds[i + 1]
            columns = judgements.rows[start:stop]
            # Only what was found is counted; everything else keeps its zeros.
            found = (columns >= 0) & (row[columns] > -np.inf)
            if not found.any():
                continue
            columns, entries = columns[found], start + np.flatnonzero(found)
            if order is None:
                above[entries], tied[entries] = _count(row, row[columns])
            else:
                above[entries] = _place(row, order if order.ndim == 1 else order[i])[columns]
                tied[entries] = 1
        return cls(judgements.offsets, judgements.gains, above, tied)

    @classmethod
    def from_distances(cls, distances: NDArray[np.integer[Any]], judgements: Judgements, bits: int) -> Ranks:
        """Ranks from Hamming distances, lower is better, through each query's histogram.

        Args:
            distances: integers (q, n) from 0 to `bits`.
            judgements: Of the same q queries, with rows into the n columns.
            bits: The largest distance possible.
        """
        queries, width = len(distances), bits + 1
        shifted = distances + (np.arange(queries, dtype=np.int64) * width)[:, None]
        histogram = np.bincount(shifted.ravel(), minlength=queries * width).reshape(queries, width)
        below = np.cumsum(histogram, axis=1) - histogram
        found = judgements.rows >= 0
        query = judgements.query[found]
        nearest = distances[query, judgements.rows[found]]
        above = np.zeros(len(judgements.rows), dtype=np.int64)
        tied = np.zeros(len(judgements.rows), dtype=np.int64)
        above[found] = below[query, nearest]
        tied[found] = histogram[query, nearest]
        return cls(judgements.offsets, judgements.gains, above, tied)

    @classmethod
    def concatenate(cls, parts: Sequence[Ranks]) -> Ranks:
        """The ranks of several blocks of queries as one."""
        counts = [np.diff(part.offsets) for part in parts]
        return cls(
            np.concatenate([[0], np.cumsum(np.concatenate([[], *counts]))]).astype(np.int64),
            np.concatenate([[], *(part.gains for part in parts)]).astype(np.float64),
            np.concatenate([[], *(part.above for part in parts)]).astype(np.int64),
            np.concatenate([[], *(part.tied for part in parts)]).astype(np.int64),
        )

    @property
    def query(self) -> NDArray[np.int64]:
        """int64 (r,), the query that each entry belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.relevant)

    @property
    def relevant(self) -> NDArray[np.int64]:
        """int64 (q,), relevant documents of each query, retrieved or not."""
        return np.diff(self.offsets)

    def sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Per-entry `values` (r,) added up by query: float64 (q,)."""
        return np.bincount(self.query, weights=values, minlength=len(self)).astype(np.float64)

    def chance(self, k: int) -> NDArray[np.float64]:
        """float64 (r,), the probability that each relevant document stands among the first k."""
        return np.clip(k - self.above, 0, self.tied) / np.maximum(self.tied, 1)

    def __len__(self) -> int:
        return len(self.offsets) - 1


def id_order(document_ids: Sequence[str]) -> NDArray[np.int64]:
    """The order in which trec_eval puts documents of equal score: by id, descending.

    It compares bytes of UTF-8, whose order is that of Python's strings. The values then equal pytrec_eval's
    for every query with a relevant document; a query without one counts 0 there and is undefined here.

    Args:
        document_ids: n distinct ids.

    Returns:
        int64 (n,), the place of each document in that order.
    """
    descending = sorted(range(len(document_ids)), key=lambda row: document_ids[row], reverse=True)
    order = np.empty(len(document_ids), dtype=np.int64)
    order[descending] = np.arange(len(document_ids))
    return order


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Entrywise quotient; NaN where the denominator is 0, as of a query without relevant documents."""
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _count(row: NDArray[Any], wanted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many entries of `row` exceed each of the `wanted` scores, and how many equal it."""
    # Relevant documents tend to stand near the top, so sorting only what reaches the worst of them is cheap.
    kept = row[row >= wanted.min()]
    kept.sort()
    right = kept.searchsorted(wanted, side="right")
    return len(kept) - right, right - kept.searchsorted(wanted, side="left")


def _place(row: NDArray[Any], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many entries of `row` stand before each of them when `order` breaks ties."""
    place = np.empty(len(row), dtype=np.int64)
    # Negated scores ascend; what was not retrieved, -inf and NaN, goes last.
    place[np.lexsort((order, -row))] = np.arange(len(row))
    return place
