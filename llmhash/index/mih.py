"""The exact index for many codes: multi-index hashing, which looks only where near codes can be."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index.base import Found, FoundInRange, Selection
from llmhash.index.checks import check_codes, check_k, check_radius
from llmhash.index.flat import FlatIndex
from llmhash.index.mih_file import load_tables, save_tables
from llmhash.index.mih_regroup import regrouped
from llmhash.index.mih_search import nearest_by_tables, within_by_tables
from llmhash.index.mih_tables import MOST_ROWS, Tables, build, check_tables, choose_tables, split
from llmhash.index.scan import as_words
from llmhash.index.threads import thread_count

# Narrower codes have too few distances to tell apart, and in wider ones the tables outweigh the codes while
# neighbours are too far for them to help.
_LEAST_BITS, _MOST_BITS = 16, 512
# The tables are built (again) when more rows come after them than this share of theirs, and than this number,
# which the flat scan goes over in no time.
_TAIL_SHARE, _TAIL_ROWS = 1 / 8, 1 << 17


class MihIndex(FlatIndex):
    """Exact nearest neighbours by (distance, insertion), found through tables of substrings.

    Norouzi, Punjani, Fleet: Fast Exact Search in Hamming Space with Multi-Index Hashing (PAMI 2014). Codes
    are cut into m substrings, each the key of a table. Codes within distance m r + a of a query agree with it
    up to r bits in one of the substrings 0 to a, or up to r - 1 bits in one of the others, so only these
    buckets are looked at, for a distance that grows until k codes are found. What is worth it is decided by
    query: one whose neighbours are too far is answered by the flat scan that this index otherwise is, too.

    The tables take 4 m to 10 m bytes a code, m being about bits / log2(codes). Codes that are added come
    after them and are scanned, until they are so many that a search builds the tables again. Several threads
    may search at once; adding belongs to one thread.

    Attributes:
        bits: Bits in a code, 16 to 512.
    """

    def __init__(self, bits: int, tables: int | None = None, *, regroup: bool = False) -> None:
        """Make an empty index.

        Args:
            bits: Bits in a code, 16 to 512.
            tables: Number of tables; by default chosen from the numbers of bits and codes.
            regroup: Whether to spread bits that depend on each other over different substrings, going by a
                sample of the codes (data-driven multi-index hashing).

        Raises:
            InputError: The width or the number of tables is out of range.
        """
        super().__init__(bits)
        if not _LEAST_BITS <= self.bits <= _MOST_BITS:
            raise InputError(
                f"multi-index hashing takes codes of {_LEAST_BITS} to {_MOST_BITS} bits, not {bits}; "
                "use the flat index."
            )
        self._wanted = None if tables is None else check_tables(tables, self.bits)
        self._regroup = regroup
        self._built: Tables | None = None
        self._building = Lock()

    @classmethod
    def from_packed(
        cls,
        packed: NDArray[np.uint8],
        bits: int,
        keys: NDArray[np.int64] | None = None,
        *,
        tables: int | None = None,
        regroup: bool = False,
        threads: int | None = None,
    ) -> MihIndex:
        """An index over codes that stay where they are, for instance in an `np.memmap`; builds the tables.

        Args:
            packed: uint8 (n, ceil(bits / 8)); copied only where `FlatIndex.from_packed` would.
            bits: Bits in a code, 16 to 512.
            keys: int64 (n,), different and at least 0; by default the row numbers.
            tables: As for `MihIndex`.
            regroup: As for `MihIndex`.
            threads: Threads to build with.

        Raises:
            InputError: An argument does not fit.
        """
        index = cls(bits, tables, regroup=regroup)
        index._take(packed, keys)
        index.rebuild(threads)
        return index

    @classmethod
    def load(
        cls, path: str | Path, packed: NDArray[np.uint8], bits: int, keys: NDArray[np.int64] | None = None
    ) -> MihIndex:
        """An index over codes that stay where they are, with the tables that `save` wrote, memory-mapped.

        Args:
            path: The file.
            packed: uint8 (n, ceil(bits / 8)): the codes that the tables were saved for and any added since.
            bits: Bits in a code.
            keys: int64 (n,), different and at least 0; by default the row numbers.

        Raises:
            InputError: There is no such file, or an argument does not fit.
            FormatError: The file is corrupt, truncated, foreign or newer, or was saved for other codes.
        """
        index = cls(bits)
        index._take(packed, keys)
        index._built = load_tables(Path(path), index._words, index.bits)
        return index

    def save(self, path: str | Path) -> None:
        """Write the tables, without the codes, to one file, which replaces an older one in a single step.

        Codes added since the tables were built are not in them: `load` takes them from its caller.
        """
        built = self._built or self._build(thread_count())
        save_tables(Path(path), built, self._words)

    @property
    def tables(self) -> int:
        """Number of tables; where none are built yet, how many there would be."""
        return self._table_count() if self._built is None else len(self._built.rows)

    @property
    def nbytes(self) -> int:
        """Bytes that the tables take, beside those of the codes."""
        return 0 if self._built is None else self._built.nbytes

    @property
    def built_rows(self) -> int:
        """How many of the codes, the first ones, are in the tables."""
        return 0 if self._built is None else self._built.height

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes: as `FlatIndex.add`. A later search puts them into the tables, when they are many.

        Raises:
            InputError: The codes have another width, the keys do not fit, or there are more than 2^32 - 1.
        """
        fresh = check_codes(codes, self.bits)
        _check_count(len(self) + len(fresh))
        super().add(fresh, keys)

    def over(self, packed: NDArray[np.uint8]) -> MihIndex:
        """An index with the same tables over an array that goes on behind these codes, which is not copied.

        Args:
            packed: uint8 (n, ceil(bits / 8)): this index's codes, whose keys must be the row numbers, and
                more after them.

        Raises:
            InputError: The array has another dtype or width, or fewer rows than the tables.
        """
        index = MihIndex(self.bits, self._wanted, regroup=self._regroup)
        index._take(packed, None)
        if len(index) < self.built_rows:
            raise InputError(f"the tables are of {self.built_rows} codes, and only {len(index)} are given.")
        index._built = self._built
        return index

    @property
    def outgrown(self) -> bool:
        """Whether so many codes have come after the tables that the next search builds them again."""
        tail = self._count - self.built_rows
        return tail > max(_TAIL_ROWS, _TAIL_SHARE * self.built_rows)

    def rebuild(self, threads: int | None = None) -> None:
        """Build the tables over all codes, with up to `threads` threads; by default the usable cores."""
        with self._building:
            self._build(thread_count(threads))

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> Found:
        """The `k` nearest codes of each query, by (distance, insertion): equal to `FlatIndex.search`.

        Threads share the queries, and the codes for queries that are left to the flat scan.
        """
        asked, k = as_words(check_codes(queries, self.bits).packed), check_k(k)
        allowed, most = self._allowed(allow, deny), thread_count(threads)
        words, tables = self._words[: self._count], self._tables_for_search(most)
        distances, rows = nearest_by_tables(words, tables, asked, k, self.bits, allowed, most)
        return distances, self._keys_of(rows)

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> FoundInRange:
        """All codes within a distance of each query: equal to `FlatIndex.range_search`."""
        asked, radius = as_words(check_codes(queries, self.bits).packed), check_radius(radius, self.bits)
        allowed, most = self._allowed(allow, deny), thread_count(threads)
        words, tables = self._words[: self._count], self._tables_for_search(most)
        lims, distances, rows = within_by_tables(words, tables, asked, radius, allowed, most)
        return lims, distances, self._keys_of(rows)

    def _take(self, packed: NDArray[np.uint8], keys: NDArray[np.int64] | None) -> None:
        _check_count(len(packed))
        flat = FlatIndex.from_packed(packed, self.bits, keys)
        self._words, self._keys, self._count = flat._words, flat._keys, flat._count

    def _tables_for_search(self, threads: int) -> Tables | None:
        """The tables, built first if too many rows come after them; None where all rows are too few."""
        # While another thread builds them, a search makes do with those there are.
        if self.outgrown and self._building.acquire(blocking=False):
            try:
                return self._build(threads)
            finally:
                self._building.release()
        return self._built

    def _build(self, threads: int) -> Tables:
        words, count = self._words[: self._count], self._table_count()
        order = regrouped(words, self.bits, count) if self._regroup else np.arange(self.bits)
        self._built = build(words, split(order, count), threads)
        return self._built

    def _table_count(self) -> int:
        return self._wanted or choose_tables(self.bits, self._count)


def _check_count(count: int) -> None:
    if count > MOST_ROWS:
        raise InputError(f"multi-index hashing takes up to 2^32 - 1 codes, not {count}; use several indexes.")
