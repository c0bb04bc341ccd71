"""The compiled hash table over binary codes: open addressing with linear probing.

Codes are hashed linearly: a code's hash is the exclusive or of a random word for each set bit. So flipping a
bit of a code flips its hash by that bit's word, and going through a Hamming ball takes one exclusive or and
one look into a bitmap a member: it tells of nearly all that no code held is there, out of the nearest cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.index.jit import helper, inlined, kernel
from llmhash.index.vectors import lowest_bit

Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Distances = NDArray[np.uint16]
Integer = int | np.int64

_NOWHERE = -1  # No row, no entry, no bit.
_ENTRY_BITS = np.uint64(32)
_ENTRY_MASK = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
# An odd number whose bits look random: 2^64 over the golden ratio.
_KEY_FACTOR, _KEY_SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_FIRST_CAPACITY = 16


class Table(NamedTuple):
    """Distinct codes (entries) and the rows that have them, in arrays with room for `keys.size` of either."""

    mix: Words  # (64 words,), by bit of a code: what it adds to the hash.
    flips: Numbers  # (bits,), the bits that are no padding.
    seen: NDArray[
        np.uint8
    ]  # (slots,), a bit for each of eight times as many hashes: whether an entry has it.
    slots: Words  # (a power of two,), the hash's upper half and an entry's number + 1, or 0.
    key_slots: Numbers  # (a power of two,), a row's number + 1, or 0.
    codes: Words  # (capacity, words), by entry.
    first: Numbers  # (capacity,), by entry: its first row.
    last: Numbers  # (capacity,), by entry: its last row.
    sizes: Numbers  # (capacity,), by entry: its rows.
    keys: Numbers  # (capacity,), by row.
    entries: Numbers  # (capacity,), by row: its entry; -1 once it is removed.
    before: Numbers  # (capacity,), by row: the one before it with the same code.
    after: Numbers  # (capacity,), by row: the one after it.

    @classmethod
    def empty(cls, mix: Words, flips: Numbers, capacity: int) -> Table:
        """A table with room for `capacity` rows; its slots are never more than two thirds full."""
        slots = 1 << (capacity * 3 // 2).bit_length()
        first, last, sizes, keys, entries, before, after = np.empty((7, capacity), np.int64)
        return cls(
            mix,
            flips,
            np.zeros(slots, np.uint8),
            np.zeros(slots, np.uint64),
            np.zeros(slots, np.int64),
            np.empty((capacity, mix.size // 64), np.uint64),
            first,
            last,
            sizes,
            keys,
            entries,
            before,
            after,
        )


@inlined
def _hash(mix: Words, codes: Words, row: int) -> np.uint64:
    value = np.uint64(0)
    for word in range(codes.shape[1]):
        rest = codes[row, word]
        while rest:
            value ^= mix[word * 64 + lowest_bit(np.int64(rest))]
            rest &= rest - _ONE
    return value


@inlined
def _key_slot(table: Table, key: Integer) -> Integer:
    mixed = np.uint64(key) * _KEY_FACTOR
    return np.int64((mixed ^ (mixed >> _KEY_SHIFT)) & np.uint64(table.key_slots.size - 1))


@inlined
def _is_entry(table: Table, entry: Integer, codes: Words, row: int, one: int, other: int) -> bool:
    """Whether an entry's code is that of the row with the bits `one` and `other` flipped."""
    for word in range(codes.shape[1]):
        differing = table.codes[entry, word] ^ codes[row, word]
        if one >> 6 == word:
            differing ^= _ONE << np.uint64(one & 63)
        if other >> 6 == word:
            differing ^= _ONE << np.uint64(other & 63)
        if differing:
            return False
    return True


@inlined
def _find(table: Table, value: np.uint64, codes: Words, row: int, one: int, other: int) -> Integer:
    """The entry of the row's code with two bits flipped, `value` being its hash; else -1 - the free slot."""
    last = table.slots.size - 1
    slot = np.int64(value & np.uint64(last))
    held = table.slots[slot]
    while held:
        if held >> _ENTRY_BITS == value >> _ENTRY_BITS:
            entry = np.int64(held & _ENTRY_MASK) - 1
            if _is_entry(table, entry, codes, row, one, other):
                return entry
        slot = (slot + 1) & last
        held = table.slots[slot]
    return -1 - slot


