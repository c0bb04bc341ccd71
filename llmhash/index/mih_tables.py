"""The tables of multi-index hashing: which bits each is keyed by, and the rows in its buckets."""

from __future__ import annotations

from functools import partial
from math import ceil, comb, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.index.jit import frozen
from llmhash.index.threads import run

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

#: Rows are held as uint32, and so are the buckets' bounds, which go up to the number of rows.
MOST_ROWS = 2**32 - 1
#: A table is addressed directly by its substring: 2^28 buckets take a gigabyte.
MOST_SUBSTRING_BITS = 28
_OCTET_VALUES = 256


class Split(NamedTuple):
    """How codes are cut into one substring a table, as the kernels need it.

    An octet is eight bits of a word; octet i is number i % 8 from the bottom of word i // 8.
    """

    order: Integers  # (bits,): the bits, those of the first table's substring first.
    octets: Integers  # (tables, p): the octets that a substring's bits lie in, filled up with zeros.
    parts: NDArray[np.uint32]  # (tables, p, 256): what an octet of each value puts into the substring.
    masks: Words  # (tables, words): the substring's bits, where they are in the codes.
    probes: NDArray[np.float64]  # (tables, most bits + 1): how many substrings differ in that many bits.
    firsts: Integers  # (tables + 1,): where each table's bounds begin in `Tables.starts`.


class Tables(NamedTuple):
    """Row numbers by substring, for the first codes of an index.

    Bucket i of a table is `rows[table, start:stop]`, with start and stop at `firsts[table] + i` and the next
    place in `starts`.
    """

    split: Split
    starts: NDArray[np.uint32]  # (firsts[-1],)
    rows: NDArray[np.uint32]  # (tables, count), ascending within a bucket.

    @property
    def height(self) -> int:
        """Codes in the tables."""
        return int(self.rows.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes that the tables take."""
        return self.starts.nbytes + self.rows.nbytes


def choose_tables(bits: int, rows: int) -> int:
    """The number of tables for `rows` codes of `bits` bits: b / log2(n), rounded up.

    The substrings are then as long as they can be with about one bucket a row, so that buckets are short and
    their bounds take at most 1.5 times the memory of the rows. Measured beside other
    numbers at 1 and 10 million codes of 64 bits and 4 million of 128, this is the fastest.
    """
    longest = min(MOST_SUBSTRING_BITS, max(4, round(log2(max(rows, 2)))))
    return ceil(bits / longest)


def check_tables(tables: int, bits: int) -> int:
    """Return `tables`, or raise `InputError` unless codes can be cut into so many substrings."""
    least = ceil(bits / MOST_SUBSTRING_BITS)
    whole = isinstance(tables, int | np.integer) and not isinstance(tables, bool)
    if not whole or not least <= tables <= bits:
        raise InputError(f"tables must be a whole number from {least} to {bits}, not {tables!r}.")
    return int(tables)


def substring_widths(bits: int, tables: int) -> list[int]:
    """The bits of each table's substring: as even as can be."""
    return [bits * (table + 1) // tables - bits * table // tables for table in range(tables)]


def bit_places(bits: int) -> Integers:
    """By bit of a code: its place in the code's 64-bit words, counted from the bottom of the first."""
    single = np.packbits(np.eye(bits, -(-bits // 64) * 64, dtype=np.bool_), axis=1).view(np.uint64)
    word = single.argmax(axis=1)
    values = single[np.arange(bits), word]
    places: Integers = 64 * word + np.bitwise_count(values - np.uint64(1)).astype(np.int64)
    return places


def split(order: Integers, tables: int) -> Split:
    """Cut codes into substrings: each table takes the next few bits of `order`, a permutation of all."""
    bits = len(order)
    widths = substring_widths(bits, tables)
    members = np.split(bit_places(bits)[order], np.cumsum(widths)[:-1])
    lying = [np.unique(places // 8) for places in members]
    most = max(map(len, lying))
    octets = np.zeros((tables, most), np.int64)
    parts = np.zeros((tables, most, _OCTET_VALUES), np.uint32)
    masks = np.zeros((tables, -(-bits // 64)), np.uint64)
    values = np.arange(_OCTET_VALUES, dtype=np.uint32)
    for table, places in enumerate(members):
        octets[table, : len(lying[table])] = lying[table]
        for number, place in enumerate(np.sort(places)):
            slot = np.searchsorted(lying[table], place // 8)
            parts[table, slot] |= ((values >> np.uint32(place % 8)) & np.uint32(1)) << np.uint32(number)
            masks[table, place // 64] |= np.uint64(1) << np.uint64(place % 64)
    probes = [[comb(width, apart) for apart in range(max(widths) + 1)] for width in widths]
    firsts = np.cumsum([0, *(bounds_of(width) for width in widths)])
    return Split(
        frozen(order.astype(np.int64)),
        frozen(octets),
        frozen(parts),
        frozen(masks),
        frozen(np.array(probes, np.float64)),
        frozen(firsts),
    )


def bounds_of(width: int) -> int:
    """Entries of `Tables.starts` for a table of 2^width buckets: one more than its bounds, to build it."""
    return (1 << width) + 2


def build(words: Words, cut: Split, threads: int) -> Tables:
    """Sort rows into the buckets of every table, a table a thread.

    Args:
        words: uint64 (n, w), the codes; n at most `MOST_ROWS`.
        cut: The substrings.
        threads: Threads to use at most.
    """
    from llmhash.index import mih_kernels  # Loads numba.

    starts = np.zeros(int(cut.firsts[-1]), np.uint32)
    rows = np.empty((len(cut.masks), len(words)), np.uint32)
    codes = frozen(words)

    def fill(table: int) -> None:
        bounds = starts[cut.firsts[table] : cut.firsts[table + 1]]
        mih_kernels.fill(codes, cut.octets[table], cut.parts[table], bounds, rows[table])

    run([partial(fill, table) for table in range(len(rows))], threads)
    return Tables(cut, frozen(starts), frozen(rows))
