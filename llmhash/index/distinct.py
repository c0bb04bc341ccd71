"""The compiled work of posting lists: numbering distinct codes, linking their rows, gathering the nearest.

A hash table (open addressing, linear probing, never more than half full) finds a code's number. The rows of
a code form a ring in ascending order: `last` names a code's last row, and the last row is followed by the
first one. So a row is appended in constant time, and a ring costs four bytes a row and four a code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.jit import helper, kernel

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int32]  # Of codes or of rows.

NONE = -1
# FNV-1a's constants, and 2^64 over the golden ratio to spread its result over the low bits.
_BASIS, _PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_SPREAD, _HALF = np.uint64(11400714819323198485), np.uint64(32)


@helper
def _first_slot(codes: Bytes, row: int, slots: int) -> np.int64:
    """Where the search for a code in the table begins."""
    mixed = _BASIS
    for place in range(codes.shape[1]):
        mixed = (mixed ^ np.uint64(codes[row, place])) * _PRIME
    mixed = (mixed ^ (mixed >> _HALF)) * _SPREAD
    return np.int64((mixed >> _HALF) & np.uint64(slots - 1))


@helper
def _equal(codes: Bytes, row: int, others: Bytes, other: int) -> bool:
    for place in range(codes.shape[1]):  # noqa: SIM110 (numba compiles no generator expressions)
        if codes[row, place] != others[other, place]:
            return False
    return True


@kernel
def fill(codes: Bytes, table: Numbers) -> bool:
    """Enter all codes into an empty table; whether they are distinct."""
    slots = len(table)
    for number in range(len(codes)):
        slot = _first_slot(codes, number, slots)
        while table[slot] != NONE:
            if _equal(codes, table[slot], codes, number):
                return False
            slot = (slot + 1) & (slots - 1)
        table[slot] = number
    return True


@kernel
def number(packed: Bytes, codes: Bytes, table: Numbers, owners: Numbers, firsts: Numbers) -> int:
    """Number the codes of new rows, and enter those that are new.

    Args:
        packed: The new rows.
        codes: The m distinct codes so far.
        table: The codes' hash table; it stays at most half full, should all rows be new.
        owners: Written, by new row: its code's number. New codes are numbered from m on, as they come.
        firsts: Written, by new code: its first row in `packed`.

    Returns:
        How many codes are new.
    """
    slots, known, fresh = len(table), len(codes), 0
    for row in range(len(packed)):
        slot = _first_slot(packed, row, slots)
        while True:
            found = table[slot]
            if found == NONE:
                found = known + fresh
                table[slot] = found
                firsts[fresh] = row
                fresh += 1
                break
            if found < known:
                if _equal(packed, row, codes, found):
                    break
            elif _equal(packed, row, packed, firsts[found - known]):
                break
            slot = (slot + 1) & (slots - 1)
        owners[row] = found
    return fresh


@kernel
def link(
    owners: Numbers, start: int, allowed: Bytes, last: Numbers, following: Numbers, order: Numbers
) -> int:
    """Append the rows from `start` on to their codes' rings.

    Args:
        owners: The number of each row's code.
        start: The first row to append.
        allowed: By row, whether to append it; empty for all.
        last: By code, its last row so far, or -1; updated.
        following: By row, the next one of its code, the first after the last; written.
        order: Written: the codes whose rings were empty, in the order of their first rows.

    Returns:
        How many those are.
    """
    begun = 0
    for row in range(start, len(owners)):
        if len(allowed) and not allowed[row]:
            continue
        code = owners[row]
        before = last[code]
        if before == NONE:
            following[row] = row
            order[begun] = code
            begun += 1
        else:
            following[row] = following[before]
            following[before] = row
        last[code] = row
    return begun


@helper
def _sift(heap: Numbers, size: int, place: int) -> None:
    """Move a heap's entry down to where it belongs."""
    entry = heap[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if entry <= heap[child]:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry


@kernel
def gather(
    numbers: NDArray[np.int64],
    distances: NDArray[np.uint16],
    last: Numbers,
    following: Numbers,
    near: NDArray[np.uint16],
    found: NDArray[np.int64],
) -> None:
    """Write the nearest rows of each query's codes by (distance, row): a merge of the rings of each distance.

    Args:
        numbers: (q, c), codes, each query's by ascending distance; -1 for none, last.
        distances: (q, c).
        last: By code, its last row; -1 for a code without rows.
        following: By row, the next one of its code.
        near: (q, k), padded with 65535; the distances are written into it.
        found: (q, k), padded with -1; the rows are written into it.
    """
    count, k = numbers.shape[1], near.shape[1]
    heap = np.empty(count, np.int32)
    for query in range(len(numbers)):
        taken, place = 0, 0
        while taken < k and place < count and numbers[query, place] != NONE:
            distance, size = distances[query, place], 0
            while place < count and numbers[query, place] != NONE and distances[query, place] == distance:
                tail = last[numbers[query, place]]
                if tail != NONE:
                    heap[size] = following[tail]
                    size += 1
                place += 1
            for entry in range(size // 2 - 1, -1, -1):
                _sift(heap, size, entry)
            while size and taken < k:
                row = heap[0]
                near[query, taken], found[query, taken] = distance, row
                taken += 1
                if following[row] > row:
                    heap[0] = following[row]
                else:  # The ring has come round.
                    size -= 1
                    heap[0] = heap[size]
                _sift(heap, size, 0)