@kernel
def insert(table: Table, codes: Words, keys: Numbers, rows: int, entries: int) -> int:
    """Add codes and keys as the rows from number `rows` on, for which there must be room.

    Args:
        table: `entries` entries and `rows` rows.
        codes: (n, words).
        keys: (n,).
        rows: Rows so far, removed ones included.
        entries: Entries so far.

    Returns:
        How many entries there are now.
    """
    for i in range(codes.shape[0]):
        row = rows + i
        value = _hash(table.mix, codes, i)
        entry = _find(table, value, codes, i, _NOWHERE, _NOWHERE)
        if entry < 0:
            slot, entry = -1 - entry, entries
            table.slots[slot] = (value >> _ENTRY_BITS << _ENTRY_BITS) | np.uint64(entry + 1)
            table.codes[entry] = codes[i]
            place = np.int64(value & np.uint64(8 * table.seen.size - 1))
            table.seen[place >> 3] |= np.uint8(1 << (place & 7))
            table.sizes[entry] = 0
            entries += 1
        table.entries[row], table.keys[row], table.after[row] = entry, keys[i], _NOWHERE
        if table.sizes[entry]:
            table.before[row] = table.last[entry]
            table.after[table.last[entry]] = row
        else:
            table.before[row], table.first[entry] = _NOWHERE, row
        table.last[entry] = row
        table.sizes[entry] += 1
        slot = _key_slot(table, keys[i])
        while table.key_slots[slot] and table.entries[table.key_slots[slot] - 1] >= 0:
            slot = (slot + 1) & (table.key_slots.size - 1)
        table.key_slots[slot] = row + 1
    return entries


@helper
def _unlink(table: Table, row: int) -> None:
    entry, before, after = table.entries[row], table.before[row], table.after[row]
    if before >= 0:
        table.after[before] = after
    else:
        table.first[entry] = after
    if after >= 0:
        table.before[after] = before
    else:
        table.last[entry] = before
    table.sizes[entry] -= 1
    table.entries[row] = _NOWHERE


@kernel
def remove(table: Table, keys: Numbers) -> int:
    """Remove all rows that have one of the keys, and return how many those are."""
    removed = 0
    for i in range(keys.size):
        slot = _key_slot(table, keys[i])
        while table.key_slots[slot]:
            row = table.key_slots[slot] - 1
            # The slot stays: those after it must be found still. `insert` uses it again.
            if table.keys[row] == keys[i] and table.entries[row] >= 0:
                _unlink(table, row)
                removed += 1
            slot = (slot + 1) & (table.key_slots.size - 1)
    return removed


@helper
def _roomier(distances: Distances, entries: Numbers) -> tuple[Distances, Numbers]:
    capacity = max(_FIRST_CAPACITY, 2 * entries.size)
    more_distances, more_entries = np.empty(capacity, np.uint16), np.empty(capacity, np.int64)
    more_distances[: distances.size], more_entries[: entries.size] = distances, entries
    return more_distances, more_entries


@kernel
def look_up(table: Table, queries: Words, radius: int) -> tuple[Numbers, Distances, Numbers]:
    """The entries in the Hamming ball of each query, by distance, looking for every code of the ball.

    Args:
        table: The table.
        queries: (q, words).
        radius: 0, 1 or 2.

    Returns:
        lims (q + 1,), distances (lims[q],) and entries (lims[q],).
    """
    lims = np.zeros(queries.shape[0] + 1, np.int64)
    distances, entries = np.empty(0, np.uint16), np.empty(0, np.int64)
    mix, flips, seen, held = table.mix, table.flips, table.seen, 0
    last = np.uint64(8 * seen.size - 1)
    for query in range(queries.shape[0]):
        value = _hash(table.mix, queries, query)
        for distance in range(radius + 1):
            for i in range(flips.size if distance else 1):
                one = flips[i] if distance else _NOWHERE
                once = value ^ mix[one] if distance else value
                for j in range(i if distance == 2 else 1):
                    other = flips[j] if distance == 2 else _NOWHERE
                    twice = once ^ mix[other] if distance == 2 else once
                    place = np.int64(twice & last)
                    if not (seen[place >> 3] >> (place & 7)) & 1:
                        continue
                    entry = _find(table, twice, queries, query, one, other)
                    if entry >= 0:
                        if held == entries.size:
                            distances, entries = _roomier(distances, entries)
                        distances[held], entries[held] = distance, entry
                        held += 1
        lims[query + 1] = held
    return lims, distances[:held], entries[:held]


@kernel
def rows_of(
    table: Table, lims: Numbers, distances: Distances, entries: Numbers, allowed: NDArray[np.uint8]
) -> tuple[Numbers, Distances, Numbers]:
    """The rows of the entries that each query found, by (distance, row).

    Args:
        table: The table.
        lims: (q + 1,)
        distances: (lims[q],), ascending within a query.
        entries: (lims[q],)
        allowed: By row, whether it may be returned; empty where all may.

    Returns:
        lims (q + 1,), distances (lims[q],) and rows (lims[q],).
    """
    total = 0
    for entry in entries:
        total += table.sizes[entry]
    row_lims = np.zeros(lims.size, np.int64)
    row_distances, rows = np.empty(total, np.uint16), np.empty(total, np.int64)
    held = 0
    for query in range(lims.size - 1):
        i = lims[query]
        while i < lims[query + 1]:
            start, first = held, i
            while i < lims[query + 1] and distances[i] == distances[first]:
                row = table.first[entries[i]] if table.sizes[entries[i]] else _NOWHERE
                while row >= 0:
                    if allowed.size == 0 or allowed[row]:
                        row_distances[held], rows[held] = distances[i], row
                        held += 1
                    row = table.after[row]
                i += 1
            if i - first > 1:
                rows[start:held].sort()
        row_lims[query + 1] = held
    return row_lims, row_distances[:held], rows[:held]
