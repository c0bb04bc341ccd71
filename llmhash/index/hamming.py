"""The compiled exact Hamming scans: the k nearest codes of each query, or all codes within a distance.

Codes are rows of 64-bit words. A block of rows is only asked whether any of its codes is nearer than the
query's limit: its k-th best so far, or its radius. Few are, so the speed is that of a bare popcount loop;
those few are appended to a buffer in row order and counted by distance, which gives the new k-th distance at
once and, at the end, the order: a counting sort.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.index.blocks import ANY_BELOW, BLOCK, LANES, ROWS_BELOW, octet_below, octet_below_early
from llmhash.index.jit import helper, inlined, kernel
from llmhash.index.vectors import lowest_bit, popcount

Words = NDArray[np.uint64]
Mask = NDArray[np.uint8]  # By row: whether it may be returned; empty where all may.

_TILE_WORDS = 1 << 13  # 64 KB of codes: they stay in the cache while a group of queries goes over them.
_SHORT = (1, 2, 4)  # Words in the codes that are compared at once, in loops of their own.
# The first limit should leave about twice k codes; the margin, counted in the sample, covers its error.
_SAMPLE_FACTOR, _SAMPLE_MARGIN = 2, 6


_any_below_1, _any_below_2, _any_below_4, _any_below_8 = (ANY_BELOW[width] for width in (1, 2, 4, 8))
_rows_below_1, _rows_below_2, _rows_below_4 = (ROWS_BELOW[width] for width in (1, 2, 4))
_any_below_wide, _rows_below_wide = ANY_BELOW[0], ROWS_BELOW[0]


class Nearest(NamedTuple):
    """The best candidates so far of a group of queries; every first axis is the query.

    Candidates nearer than `limit` are taken. As soon as there are k of them, the limit falls to the k-th
    distance: later rows at that distance come after the ones already held.
    """

    k: int
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
            k,
            limit,
            first_limit,
            below,
            held,
            np.zeros((queries, bits + 1), np.int64),
            np.empty((queries, capacity), np.int64),
            np.empty((queries, capacity), np.uint16),
        )


@helper
def _compact(query: int, nearest: Nearest) -> int:
    """Keep the k best candidates, in row order, and return their number."""
    limit, ties = nearest.limit[query], nearest.k - nearest.below[query]
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
def _hold(row: int, distance: int, query: int, nearest: Nearest) -> None:
    """Add a candidate that is nearer than the limit."""
    held = nearest.held[query]
    if held == nearest.rows.shape[1]:
        held = _compact(query, nearest)
    nearest.rows[query, held] = row
    nearest.distances[query, held] = distance
    nearest.held[query] = held + 1
    nearest.counts[query, distance] += 1
    limit, below = nearest.limit[query], nearest.below[query] + 1
    while below >= nearest.k:
        limit -= 1
        below -= nearest.counts[query, limit]
    nearest.limit[query], nearest.below[query] = limit, below


@helper
def _distance(codes: Words, row: int, queries: Words, query: int) -> int:
    distance = 0
    for word in range(codes.shape[1]):
        distance += popcount(codes[row, word] ^ queries[query, word])
    return distance


@helper
def _rows_below_other(codes: Words, first: int, last: int, queries: Words, query: int, limit: int) -> int:
    """For the blocks that `_rows_below` does not compare itself: short ones, and other widths."""
    if last - first == BLOCK:
        return int(_rows_below_wide(codes, first, codes.shape[1], queries, query, limit))
    below = 0
    for row in range(first, last):
        below |= int(_distance(codes, row, queries, query) < limit) << (row - first)
    return below


@inlined
def _rows_below(codes: Words, first: int, last: int, queries: Words, query: int, limit: int) -> int:
    """Which of the rows first..last-1, at most a block, are nearer than the limit: a bit each."""
    words = codes.shape[1]
    if last - first == BLOCK:
        if words == 1:
            return int(_rows_below_1(codes, first, words, queries, query, limit))
        if words == 2:
            return int(_rows_below_2(codes, first, words, queries, query, limit))
        if words == 4:
            return int(_rows_below_4(codes, first, words, queries, query, limit))
    return _rows_below_other(codes, first, last, queries, query, limit)


@inlined
def _take(
    below: int, first: int, codes: Words, queries: Words, query: int, allowed: Mask, nearest: Nearest
) -> None:
    """Add those of the rows whose bits `below` sets, counted from row `first`, that are allowed."""
    while below:
        row = first + lowest_bit(below)
        below &= below - 1
        if allowed.size == 0 or allowed[row]:
            distance = _distance(codes, row, queries, query)
            if distance < nearest.limit[query]:
                _hold(row, distance, query, nearest)


class Within(NamedTuple):
    """All codes found below the limits of a group of queries, query by query in row order."""

    limit: NDArray[np.int64]  # (queries,)
    held: NDArray[np.int64]  # (1,), how many were found.
    queries: NDArray[np.uint16]  # (capacity,)
    distances: NDArray[np.uint16]  # (capacity,)
    rows: NDArray[np.int64]  # (capacity,)


@inlined
def _collect(
    below: int, first: int, codes: Words, queries: Words, query: int, allowed: Mask, within: Within
) -> None:
    """Add those of the rows whose bits `below` sets, counted from row `first`, that are allowed."""
    held = within.held[0]
    while below:
        row = first + lowest_bit(below)
        below &= below - 1
        if allowed.size == 0 or allowed[row]:
            within.queries[held] = query
            within.distances[held] = _distance(codes, row, queries, query)
            within.rows[held] = row
            held += 1
    within.held[0] = held


@helper
def _with_room(within: Within, more: int) -> Within:
    """The same, with room for `more` further codes."""
    held = within.held[0]
    if held + more <= within.rows.size:
        return within
    capacity = held + more + held // 2
    queries, distances = np.empty(capacity, np.uint16), np.empty(capacity, np.uint16)
    rows = np.empty(capacity, np.int64)
    queries[:held], distances[:held] = within.queries[:held], within.distances[:held]
    rows[:held] = within.rows[:held]
    return Within(within.limit, within.held, queries, distances, rows)


@helper
def _skip(codes: Words, first: int, stop: int, queries: Words, query: int, limit: int) -> int:
    """The first row, from `first` on in blocks, whose block is cut short or has a code below the limit."""
    words = codes.shape[1]
    whole = stop - BLOCK
    if words == 1:
        while first <= whole and not _any_below_1(codes, first, words, queries, query, limit):
            first += BLOCK
    elif words == 2:
        while first <= whole and not _any_below_2(codes, first, words, queries, query, limit):
            first += BLOCK
    elif words == 4:
        while first <= whole and not _any_below_4(codes, first, words, queries, query, limit):
            first += BLOCK
    elif words == 8:
        while first <= whole and not _any_below_8(codes, first, words, queries, query, limit):
            first += BLOCK
    else:
        while first <= whole and not _any_below_wide(codes, first, words, queries, query, limit):
            first += BLOCK
    return first


@inlined
def _tile_rows(words: int) -> int:
    return max(BLOCK, _TILE_WORDS // words // BLOCK * BLOCK)


@helper
def _probe(words: int, octet: int, limits: NDArray[np.int64]) -> int:
    """After how many words to ask whether an octet's queries may still have a code below their limit.

    Once unrelated codes, which differ in every second bit, hardly ever are: three deviations below the mean.
    """
    limit = 0
    for query in range(octet * LANES, (octet + 1) * LANES):
        limit = max(limit, limits[query])
    probe = 1
    while probe < words and 32 * probe - 12 * np.sqrt(probe) < limit:
        probe += 1
    return probe


@inlined
def _short_octet(
    codes: Words, row: int, probe: int, octets: Words, octet: int, limits: NDArray[np.int64]
) -> int:
    """For codes of 1, 2 or 4 words: which of an octet's queries have one below their limit in the block."""
    if codes.shape[1] == 1:
        return int(octet_below(codes, row, 1, octets, octet, limits))
    if codes.shape[1] == 2:
        return int(octet_below(codes, row, 2, octets, octet, limits))
    return int(octet_below(codes, row, 4, octets, octet, limits))


