"""The compiled exact Hamming scan: the k nearest codes of each query by (distance, row).

Codes are rows of 64-bit words. A block of rows is only asked whether any of its codes is nearer than the
query's k-th best so far. Few are, so the speed is that of a bare popcount loop; those few are appended to
the query's buffer in row order and counted by distance, which gives the new k-th distance at once and, at
the end, the order: a counting sort.

Two loops ask. `_scan_octets` lays eight queries side by side in a vector and goes over the codes one by one:
whatever their width, nothing has to be rearranged, and each code is read once for eight queries. `_scan_rows`
lays codes side by side, for one query. The vectors are written in LLVM's generic terms, so every processor
gets its best instructions (on x86-64 since Ice Lake and Zen 4: VPOPCNTQ).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from llmhash.index.jit import helper, inlined, intrinsic, kernel
from llmhash.index.vectors import (
    add_to,
    array_data,
    as_mask,
    constant,
    each,
    every,
    load,
    lowest_bit,
    popcount,
    repeated,
    splat,
    sums,
)
from llmhash.index.vectors import words as vector_of

Words = NDArray[np.uint64]
Mask = NDArray[np.uint8]  # By row: whether it may be returned; empty where all may.

LANES = 8  # Queries in a vector of 64-bit words.
BLOCK = 16  # Rows looked at before the answer is used: their sums of popcounts fill half the registers.
_TILE_WORDS = 1 << 13  # 64 KB of codes: they stay in the cache while a group of queries goes over them.
# The first limit should leave about twice k codes; the margin, counted in the sample, covers its error.
_SAMPLE_FACTOR, _SAMPLE_MARGIN = 2, 6


@intrinsic
def _octet_below(_: Any, codes: Any, row: Any, words: Any, octets: Any, octet: Any, limits: Any) -> Any:
    """Which of an octet's queries have a code nearer than their limit in the block at `row`: a bit each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes, octets, limits = (array_data(context, builder, signature, args, i) for i in (0, 3, 5))
        row, words, octet = args[1], args[2], args[4]
        totals = sums(builder, BLOCK, LANES)
        with cgutils.for_range(builder, words) as loop:
            at = builder.mul(builder.add(builder.mul(octet, words), loop.index), constant(LANES))
            query = load(builder, octets, at, vector_of(LANES))
            for step, total in enumerate(totals):
                at = builder.add(builder.mul(builder.add(row, constant(step)), words), loop.index)
                differing = builder.xor(splat(builder, load(builder, codes, at), LANES), query)
                add_to(builder, total, each(builder, "ctpop", differing))
        nearest = builder.load(totals[0])
        for total in totals[1:]:
            nearest = each(builder, "umin", nearest, builder.load(total))
        limit = load(builder, limits, builder.mul(octet, constant(LANES)), vector_of(LANES))
        return as_mask(builder, builder.icmp_unsigned("<", nearest, limit))

    return types.int64(codes, types.int64, types.int64, octets, types.int64, limits), generate


