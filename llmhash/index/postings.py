"""Each distinct code once, with the rows that hold it: short codes repeat, a graph should hold no twins."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.index.base import NO_DISTANCE, NO_KEY
from llmhash.index.growing import extended
from llmhash.index.jit import frozen
from llmhash.index.sharing import Mask, Rows
from llmhash.index.threads import run

Bytes = NDArray[np.uint8]
Distances = NDArray[np.uint16]
Numbers = NDArray[np.int32]

_MOST_ROWS = np.iinfo(np.int32).max
# Rows numbered at a time: the hash table grows with the codes that are new, not with the rows that are added.
_CHUNK = 1 << 16
# A thread should gather this many candidates, or waking it costs more than it saves.
_CANDIDATES_PER_THREAD = 1 << 13


class Rings(NamedTuple):
    """The rows of each code, or those of them that are allowed, as rings in ascending order.

    Attributes:
        last: By code, its last row, or -1 if it has none.
        following: By row, the next one of its code; after the last comes the first.
        order: The codes that have rows, in the order of their first ones; None for all, in order.
    """

    last: Numbers
    following: Numbers
    order: Numbers | None

    def __len__(self) -> int:
        """How many codes have rows."""
        return len(self.last if self.order is None else self.order)


class Postings:
    """Distinct codes, numbered in the order of their first rows, and the rows of each, in ascending order.

    Appending n rows costs O(n), however many there are already.
    """

    def __init__(self, width: int) -> None:
        self._codes: Bytes = np.empty((0, width), np.uint8)
        self._distinct = 0
        self._owners: Numbers = np.empty(0, np.int32)
        self._rows = 0
        self._table: Numbers = np.full(2, NO_KEY, np.int32)
        self._last: Numbers = np.empty(0, np.int32)
        self._following: Numbers = np.empty(0, np.int32)

    @classmethod
    def of(cls, codes: Bytes, owners: NDArray[np.integer]) -> Postings:
        """Postings from their `codes` and `owners`.

        Raises:
            ValueError: These are not what such properties gave.
        """
        if codes.ndim != 2 or codes.dtype != np.uint8 or owners.ndim != 1 or owners.dtype.kind != "i":
            raise ValueError("the codes or their rows have another type")
        if len(owners) and not 0 <= owners.min() <= owners.max() < len(codes):
            raise ValueError("a row has a code that is not there")
        postings = cls(codes.shape[1])
        postings._codes, postings._distinct = codes, len(codes)
        postings._owners, postings._rows = owners.astype(np.int32), len(owners)
        if not postings._make_room(0):
            raise ValueError("a code comes twice")
        if not np.array_equal(postings._link(0, len(codes)), np.arange(len(codes))):
            raise ValueError("the codes are not numbered as their rows come")
        return postings

    def __len__(self) -> int:
        """Rows held."""
        return self._rows

    @property
    def codes(self) -> Bytes:
        """uint8 (m, bytes), the distinct codes."""
        return self._codes[: self._distinct]

    @property
    def owners(self) -> Numbers:
        """int32 (n,), the number of each row's code."""
        return self._owners[: self._rows]

    def add(self, packed: Bytes) -> None:
        """Append rows.

        Raises:
            InputError: There would be 2^31 rows or more.
        """
        if self._rows + len(packed) > _MOST_ROWS:
            raise InputError(
                f"an approximate index holds at most {_MOST_ROWS:,} codes; use the flat or the mih engine."
            )
        for start in range(0, len(packed), _CHUNK):
            self._add(packed[start : start + _CHUNK])

    def _add(self, packed: Bytes) -> None:
        from llmhash.index import distinct  # Loads numba.

        owners, firsts = np.empty(len(packed), np.int32), np.empty(len(packed), np.int32)
        self._make_room(len(packed))
        packed = frozen(packed)
        fresh = distinct.number(packed, frozen(self.codes), self._table, owners, firsts)
        self._codes = extended(self._codes, self._distinct, packed[firsts[:fresh]])
        self._owners = extended(self._owners, self._rows, owners)
        self._distinct += fresh
        self._rows += len(packed)
        self._link(self._rows - len(packed), fresh)

    def _make_room(self, fresh: int) -> bool:
        """Keep the table at most half full with so many more codes; whether the codes are distinct."""
        from llmhash.index import distinct

        wanted = 2 * (self._distinct + fresh)
        if wanted <= len(self._table):
            return True
        self._table = np.full(1 << (wanted - 1).bit_length(), NO_KEY, np.int32)
        return distinct.fill(frozen(self.codes), self._table)

    def _link(self, start: int, fresh: int) -> Numbers:
        """Append the rows from `start` on, the last `fresh` codes being new; those, as their rows come."""
        from llmhash.index import distinct

        count = self._rows - start
        self._last = extended(self._last, self._distinct - fresh, np.full(fresh, NO_KEY, np.int32))
        self._following = extended(self._following, start, np.empty(count, np.int32))
        order = np.empty(fresh, np.int32)
        everyone = frozen(np.empty(0, np.uint8))
        begun = distinct.link(frozen(self.owners), start, everyone, self._last, self._following, order)
        return order[:begun]

    def rings(self, allowed: Mask | None) -> Rings:
        """The rows of each code, or only those that are allowed; with a mask it costs O(n)."""
        if allowed is None:
            return Rings(self._last[: self._distinct], self._following[: self._rows], None)
        from llmhash.index import distinct

        last = np.full(self._distinct, NO_KEY, np.int32)
        following, order = np.empty(self._rows, np.int32), np.empty(self._distinct, np.int32)
        begun = distinct.link(frozen(self.owners), 0, frozen(allowed.view(np.uint8)), last, following, order)
        return Rings(last, following, order[:begun])


def nearest(
    numbers: Rows, distances: Distances, k: int, rings: Rings, threads: int
) -> tuple[Distances, Rows]:
    """The k nearest rows of the given codes by (distance, row).

    Args:
        numbers: int64 (q, c), distinct codes, each query's by ascending distance; -1 for none, last.
        distances: uint16 (q, c).
        k: Rows a query.
        rings: The rows that may be returned.
        threads: Threads to use at most.

    Returns:
        Distances uint16 (q, k) and rows int64 (q, k), padded with 65535 and -1.
    """
    from llmhash.index import distinct

    near = np.full((len(numbers), k), NO_DISTANCE, np.uint16)
    found = np.full((len(numbers), k), NO_KEY, np.int64)
    threads = min(threads, 1 + numbers.size // _CANDIDATES_PER_THREAD)
    last, following = frozen(rings.last), frozen(rings.following)
    bounds = [len(numbers) * part // threads for part in range(threads + 1)]
    run(
        [
            partial(
                distinct.gather,
                frozen(numbers[start:stop]),
                frozen(distances[start:stop]),
                last,
                following,
                near[start:stop],
                found[start:stop],
            )
            for start, stop in pairwise(bounds)
        ],
        threads,
    )
    return near, found