@inlined
def _long_octet(
    codes: Words, row: int, probe: int, octets: Words, octet: int, limits: NDArray[np.int64]
) -> int:
    """For codes of any width: the same, with a look at the answer after `probe` words."""
    return int(octet_below_early(codes, row, codes.shape[1], probe, octets, octet, limits))


def _make_octet_scan(take: Any, lanes_below: Any) -> Any:
    """The loop over codes, eight queries at a time; it offers what is below a limit to `take`.

    One for short codes and one for long: in a single one, each has too few registers.
    """

    @helper
    def scan_octets(
        codes: Words, start: int, stop: int, queries: Words, octets: Words, allowed: Mask, found: Any
    ) -> None:
        """Offer the rows start..stop-1 to all queries, eight at a time."""
        tile = _tile_rows(codes.shape[1])
        for first in range(start, stop, tile):
            last = min(stop, first + tile)
            for octet in range(octets.shape[0]):
                probe = _probe(codes.shape[1], octet, found.limit)
                for row in range(first, last, BLOCK):
                    lanes = (1 << LANES) - 1
                    if last - row >= BLOCK:
                        lanes = lanes_below(codes, row, probe, octets, octet, found.limit)
                    while lanes:
                        query = octet * LANES + lowest_bit(lanes)
                        lanes &= lanes - 1
                        below = _rows_below(
                            codes, row, min(last, row + BLOCK), queries, query, found.limit[query]
                        )
                        take(below, row, codes, queries, query, allowed, found)

    return scan_octets


