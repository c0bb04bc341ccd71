"""How many documents, and how many relevant ones, lie at each Hamming distance from each query.

Documents at one distance tie, and nothing else is known of a ranking by codes: these counts decide every
metric of the label protocol. Each is the expectation over uniformly random tie-breaking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.metrics.average_precision import expected_precision
from llmhash.metrics.ranks import ratio
from llmhash.metrics.shared_labels import SharedLabels

# Pairs of a query and a document that are looked at together.
_BLOCK_PAIRS = 1 << 20


@dataclass(frozen=True, eq=False)
class RadiusCounts:
    """Counts of documents by Hamming distance, for q queries and codes of b bits.

    Attributes:
        found: int64 (q, b + 1), documents at each distance.
        relevant: int64 (q, b + 1), those of them that are relevant.
    """

    found: NDArray[np.int64]
    relevant: NDArray[np.int64]

    @classmethod
    def from_codes(
        cls,
        queries: Codes,
        database: Codes,
        query_labels: NDArray[Any],
        database_labels: NDArray[Any],
    ) -> RadiusCounts:
        """Compare all queries with all documents; a document is relevant if it shares a label.

        Memory is bounded: a block of queries is compared at a time.

        Args:
            queries: q codes of b bits.
            database: n codes of b bits.
            query_labels: bool (q, L).
            database_labels: bool (n, L).

        Raises:
            InputError: The codes' widths differ, or the labels do not fit the codes.
        """
        shared = SharedLabels(query_labels, database_labels, len(queries), len(database))
        bins = 2 * (queries.bits + 1)
        counts = np.zeros((len(queries), bins), dtype=np.int64)
        step = max(1, _BLOCK_PAIRS // max(1, len(database)))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            # One count tells both: relevant documents go to odd bins. 2 * 4096 + 1 still fits 16 bits.
            keys = queries[rows].hamming(database)
            keys <<= 1
            keys |= shared[rows]
            for query, row in enumerate(keys, start):
                counts[query] = np.bincount(row, minlength=bins)
        by_relevance = counts.reshape(len(queries), -1, 2)
        return cls(by_relevance.sum(axis=2), by_relevance[:, :, 1].copy())

    @property
    def bits(self) -> int:
        """b, the largest distance."""
        return int(self.found.shape[1]) - 1

    @property
    def positives(self) -> NDArray[np.int64]:
        """int64 (q,), relevant documents of each query."""
        positives: NDArray[np.int64] = self.relevant.sum(axis=1)
        return positives

    @property
    def above(self) -> NDArray[np.int64]:
        """int64 (q, b + 1), documents nearer than each distance."""
        return np.cumsum(self.found, axis=1) - self.found

    def hits(self, k: int) -> NDArray[np.float64]:
        """The relevant documents among the first k, float64 (q,).

        With a documents nearer, t documents tied at a distance and r of them relevant, clip(k - a, 0, t) of
        the t stand among the first k, and each is relevant with probability r / t.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}.")
        chance = np.clip(k - self.above, 0, self.found) / np.maximum(self.found, 1)
        expected: NDArray[np.float64] = np.einsum("qd,qd->q", self.relevant, chance)
        return expected

    def precision(self, k: int) -> NDArray[np.float64]:
        """Precision@k, float64 (q,): survey eq. 43, one summand a query.

        The denominator is k even where there are fewer documents. A query without a relevant document counts
        0, as in the survey, whose mean is over all queries.
        """
        return self.hits(k) / k

    def recall(self, k: int) -> NDArray[np.float64]:
        """Recall@k, float64 (q,): survey eq. 44. NaN for a query without a relevant document."""
        return ratio(self.hits(k), self.positives)

    def average_precision(self) -> NDArray[np.float64]:
        """Average precision over the whole ranking, float64 (q,). NaN without a relevant document.

        The relevant documents at one distance all have the same `expected_precision`.
        """
        earlier = np.cumsum(self.relevant, axis=1) - self.relevant
        expected = expected_precision(self.above, self.found, earlier, self.relevant)
        return ratio(np.einsum("qd,qd->q", self.relevant, expected), self.positives)

    def __len__(self) -> int:
        return len(self.found)
