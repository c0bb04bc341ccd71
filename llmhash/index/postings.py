"""Each distinct code once, with the rows that hold it: short codes repeat, a graph should hold no twins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.base import NO_DISTANCE, NO_KEY
from llmhash.index.growing import extended
from llmhash.index.sharing import Mask, Rows

Bytes = NDArray[np.uint8]
Distances = NDArray[np.uint16]


class Postings:
    """Distinct codes, numbered in the order of their first rows, and the rows of each, in ascending order."""

    def __init__(self, width: int) -> None:
        self._codes: Bytes = np.empty((0, width), np.uint8)
        self._distinct = 0
        self._owners: Rows = np.empty(0, np.int64)
        self._rows = 0
        # The distinct codes as byte strings in order, and their numbers: how a code is found again.
        self._names = _as_names(self._codes)
        self._numbers: Rows = np.empty(0, np.int64)
        self._grouped: tuple[Rows, Rows] | None = None

    @classmethod
    def of(cls, codes: Bytes, owners: Rows) -> Postings:
        """Postings from their `codes` and `owners`.

        Raises:
            ValueError: These are not what such properties gave.
        """
        if codes.ndim != 2 or codes.dtype != np.uint8 or owners.ndim != 1 or owners.dtype != np.int64:
            raise ValueError("the codes or their rows have another type")
        if not np.array_equal(np.unique(owners), np.arange(len(codes))):
            raise ValueError("codes and rows do not fit each other")
        postings = cls(codes.shape[1])
        postings._codes, postings._distinct = codes, len(codes)
        postings._owners, postings._rows = owners, len(owners)
        postings._numbers = np.argsort(_as_names(codes))
        postings._names = _as_names(codes)[postings._numbers]
        return postings

    def __len__(self) -> int:
        """Rows held."""
        return self._rows

    @property
    def codes(self) -> Bytes:
        """uint8 (m, bytes), the distinct codes."""
        return self._codes[: self._distinct]

    @property
    def owners(self) -> Rows:
        """int64 (n,), the number of each row's code."""
        return self._owners[: self._rows]

    def add(self, packed: Bytes) -> None:
        """Append rows."""
        names, first, inverse = np.unique(_as_names(packed), return_index=True, return_inverse=True)
        places = np.searchsorted(self._names, names)
        known = np.zeros(len(names), np.bool_)
        inside = places < len(self._names)
        known[inside] = self._names[places[inside]] == names[inside]
        numbers = np.empty(len(names), np.int64)
        numbers[known] = self._numbers[places[known]]
        fresh = np.flatnonzero(~known)
        by_row = fresh[np.argsort(first[fresh])]
        numbers[by_row] = self._distinct + np.arange(len(by_row))
        self._names = np.insert(self._names, places[fresh], names[fresh])
        self._numbers = np.insert(self._numbers, places[fresh], numbers[fresh])
        self._codes = extended(self._codes, self._distinct, packed[first[by_row]])
        self._owners = extended(self._owners, self._rows, numbers[inverse])
        self._distinct += len(by_row)
        self._rows += len(packed)
        self._grouped = None

    def held(self, allowed: Mask | None) -> NDArray[np.int64]:
        """How many allowed rows each distinct code has, (m,)."""
        owners = self.owners if allowed is None else self.owners[allowed]
        return np.bincount(owners, minlength=self._distinct)

    def nearest(
        self, numbers: Rows, distances: Distances, k: int, allowed: Mask | None
    ) -> tuple[Distances, Rows]:
        """The k nearest rows of the given codes by (distance, row).

        Args:
            numbers: int64 (q, c), distinct codes, each query's by ascending distance; -1 for none, last.
            distances: uint16 (q, c).
            k: Rows a query.
            allowed: The rows that may be returned; None for all.

        Returns:
            Distances uint16 (q, k) and rows int64 (q, k), padded with 65535 and -1.
        """
        rows, starts = self._by_code(allowed)
        near = np.full((len(numbers), k), NO_DISTANCE, np.uint16)
        found = np.full((len(numbers), k), NO_KEY, np.int64)
        for query in range(len(numbers)):
            codes = numbers[query][numbers[query] != NO_KEY]
            away = distances[query, : len(codes)]
            # Of a code's rows, the first k do; and codes farther away than k rows are of no use.
            lengths = np.minimum(starts[codes + 1] - starts[codes], k)
            nearer = np.append(0, np.cumsum(lengths))[np.searchsorted(away, away)]
            lengths[nearer >= k] = 0
            ends = np.cumsum(lengths)
            places = np.arange(lengths.sum()) + np.repeat(starts[codes] - (ends - lengths), lengths)
            candidates, their_distances = rows[places], np.repeat(away, lengths)
            order = np.lexsort((candidates, their_distances))[:k]
            near[query, : len(order)], found[query, : len(order)] = their_distances[order], candidates[order]
        return near, found

    def _by_code(self, allowed: Mask | None) -> tuple[Rows, Rows]:
        """The allowed rows, grouped by their code's number, and where each group starts, (m + 1,)."""
        if self._grouped is None:
            counts = np.bincount(self.owners, minlength=self._distinct)
            self._grouped = np.argsort(self.owners, kind="stable"), np.append(0, np.cumsum(counts))
        if allowed is None:
            return self._grouped
        rows = self._grouped[0]
        return rows[allowed[rows]], np.append(0, np.cumsum(self.held(allowed)))


def _as_names(packed: Bytes) -> NDArray[np.bytes_]:
    """Codes as byte strings of equal length: they sort and compare as the bytes do."""
    return np.ascontiguousarray(packed).view(f"S{packed.shape[1]}")[:, 0]
