"""Look-up in a hash table of codes, within a small Hamming ball: for semantic caches."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code, check_bits
from llmhash.errors import InputError
from llmhash.index.base import FoundInRange, Selection
from llmhash.index.checks import allowed_rows, check_codes, check_keys, check_radius
from llmhash.index.jit import frozen
from llmhash.index.ranges import rows_within
from llmhash.index.scan import Words, as_words, frozen_mask, word_count
from llmhash.index.threads import run, thread_count

if TYPE_CHECKING:
    from llmhash.index.hash_table_kernels import Table

#: The largest radius of a look-up: the ball of radius 3 around a 64-bit code has 43,745 members.
MAX_RADIUS = 2
_LEAST_CAPACITY = 1024
_WORD_BITS = 64
# Looking for one code of the ball takes as long as comparing this many words in a scan (measured).
_LOOK_UP_COST = 150
# A thread should find this many codes to look for, or waking it costs more than it saves.
_LOOK_UPS_PER_THREAD = 1 << 14
_SEED = 20_070_727


class HashTableIndex:
    """Exact look-up of all codes within a Hamming distance of 0, 1 or 2, in a hash table of whole codes.

    It looks for every code of the ball around a query, sum over k <= r of C(b, k) of them (He et al., "Deep
    text hashing" survey, eq. 4), whatever the number of codes held. Where these are few beside the ball, it
    compares them all instead. Adding and removing one at a time is cheap, as caches need it. Several threads
    may search at once; adding and removing belong to one thread, while none searches.

    Attributes:
        bits: Bits in a code.
    """

    def __init__(self, bits: int) -> None:
        self.bits = check_bits(bits)
        self._rows = self._entries = self._count = 0  # Rows and entries include removed ones.
        self._added = 0
        self._flips = _bit_places(self.bits)
        self._mix = np.random.default_rng(_SEED).integers(
            0, 2**_WORD_BITS, word_count(bytes_per_code(self.bits)) * _WORD_BITS, np.uint64
        )
        self._table: Table | None = None  # Made when first needed: it loads numba.

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the table takes."""
        return 0 if self._table is None else sum(array.nbytes for array in self._table)

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes.

        Args:
            codes: n codes of the index's width.
            keys: int64 (n,), at least 0 and different from each other; by default the running numbers of all
                codes ever added. Keys are labels: whether an earlier batch used one is not checked.

        Raises:
            InputError: The codes have another width, or the keys do not fit.
        """
        from llmhash.index import hash_table_kernels as kernels  # Loads numba.

        fresh = check_codes(codes, self.bits)
        count = len(fresh)
        labels = np.arange(self._added, self._added + count) if keys is None else check_keys(keys, count)
        table = self._with_room(count)
        self._entries = kernels.insert(
            table, frozen(as_words(fresh.packed)), labels, self._rows, self._entries
        )
        self._rows, self._count, self._added = self._rows + count, self._count + count, self._added + count

    def remove(self, keys: NDArray[np.int64]) -> int:
        """Remove all codes that have one of the keys, and return how many those were.

        Args:
            keys: int64 (n,); those that no code has are passed over.

        Raises:
            InputError: The keys are no whole numbers.
        """
        wanted = np.atleast_1d(np.asarray(keys))
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and wanted.size):
            raise InputError(f"keys must be whole numbers, not {wanted.dtype} of shape {wanted.shape}.")
        if self._table is None:
            return 0
        from llmhash.index import hash_table_kernels as kernels  # Loads numba.

        removed = int(kernels.remove(self._table, wanted.astype(np.int64)))
        self._count -= removed
        return removed

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> FoundInRange:
        """All codes within a Hamming distance of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            radius: The largest distance: 0, 1 or 2.
            allow: Only these may be returned: a boolean mask over the codes held, in order of insertion, or
                keys (those that the index does not hold are passed over).
            deny: These may not be returned, though `allow` may name them.
            threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

        Returns:
            `lims` int64 (q + 1,), distances uint16 (lims[q],) and keys int64 (lims[q],): what query i found
            stands from lims[i] up to lims[i + 1].

        Raises:
            InputError: An argument does not fit the index, or the radius is above 2.
        """
        asked = frozen(as_words(check_codes(queries, self.bits).packed))
        if check_radius(radius, self.bits) > MAX_RADIUS:
            raise InputError(
                f"a hash table looks up codes within a radius of {MAX_RADIUS}, not {radius}; FlatIndex and "
                "MihIndex go further."
            )
        most = thread_count(threads)
        allowed = self._allowed(allow, deny)
        if self._table is None:
            return np.zeros(len(asked) + 1, np.int64), np.empty(0, np.uint16), np.empty(0, np.int64)
        from llmhash.index import hash_table_kernels as kernels  # Loads numba.

        found = self._near(self._table, asked, int(radius), most)
        lims, distances, rows = kernels.rows_of(self._table, *found, frozen_mask(allowed))
        return lims, distances, self._table.keys[rows]

    def _near(self, table: Table, queries: Words, radius: int, threads: int) -> FoundInRange:
        """The entries within the radius of each query, by distance."""
        ball = sum(comb(self.bits, distance) for distance in range(radius + 1))
        if self._entries * queries.shape[1] <= _LOOK_UP_COST * ball:
            return rows_within(
                table.codes[: self._entries], queries, np.full(len(queries), radius), None, threads
            )
        threads = min(threads, 1 + len(queries) * ball // _LOOK_UPS_PER_THREAD, max(len(queries), 1))
        found: dict[int, FoundInRange] = {}
        bounds = [len(queries) * part // threads for part in range(threads + 1)]
        run(
            [partial(_look_up, table, queries, i, j, radius, found) for i, j in pairwise(bounds)],
            threads,
        )
        return found[0] if threads == 1 else _joined([found[i] for i in bounds[:-1]])

    def _allowed(self, allow: Selection | None, deny: Selection | None) -> NDArray[np.bool_] | None:
        """By row, whether it may be returned; None where all may."""
        if allow is None and deny is None:
            return None
        held = self._held()
        keys = np.empty(0, np.int64) if self._table is None else self._table.keys[held]
        mask = allowed_rows(allow, self._count, keys, deny)
        if mask is None:
            return None
        by_row = np.zeros(self._rows, np.bool_)
        by_row[held] = mask
        return by_row

    def _held(self) -> NDArray[np.int64]:
        """The rows that are not removed."""
        if self._table is None:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._table.entries[: self._rows] >= 0)

    def _with_room(self, more: int) -> Table:
        """The table, with room for `more` further rows: if need be, a new one of what is held."""
        from llmhash.index import hash_table_kernels as kernels  # Loads numba.

        old = self._table
        if old is not None and self._rows + more <= old.keys.size:
            return old
        # Room for half as much again, so that each code added pays a constant share of the rebuilding.
        wanted = max(_LEAST_CAPACITY, (self._count + more) * 3 // 2)
        table = kernels.Table.empty(self._mix, self._flips, wanted)
        held = self._held()
        self._rows, self._entries = len(held), 0
        if old is not None:
            codes = frozen(old.codes[old.entries[held]])
            self._entries = kernels.insert(table, codes, old.keys[held], 0, 0)
        self._table = table
        return table


def _look_up(
    table: Table, queries: Words, start: int, stop: int, radius: int, found: dict[int, FoundInRange]
) -> None:
    from llmhash.index import hash_table_kernels as kernels  # Loads numba.

    found[start] = kernels.look_up(table, queries[start:stop], radius)


def _joined(parts: list[FoundInRange]) -> FoundInRange:
    """What groups of queries found, one after the other."""
    sizes = np.concatenate([np.diff(lims) for lims, _, _ in parts])
    lims = np.concatenate([[0], np.cumsum(sizes)])
    return lims, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _bit_places(bits: int) -> NDArray[np.int64]:
    """Where in a code's words its bits lie, int64 (bits,): 64 times the word, plus the place in it."""
    full = as_words(Codes.pack(np.ones((1, bits), np.bool_)).packed)[0]
    in_word = (full[:, None] >> np.arange(_WORD_BITS, dtype=np.uint64)) & np.uint64(1)
    return np.flatnonzero(in_word)