def _make_rows_below(words: int) -> Any:
    """For codes of `words` words: which rows of the block at `row` are nearer than the limit, a bit each."""

    @intrinsic
    def rows_below(_: Any, codes: Any, row: Any, queries: Any, query: Any, limit: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            codes, queries = (array_data(context, builder, signature, args, i) for i in (0, 2))
            row, query, limit = args[1], args[3], args[4]
            block = load(builder, codes, builder.mul(row, constant(words)), vector_of(BLOCK * words))
            total = repeated(0, BLOCK)
            for word in range(words):
                at = builder.add(builder.mul(query, constant(words)), constant(word))
                query_word = splat(builder, load(builder, queries, at), BLOCK)
                differing = builder.xor(every(builder, block, word, words), query_word)
                total = builder.add(total, each(builder, "ctpop", differing))
            return as_mask(builder, builder.icmp_unsigned("<", total, splat(builder, limit, BLOCK)))

        return types.int64(codes, types.int64, queries, types.int64, types.int64), generate

    return rows_below


_rows_below_1, _rows_below_2, _rows_below_4 = _make_rows_below(1), _make_rows_below(2), _make_rows_below(4)


class Nearest(NamedTuple):
    """The best candidates so far of a group of queries; every first axis is the query.

    Candidates nearer than `limit` are taken. As soon as there are k of them, the limit falls to the k-th
    distance: later rows at that distance come after the ones already held.
    """

    limit: NDArray[np.int64]
    first_limit: NDArray[np.int64]  # What the limit was when the scan began; 0 once the result is written.
    below: NDArray[np.int64]  # Candidates nearer than the limit, always fewer than k.
    held: NDArray[np.int64]  # Candidates in the buffers.
    counts: NDArray[np.int64]  # (queries, bits + 1), candidates by distance.
    rows: NDArray[np.int64]  # (queries, capacity), in row order.
    distances: NDArray[np.uint16]  # (queries, capacity)

    @classmethod
    def empty(cls, queries: int, codes: int, k: int, bits: int) -> Nearest:
        """Room for the candidates of `queries` queries over `codes` codes."""
        capacity = min(codes, k + max(k // 2, 512))
        limit, first_limit, below, held = np.zeros((4, queries), np.int64)
        return cls(
            limit,
            first_limit,
            below,
            held,
            np.zeros((queries, bits + 1), np.int64),
            np.empty((queries, capacity), np.int64),
            np.empty((queries, capacity), np.uint16),
        )


@helper
def _compact(k: int, query: int, nearest: Nearest) -> int:
    """Keep the k best candidates, in row order, and return their number."""
    limit, ties = nearest.limit[query], k - nearest.below[query]
    kept = 0
    for i in range(nearest.held[query]):
        distance = nearest.distances[query, i]
        if distance < limit or (distance == limit and ties > 0):
            ties -= distance == limit
            nearest.rows[query, kept] = nearest.rows[query, i]
            nearest.distances[query, kept] = distance
            kept += 1
    return kept


@inlined
def _hold(row: int, distance: int, k: int, query: int, nearest: Nearest) -> None:
    """Add a candidate that is nearer than the limit."""
    held = nearest.held[query]
    if held == nearest.rows.shape[1]:
        held = _compact(k, query, nearest)
    nearest.rows[query, held] = row
    nearest.distances[query, held] = distance
    nearest.held[query] = held + 1
    nearest.counts[query, distance] += 1
    limit, below = nearest.limit[query], nearest.below[query] + 1
    while below >= k:
        limit -= 1
        below -= nearest.counts[query, limit]
    nearest.limit[query], nearest.below[query] = limit, below


@helper
def _distance(codes: Words, row: int, queries: Words, query: int) -> int:
    distance = 0
    for word in range(codes.shape[1]):
        distance += popcount(codes[row, word] ^ queries[query, word])
    return distance


@inlined
def _rows_below(codes: Words, first: int, last: int, queries: Words, query: int, limit: int) -> int:
    """Which of the rows first..last-1, at most a block, are nearer than the limit: a bit each."""
    words = codes.shape[1]
    if last - first == BLOCK:
        if words == 1:
            return int(_rows_below_1(codes, first, queries, query, limit))
        if words == 2:
            return int(_rows_below_2(codes, first, queries, query, limit))
        if words == 4:
            return int(_rows_below_4(codes, first, queries, query, limit))
    below = 0
    for row in range(first, last):
        below |= int(_distance(codes, row, queries, query) < limit) << (row - first)
    return below


@inlined
def _take(
    below: int, first: int, codes: Words, queries: Words, query: int, k: int, allowed: Mask, nearest: Nearest
) -> None:
    """Add those of the rows whose bits `below` sets, counted from row `first`, that are allowed."""
    while below:
        row = first + lowest_bit(below)
        below &= below - 1
        if allowed.size == 0 or allowed[row]:
            distance = _distance(codes, row, queries, query)
            if distance < nearest.limit[query]:
                _hold(row, distance, k, query, nearest)


@helper
def _scan_octets(
    codes: Words,
    start: int,
    stop: int,
    queries: Words,
    octets: Words,
    k: int,
    allowed: Mask,
    nearest: Nearest,
) -> None:
    """Offer the rows start..stop-1 to all queries, eight at a time."""
    words = codes.shape[1]
    tile = max(BLOCK, _TILE_WORDS // words // BLOCK * BLOCK)
    for first in range(start, stop, tile):
        last = min(stop, first + tile)
        for octet in range(octets.shape[0]):
            for row in range(first, last, BLOCK):
                if last - row < BLOCK:
                    lanes = (1 << LANES) - 1
                elif words == 1:
                    lanes = _octet_below(codes, row, 1, octets, octet, nearest.limit)
                elif words == 2:
                    lanes = _octet_below(codes, row, 2, octets, octet, nearest.limit)
                elif words == 4:
                    lanes = _octet_below(codes, row, 4, octets, octet, nearest.limit)
                else:
                    lanes = _octet_below(codes, row, words, octets, octet, nearest.limit)
                while lanes:
                    query = octet * LANES + lowest_bit(lanes)
                    lanes &= lanes - 1
                    below = _rows_below(
                        codes, row, min(last, row + BLOCK), queries, query, nearest.limit[query]
                    )
                    _take(below, row, codes, queries, query, k, allowed, nearest)


@helper
def _skip(codes: Words, first: int, stop: int, queries: Words, query: int, limit: int) -> int:
    """The first row, from `first` on in blocks, whose block is cut short or has a code below the limit."""
    words = codes.shape[1]
    whole = stop - BLOCK
    if words == 1:
        while first <= whole and not _rows_below_1(codes, first, queries, query, limit):
            first += BLOCK
    elif words == 2:
        while first <= whole and not _rows_below_2(codes, first, queries, query, limit):
            first += BLOCK
    elif words == 4:
        while first <= whole and not _rows_below_4(codes, first, queries, query, limit):
            first += BLOCK
    else:
        while first <= whole and not _rows_below(codes, first, first + BLOCK, queries, query, limit):
            first += BLOCK
    return first


@helper
def _scan_rows(
    codes: Words, start: int, stop: int, queries: Words, query: int, k: int, allowed: Mask, nearest: Nearest
) -> None:
    """Offer the rows start..stop-1 to one query."""
    row = _skip(codes, start, stop, queries, query, nearest.limit[query])
    while row < stop:
        below = _rows_below(codes, row, min(stop, row + BLOCK), queries, query, nearest.limit[query])
        _take(below, row, codes, queries, query, k, allowed, nearest)
        row = _skip(codes, row + BLOCK, stop, queries, query, nearest.limit[query])


@helper
def _first_limit(
    sample: Words, eligible: int, queries: Words, query: int, k: int, counts: NDArray[np.int64]
) -> int:
    """A limit that more than k of the eligible codes should be nearer than, going by a sample of them.

    Returns bits + 1, which every code is nearer than, where the sample is too small to tell.
    """
    for row in range(sample.shape[0]):
        counts[_distance(sample, row, queries, query)] += 1
    wanted = _SAMPLE_MARGIN + _SAMPLE_FACTOR * k * sample.shape[0] // eligible
    limit, total = 0, 0
    while limit < counts.size and total < wanted:
        total += counts[limit]
        counts[limit] = 0
        limit += 1
    for distance in range(limit, counts.size):
        counts[distance] = 0
    return limit if total >= wanted else counts.size


@helper
def _forget(query: int, nearest: Nearest) -> None:
    nearest.below[query] = nearest.held[query] = 0
    for distance in range(nearest.counts.shape[1]):
        nearest.counts[query, distance] = 0


@helper
def _emit(
    k: int, query: int, nearest: Nearest, distances: NDArray[np.uint16], rows: NDArray[np.int64]
) -> None:
    """Write the k best candidates by (distance, row)."""
    places = nearest.counts[query]  # By distance: where its next candidate goes.
    limit, place = nearest.limit[query], 0
    for distance in range(min(limit + 1, places.size)):
        count = places[distance]
        places[distance] = place
        place += count
    for i in range(nearest.held[query]):
        distance = nearest.distances[query, i]
        if distance <= limit and places[distance] < k:
            place = places[distance]
            places[distance] += 1
            distances[query, place] = distance
            rows[query, place] = nearest.rows[query, i]


@kernel
def scan(
    codes: Words,
    start: int,
    stop: int,
    queries: Words,
    octets: Words,
    sample: Words,
    eligible: int,
    allowed: Mask,
    k: int,
    nearest: Nearest,
    distances: NDArray[np.uint16],
    rows: NDArray[np.int64],
) -> None:
    """Write the k nearest of the codes start..stop-1 for each query, by (distance, row).

    Args:
        codes: (n, words).
        start: First row to look at.
        stop: Row after the last one.
        queries: (at least q, words), zeros after the first q.
        octets: (ceil(q / 8), words, 8), the queries side by side, or (0, words, 8) to take them singly.
        sample: (s, words), some of the eligible codes, or none.
        eligible: How many of the rows are allowed.
        allowed: By row, whether it may be returned; empty where all may.
        k: Neighbours a query.
        nearest: Empty, with room for all rows of `queries`.
        distances: (q, k), filled as far as there are neighbours.
        rows: (q, k), likewise.
    """
    everything = nearest.counts.shape[1]
    pending = distances.shape[0]
    for query in range(pending):
        first = _first_limit(sample, eligible, queries, query, k, nearest.counts[query])
        nearest.first_limit[query] = nearest.limit[query] = first
    while pending:
        if octets.shape[0]:
            _scan_octets(codes, start, stop, queries, octets, k, allowed, nearest)
        for query in range(distances.shape[0] if octets.shape[0] == 0 else 0):
            if nearest.first_limit[query]:
                _scan_rows(codes, start, stop, queries, query, k, allowed, nearest)
        pending = 0
        for query in range(distances.shape[0]):
            first = nearest.first_limit[query]
            if first == 0:
                continue
            if nearest.limit[query] == first < everything:
                # The sample misled: fewer than k codes are nearer than the first limit. Start over without.
                _forget(query, nearest)
                nearest.first_limit[query] = nearest.limit[query] = everything
                pending += 1
            else:
                _emit(k, query, nearest, distances, rows)
                nearest.first_limit[query] = nearest.limit[query] = 0
