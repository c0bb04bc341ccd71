"""Relevant documents of a list of queries, as rows of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Judgements:
    """The relevant documents (grade > 0) of q queries, one query after the other.

    Attributes:
        offsets: int64 (q + 1,); query i owns the entries `offsets[i]:offsets[i + 1]`.
        rows: int64 (r,), the row of each relevant document, -1 where the corpus does not hold it.
        gains: float64 (r,), its grade, above 0.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    gains: NDArray[np.float64]

    @classmethod
    def from_qrels(
        cls,
        qrels: Mapping[str, Mapping[str, float]],
        query_ids: Sequence[str],
        document_ids: Sequence[str],
    ) -> Judgements:
        """Judgements of `query_ids` in their order, with rows into `document_ids`.

        Grades of 0 and below are dropped, so a query may end without an entry. A relevant document that the
        corpus lacks stays: as in trec_eval it belongs to the ideal ranking and to recall's denominator.
        """
        row_of = {identifier: row for row, identifier in enumerate(document_ids)}
        offsets = np.zeros(len(query_ids) + 1, dtype=np.int64)
        rows: list[int] = []
        gains: list[float] = []
        for i, query in enumerate(query_ids):
            for document, grade in qrels.get(query, {}).items():
                if grade > 0:
                    rows.append(row_of.get(document, -1))
                    gains.append(float(grade))
            offsets[i + 1] = len(rows)
        return cls(offsets, np.array(rows, dtype=np.int64), np.array(gains, dtype=np.float64))

    @classmethod
    def from_rows(cls, rows: NDArray[np.int64]) -> Judgements:
        """Judgements that call `rows[i]`, int64 (q, k) with -1 for none, relevant to query i with gain 1."""
        kept = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
        return cls(offsets, rows[kept].astype(np.int64), np.ones(int(kept.sum())))

    @property
    def query(self) -> NDArray[np.int64]:
        """int64 (r,), the query that each entry belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 (q,), relevant documents of each query."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, queries: slice) -> Judgements:
        """The judgements of a contiguous range of queries."""
        start, stop, step = queries.indices(len(self))
        if step != 1:
            raise IndexError("judgements are sliced by contiguous ranges of queries")
        offsets = self.offsets[start : max(start, stop) + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        return Judgements(offsets - offsets[0], self.rows[entries], self.gains[entries])

    def take(self, queries: NDArray[np.int64]) -> Judgements:
        """The judgements of the named queries, in that order."""
        counts = self.counts[queries]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        starts = np.repeat(self.offsets[queries] - offsets[:-1], counts)
        entries = starts + np.arange(offsets[-1])
        return Judgements(offsets, self.rows[entries], self.gains[entries])

    def locate(self, candidates: NDArray[np.int64]) -> Judgements:
        """The same judgements with rows into each query's candidate list.

        Args:
            candidates: int64 (q, c), rows of the corpus, distinct within a query; -1 fills short lists.

        Returns:
            Judgements whose rows are columns of `candidates`, -1 where the document is no candidate.
        """
        columns = np.full(len(self.rows), -1, dtype=np.int64)
        query = self.query
        step = max(1, (1 << 24) // max(1, candidates.shape[1]))
        for start in range(0, len(columns), step):
            part = slice(start, start + step)
            same = candidates[query[part]] == self.rows[part, None]
            same &= self.rows[part, None] >= 0
            columns[part] = np.where(same.any(axis=1), same.argmax(axis=1), -1) if same.shape[1] else -1
        return Judgements(self.offsets, columns, self.gains)