def _make_row_scan(take: Any) -> Any:
    """The loop over blocks of codes for one query; it offers what is below the limit to `take`."""

    @helper
    def scan_rows(
        codes: Words, start: int, stop: int, queries: Words, query: int, allowed: Mask, found: Any
    ) -> None:
        """Offer the rows start..stop-1 to one query."""
        row = _skip(codes, start, stop, queries, query, found.limit[query])
        while row < stop:
            below = _rows_below(codes, row, min(stop, row + BLOCK), queries, query, found.limit[query])
            take(below, row, codes, queries, query, allowed, found)
            row = _skip(codes, row + BLOCK, stop, queries, query, found.limit[query])

    return scan_rows


_nearest_rows, _nearest_short, _nearest_long = (
    _make_row_scan(_take),
    _make_octet_scan(_take, _short_octet),
    _make_octet_scan(_take, _long_octet),
)
_collect_rows, _collect_short, _collect_long = (
    _make_row_scan(_collect),
    _make_octet_scan(_collect, _short_octet),
    _make_octet_scan(_collect, _long_octet),
)


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
def _emit(query: int, nearest: Nearest, distances: NDArray[np.uint16], rows: NDArray[np.int64]) -> None:
    """Write the k best candidates by (distance, row)."""
    places = nearest.counts[query]  # By distance: where its next candidate goes.
    limit, place = nearest.limit[query], 0
    for distance in range(min(limit + 1, places.size)):
        count = places[distance]
        places[distance] = place
        place += count
    for i in range(nearest.held[query]):
        distance = nearest.distances[query, i]
        if distance <= limit and places[distance] < nearest.k:
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
        nearest: Empty, with room for all rows of `queries`.
        distances: (q, k), filled as far as there are neighbours.
        rows: (q, k), likewise.
    """
    everything = nearest.counts.shape[1]
    pending = distances.shape[0]
    for query in range(pending):
        first = _first_limit(sample, eligible, queries, query, nearest.k, nearest.counts[query])
        nearest.first_limit[query] = nearest.limit[query] = first
    while pending:
        if octets.shape[0]:
            if codes.shape[1] in _SHORT:
                _nearest_short(codes, start, stop, queries, octets, allowed, nearest)
            else:
                _nearest_long(codes, start, stop, queries, octets, allowed, nearest)
        for query in range(distances.shape[0] if octets.shape[0] == 0 else 0):
            if nearest.first_limit[query]:
                _nearest_rows(codes, start, stop, queries, query, allowed, nearest)
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
                _emit(query, nearest, distances, rows)
                nearest.first_limit[query] = nearest.limit[query] = 0


@kernel
def collect(
    codes: Words,
    start: int,
    stop: int,
    queries: Words,
    octets: Words,
    limits: NDArray[np.int64],
    allowed: Mask,
) -> Within:
    """Find those of the codes start..stop-1 that are nearer to a query than its limit.

    Args:
        codes: (n, words).
        start: First row to look at.
        stop: Row after the last one.
        queries: (at least q, words), zeros after the first q.
        octets: (ceil(q / 8), words, 8), the queries side by side, or (0, words, 8) to take them singly.
        limits: By query; 0 after the first q.
        allowed: By row, whether it may be returned; empty where all may.
    """
    none = np.empty(0, np.uint16)
    within = Within(limits, np.zeros(1, np.int64), none, none, np.empty(0, np.int64))
    words = codes.shape[1]
    tile = _tile_rows(words)
    for first in range(start, stop, tile):
        last = min(stop, first + tile)
        within = _with_room(within, (last - first) * queries.shape[0])
        if octets.shape[0]:
            if words in _SHORT and (words < 4 or _probe(words, 0, limits) == words):
                _collect_short(codes, first, last, queries, octets, allowed, within)
            else:
                _collect_long(codes, first, last, queries, octets, allowed, within)
        for query in range(queries.shape[0] if octets.shape[0] == 0 else 0):
            _collect_rows(codes, first, last, queries, query, allowed, within)
    return within


@kernel
def count_by_distance(within: Within, counts: NDArray[np.int64]) -> None:
    """Add what was found to `counts`, (queries, distances)."""
    for i in range(within.held[0]):
        counts[within.queries[i], within.distances[i]] += 1


@kernel
def place(
    within: Within, places: NDArray[np.int64], distances: NDArray[np.uint16], rows: NDArray[np.int64]
) -> None:
    """Write what was found to `distances` and `rows`, at `places[query, distance]`, which moves on."""
    for i in range(within.held[0]):
        query, distance = within.queries[i], within.distances[i]
        at = places[query, distance]
        places[query, distance] = at + 1
        distances[at] = distance
        rows[at] = within.rows[i]
