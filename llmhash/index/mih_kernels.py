"""The compiled part of multi-index hashing: filling the tables, and probing them.

Both wait for memory, so the trips are made to overlap. Probing notes the bounds of many buckets, then their
rows, and then compares these rows' codes; and what is read in no order is asked for a few steps ahead.

A code may lie in probed buckets of several tables. It counts in the table where its substring is nearest to
the query's, the first of these; that follows from the code itself, so nothing has to be remembered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from llmhash.index.jit import helper, inlined, intrinsic, kernel
from llmhash.index.mih_budget import Budget
from llmhash.index.mih_tables import Tables
from llmhash.index.vectors import array_data, popcount

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Mask = NDArray[np.uint8]  # By row: whether it may be returned; empty where all may.
Held = NDArray[np.uint64]  # Candidates as words that are ordered by (distance, row).

#: Bits of a candidate's word that its row takes.
ROW_BITS = 32
# Codes, buckets and candidates that are taken at a time, which should stay in a core's own cache, and by how
# many steps memory is asked for ahead: more than a core fetches at once would make it wait (measured).
_BATCH, _BUCKETS, _CANDIDATES = 512, 128, 1024
_AHEAD = 16
_FIRST_CAPACITY = 512
# What is foreseen of the rest may be exceeded by this factor.
_MARGIN = 1.5

# The state of a query's search, int64. A candidate whose word is not below the bound is not among the k
# nearest; WITHIN of the held ones are at most at distance LIMIT, which is the k-th once there are k.
_HELD, _WITHIN, _LIMIT, _BOUND, _STATES = 0, 1, 2, 3, 4


@intrinsic
def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """Ask for an array's element, by its index in memory, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_data_type(signature.args[0].dtype)
        address = builder.gep(
            array_data(context, builder, signature, args, 0), [args[1]], source_etype=element
        )
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for_reading, keep, data = number(0), number(3), number(1)
        builder.call(function, [builder.bitcast(address, byte), for_reading, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@inlined
def _substring(codes: Words, row: int, octets: Integers, parts: NDArray[np.uint32]) -> int:
    """A code's bits of one table, side by side."""
    value = np.uint32(0)
    for i in range(octets.size):
        octet = octets[i]
        value |= parts[i, (codes[row, octet >> 3] >> np.uint64((octet & 7) << 3)) & np.uint64(255)]
    return int(np.int64(value))


@helper
def _substrings(codes: Words, first: int, octets: Integers, parts: NDArray[np.uint32], keys: Integers) -> int:
    """Write the substrings of the codes from row `first` on, as many as there is room for."""
    count: int = min(keys.size, codes.shape[0] - first)
    for i in range(count):
        keys[i] = _substring(codes, first + i, octets, parts)
    return count


@kernel
def fill(
    codes: Words,
    octets: Integers,
    parts: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    rows: NDArray[np.uint32],
) -> None:
    """Sort the rows of codes into the buckets of one table, by counting.

    Args:
        codes: (n, words).
        octets: (p,), as in `Split`.
        parts: (p, 256), likewise.
        starts: (buckets + 2,), zeros; at the end, bucket i holds the rows from starts[i] up to starts[i + 1].
        rows: (n,), at the end the rows by bucket, ascending within.
    """
    keys = np.empty(_BATCH, np.int64)
    for first in range(0, codes.shape[0], _BATCH):
        count = _substrings(codes, first, octets, parts, keys)
        for i in range(count):
            _prefetch(starts, keys[min(i + _AHEAD, count - 1)] + 2)
            starts[keys[i] + 2] += np.uint32(1)
    for bucket in range(1, starts.size):
        starts[bucket] += starts[bucket - 1]
    # What is one place ahead moves from its bucket's start to its end, which is the next one's start.
    for first in range(0, codes.shape[0], _BATCH):
        count = _substrings(codes, first, octets, parts, keys)
        for i in range(count):
            _prefetch(starts, keys[min(i + _AHEAD, count - 1)] + 1)
            rows[np.int64(starts[keys[i] + 1])] = np.uint32(first + i)
            starts[keys[i] + 1] += np.uint32(1)


@inlined
def _next_mask(mask: int) -> int:
    """The next larger integer with as many bits set, from any but 0 (Gosper's hack)."""
    lowest = mask & -mask
    carried = mask + lowest
    return int(carried | (((mask ^ carried) >> 2) // lowest))


@inlined
def _distance(codes: Words, row: int, queries: Words, query: int) -> int:
    distance: int = popcount(codes[row, 0] ^ queries[query, 0])
    for word in range(1, codes.shape[1]):
        distance += popcount(codes[row, word] ^ queries[query, word])
    return distance


@inlined
def _is_new(codes: Words, row: int, queries: Words, query: int, masks: Words, table: int, apart: int) -> bool:
    """Whether no other table holds a code nearer than this one does, and no earlier one as near."""
    for other in range(masks.shape[0]):
        distance = 0
        for word in range(codes.shape[1]):
            distance += popcount((codes[row, word] ^ queries[query, word]) & masks[other, word])
        if distance < apart or (distance == apart and other < table):
            return False
    return True


@helper
def _make_room(held: Held, k: int, state: Integers, counts: Integers) -> Held:
    """Keep only the k nearest of the candidates if they are many more, else let the array grow."""
    if held.size < 2 * k:
        larger = np.empty(2 * held.size, np.uint64)
        larger[: held.size] = held
        return larger
    held[:] = np.sort(held)
    counts[state[_LIMIT]] -= state[_WITHIN] - k
    state[_HELD] = state[_WITHIN] = k
    state[_BOUND] = np.int64(held[k - 1])
    return held


@helper
def _hold(held: Held, candidate: int, k: int, state: Integers, counts: Integers) -> Held:
    """Add a candidate that is below the bound."""
    if state[_HELD] == held.size:
        held = _make_room(held, k, state, counts)
        if candidate >= state[_BOUND]:
            return held
    held[state[_HELD]] = np.uint64(candidate)
    state[_HELD] += 1
    counts[candidate >> ROW_BITS] += 1
    limit, within = state[_LIMIT], state[_WITHIN] + 1
    while within - counts[limit] >= k:
        within -= counts[limit]
        limit -= 1
    state[_LIMIT], state[_WITHIN] = limit, within
    state[_BOUND] = min(state[_BOUND], (limit + 1) << ROW_BITS)
    return held


@helper
def _compare(
    met: Integers,
    count: int,
    codes: Words,
    queries: Words,
    query: int,
    masks: Words,
    table: int,
    apart: int,
    allowed: Mask,
    k: int,
    held: Held,
    state: Integers,
    counts: Integers,
) -> Held:
    """Take the rows met that are near enough, allowed and new."""
    bound = state[_BOUND]
    words = codes.shape[1]
    for i in range(min(count, _AHEAD)):
        _prefetch(codes, met[i] * words)
    for i in range(count):
        _prefetch(codes, met[min(i + _AHEAD, count - 1)] * words)
        row = met[i]
        candidate = _distance(codes, row, queries, query) << ROW_BITS | row
        if (
            candidate < bound
            and (allowed.size == 0 or allowed[row])
            and _is_new(codes, row, queries, query, masks, table, apart)
        ):
            held = _hold(held, candidate, k, state, counts)
            bound = state[_BOUND]
    return held


@helper
def _look_up(
    tables: Tables, table: int, first: int, key: int, mask: int, count: int, buckets: Integers
) -> tuple[int, int, int]:
    """Note where the next `count` buckets begin and end in the rows, those from `key ^ mask` on.

    Returns how many of them are not empty, how many rows these hold, and the mask after the last one.
    """
    for i in range(count):
        place = first + (key ^ mask)
        _prefetch(tables.starts, place)
        buckets[i, 0] = place
        if mask:
            mask = _next_mask(mask)
    noted, total = 0, 0
    for i in range(count):
        place = buckets[i, 0]
        start, stop = np.int64(tables.starts[place]), np.int64(tables.starts[place + 1])
        buckets[noted, 0], buckets[noted, 1] = start, stop
        if start < stop:
            noted += 1
            total += int(stop - start)
            _prefetch(tables.rows, table * tables.rows.shape[1] + start)
    return noted, total, mask


@helper
def _probes_left(step: int, left: int, limit: int, probes: NDArray[np.float64]) -> float:
    """Probes until all codes within `limit` are found, `left` of them in this step."""
    total = float(left)
    for later in range(step + 1, min(limit + 1, probes.size)):
        total += probes[later % probes.shape[0], later // probes.shape[0]]
    return total


@helper
def _search(
    codes: Words,
    tables: Tables,
    queries: Words,
    query: int,
    allowed: Mask,
    k: int,
    radius: int,
    budget: Budget,
    state: Integers,
    counts: Integers,
) -> tuple[Held, bool]:
    """Find a query's k nearest codes, with some others, or all within `radius` if they are fewer.

    Step i probes table i % m at the substrings that differ from the query's in i // m bits. Any code that no
    step up to i has met differs in at least i + 1 bits (pigeonhole), so all those within i are found.

    Returns the candidates, `state[_HELD]` of them, and whether this is all: False if the budget was used up.
    """
    cut = tables.split
    held = np.empty(_FIRST_CAPACITY, np.uint64)
    buckets, met = np.empty((_BUCKETS, 2), np.int64), np.empty(_CANDIDATES, np.int64)
    counts[:] = 0
    state[_HELD] = state[_WITHIN] = 0
    state[_LIMIT], state[_BOUND] = radius, (radius + 1) << ROW_BITS
    number = cut.masks.shape[0]
    probed, spent, most = 0, 0.0, budget.trial
    for step in range(cut.probes.size):
        table, apart = step % number, step // number
        key = _substring(queries, query, cut.octets[table], cut.parts[table])
        left, mask = int(cut.probes[table, apart]), (1 << apart) - 1
        while left:
            count = min(left, _BUCKETS)
            noted, total, mask = _look_up(tables, table, cut.firsts[table], key, mask, count, buckets)
            probed += count
            left -= count
            spent += count * budget.probe + total * budget.candidate
            if spent > most:
                rest = spent / probed * _probes_left(step, left, state[_LIMIT], cut.probes)
                if spent + rest > budget.most:
                    return held, False
                most = min(spent + _MARGIN * rest, budget.most)
            pending = 0
            for i in range(noted):
                place, stop = buckets[i, 0], buckets[i, 1]
                while place < stop:
                    taken = min(stop - place, _CANDIDATES - pending)
                    for j in range(taken):
                        met[pending + j] = tables.rows[table, place + j]
                    place += taken
                    pending += taken
                    if pending == _CANDIDATES or (i + 1 == noted and place == stop):
                        held = _compare(
                            met,
                            pending,
                            codes,
                            queries,
                            query,
                            cut.masks,
                            table,
                            apart,
                            allowed,
                            k,
                            held,
                            state,
                            counts,
                        )
                        pending = 0
        if state[_LIMIT] <= step:
            break
    return held, True


@kernel
def nearest(
    codes: Words,
    tables: Tables,
    queries: Words,
    allowed: Mask,
    k: int,
    bits: int,
    budget: Budget,
    distances: NDArray[np.uint16],
    rows: Integers,
    answered: NDArray[np.bool_],
) -> None:
    """Write the k nearest codes of each query by (distance, row), unless that costs more than the budget.

    Args:
        codes: (n, words), those that the tables were built of, and any others after them.
        tables: The tables.
        queries: (q, words)
        allowed: By row, whether it may be returned; empty where all may.
        k: Neighbours a query.
        bits: Bits in a code.
        budget: What each query may spend.
        distances: (q, k), filled as far as there are neighbours.
        rows: (q, k), likewise.
        answered: (q,): whether a query was answered within the budget.
    """
    state, counts = np.empty(_STATES, np.int64), np.empty(bits + 1, np.int64)
    for query in range(queries.shape[0]):
        held, ended = _search(codes, tables, queries, query, allowed, k, bits, budget, state, counts)
        answered[query] = ended
        if ended:
            best = np.sort(held[: state[_HELD]])
            for i in range(min(k, best.size)):
                candidate = np.int64(best[i])
                distances[query, i] = candidate >> ROW_BITS
                rows[query, i] = candidate & ((1 << ROW_BITS) - 1)


@kernel
def within(
    codes: Words,
    tables: Tables,
    queries: Words,
    query: int,
    allowed: Mask,
    radius: int,
    budget: Budget,
) -> tuple[Held, bool]:
    """Find all codes within a distance of one query; the arguments are those of `nearest`.

    Returns the found as words, `distance << ROW_BITS | row` in no order, and whether the budget sufficed.
    """
    state, counts = np.empty(_STATES, np.int64), np.empty(radius + 1, np.int64)
    everything = codes.shape[0] + 1
    held, ended = _search(codes, tables, queries, query, allowed, everything, radius, budget, state, counts)
    return held[: state[_HELD]], ended
