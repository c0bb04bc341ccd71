"""The compiled asymmetric scans: documents' bytes scored by a query's own tables.

A score is a sum of float32 table entries, byte after byte. To find the best k of many documents, hardly any
needs that: vectors of documents first sum a lower bound of the *loss*, what a document misses of the best
possible score, in whole steps, rounded down. Only documents whose bound leaves them a chance are scored.

The tables of logits add up over the halves of a byte, so that their losses take tables of 16 entries, made
once; eight of them fill the registers that one instruction looks up 64 entries in. Any other tables take all
256 entries a byte, and codes laid out byte by byte. Their steps are as long as the loss that still leaves a
chance allows, and are made again when that has shrunk.
"""

from __future__ import annotations

import numpy as np

from llmhash.index.jit import helper, inlined, kernel
from llmhash.index.lookup_vectors import (
    BYTES_BLOCK,
    HALVES_BLOCK,
    promising_by_bytes,
    promising_by_halves,
    transpose,
    word_at,
)
from llmhash.index.sharing import Rows
from llmhash.index.tables import Best, Bytes, Floats, Ranks, Tables, Words
from llmhash.index.vectors import lowest_bit, popcount

#: Columns of the planes that a scan works in must be a multiple of this.
COLUMNS_UNIT = 64
# Steps that leave every document a chance: more than any sum of halves; and the most that a byte counts.
_ALL_HALVES, _ALL_BYTES = 1 << 30, 255
# Steps that the loss which leaves a chance takes when they are made, and when they are made again.
_FINE, _COARSE = 254.0, 192.0


@helper
def _fill(planes: Words, packed: Bytes, first: int, last: int) -> None:
    """Lay the codes of the rows first..last-1 out word by word: planes (words, columns)."""
    width, count = packed.shape[1], last - first
    if width == 8:
        for column in range(count):
            planes[0, column] = word_at(packed, (first + column) * 8)
        return
    for word in range(planes.shape[0]):
        # A last word may reach into the next code, whose bytes the mask takes away, but not past the array.
        rest = min(8, width - word * 8)
        mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * rest)
        whole = count if rest == 8 or last < packed.shape[0] - 8 else max(0, count - 8)
        for column in range(whole):
            planes[word, column] = word_at(packed, (first + column) * width + word * 8) & mask
        for column in range(whole, count):
            value = np.uint64(0)
            for byte in range(rest):
                value |= np.uint64(packed[first + column, word * 8 + byte]) << np.uint64(8 * byte)
            planes[word, column] = value


@inlined
def _score(scores: Floats, query: int, packed: Bytes, row: int, largest: np.float32) -> np.float32:
    total = np.float32(0)
    for byte in range(packed.shape[1]):
        total += scores[query, byte, packed[row, byte]]
    return min(max(total, -largest), largest)


@inlined
def _rank(score: np.float32, codes: Bytes, query: int, packed: Bytes, row: int) -> int:
    """The number that `tables.scores_of` describes."""
    distance = 0
    for byte in range(packed.shape[1]):
        distance += popcount(np.uint64(packed[row, byte] ^ codes[query, byte]))
    bits = int(np.float32(score).view(np.int32))  # numba wants the type beside the view.
    return ((bits if bits >= 0 else bits ^ 0x7FFFFFFF) << 16) - distance


@inlined
def _score_of(rank: int) -> np.float32:
    bits = (rank + 0xFFFF) >> 16
    return np.int32(bits if bits >= 0 else bits ^ 0x7FFFFFFF).view(np.float32)


@inlined
def _worse(rank: int, row: int, than_rank: int, than_row: int) -> bool:
    return rank < than_rank or (rank == than_rank and row > than_row)


@helper
def _push(ranks: Ranks, rows: Rows, held: int, rank: int, row: int) -> None:
    """Add a document to a heap of `held`, the worst of which is on top."""
    place = held
    while place:
        parent = (place - 1) // 2
        if not _worse(rank, row, ranks[parent], rows[parent]):
            break
        ranks[place], rows[place] = ranks[parent], rows[parent]
        place = parent
    ranks[place], rows[place] = rank, row


@helper
def _replace(ranks: Ranks, rows: Rows, held: int, rank: int, row: int) -> None:
    """Put a document into a heap of `held` in place of the one on top."""
    place, child = 0, 1
    while child < held:
        if child + 1 < held and _worse(ranks[child + 1], rows[child + 1], ranks[child], rows[child]):
            child += 1
        if not _worse(ranks[child], rows[child], rank, row):
            break
        ranks[place], rows[place] = ranks[child], rows[child]
        place, child = child, 2 * child + 1
    ranks[place], rows[place] = rank, row


@helper
def _sort(ranks: Ranks, rows: Rows, held: int) -> None:
    """Turn a heap into a list, the best document first."""
    for last in range(held - 1, 0, -1):
        rank, row = ranks[last], rows[last]
        ranks[last], rows[last] = ranks[0], rows[0]
        _replace(ranks, rows, last, rank, row)


@inlined
def _steps_within(room: float, per_score: float, all_steps: int) -> int:
    """The whole steps in a loss, which may be infinite, as it is before k documents are known."""
    steps = room * per_score
    return int(steps) if steps < all_steps else all_steps  # So too where it is infinity times 0.


@inlined
def _lowest(tables: Tables, query: int, best: Best) -> np.float32:
    """The score that a document must reach."""
    full = best.held[query] == best.ranks.shape[1]
    return _score_of(best.ranks[query, 0]) if full else tables.floor[query]


@inlined
def _offer(
    packed: Bytes,
    first: int,
    last: int,
    promising: int,
    tables: Tables,
    query: int,
    largest: np.float32,
    allowed: Bytes,
    best: Best,
    lowest: np.float32,
) -> np.float32:
    """Score a block's promising documents from row `first` on; the score that the next one must reach."""
    ranks, rows, held, k = best.ranks[query], best.rows[query], best.held[query], best.ranks.shape[1]
    while promising:
        row = first + lowest_bit(promising)
        promising &= promising - 1
        if row >= last or (allowed.size and not allowed[row]):
            continue
        score = _score(tables.scores, query, packed, row, largest)
        if score < lowest:
            continue
        rank = _rank(score, tables.codes, query, packed, row)
        if held < k:
            _push(ranks, rows, held, rank, row)
            held += 1
        elif rank > ranks[0]:
            _replace(ranks, rows, k, rank, row)
        if held == k:
            lowest = _score_of(ranks[0])
    best.held[query] = held
    return lowest


@helper
def _skip_by_halves(planes: Words, at: int, stop: int, steps: Words, query: int, limit: int) -> int:
    """The first column, from `at` on in blocks, whose block has a promising document; else `stop` or more."""
    words = planes.shape[0]
    if words == 1:
        while at < stop and not promising_by_halves(planes, at, 1, steps, query, limit):
            at += HALVES_BLOCK
    else:
        while at < stop and not promising_by_halves(planes, at, words, steps, query, limit):
            at += HALVES_BLOCK
    return at


@helper
def _scan_tile_by_halves(
    packed: Bytes,
    first: int,
    last: int,
    tables: Tables,
    query: int,
    allowed: Bytes,
    planes: Words,
    best: Best,
) -> None:
    """Offer the rows first..last-1, which `planes` holds, to a query."""
    lowest = _lowest(tables, query, best)
    at = 0
    while True:
        room = tables.most[query] - lowest + tables.slack[query]
        limit = _steps_within(room, tables.per_score[query], _ALL_HALVES)
        at = _skip_by_halves(planes, at, last - first, tables.steps, query, limit)
        if at >= last - first:
            break
        promising = promising_by_halves(planes, at, planes.shape[0], tables.steps, query, limit)
        lowest = _offer(
            packed, first + at, last, promising, tables, query, np.float32(1), allowed, best, lowest
        )
        at += HALVES_BLOCK


@kernel
def scan_by_halves(
    packed: Bytes, start: int, stop: int, tables: Tables, allowed: Bytes, planes: Words, best: Best
) -> None:
    """Find the best of the documents start..stop-1 for each query, by (score, Hamming distance, row).

    Args:
        packed: (n, bytes), the documents' codes.
        start: First row to look at.
        stop: Row after the last one.
        tables: The q queries, with steps.
        allowed: By row, whether it may be returned; empty where all may.
        planes: (words, columns) to work in, the columns a multiple of `COLUMNS_UNIT`.
        best: Nothing found yet; it comes back in order, the best document first.
    """
    for first in range(start, stop, planes.shape[1]):
        last = min(stop, first + planes.shape[1])
        _fill(planes, packed, first, last)
        for query in range(best.held.size):
            _scan_tile_by_halves(packed, first, last, tables, query, allowed, planes, best)
    for query in range(best.held.size):
        _sort(best.ranks[query], best.rows[query], best.held[query])


@helper
def _make_steps(steps: Bytes, scores: Floats, query: int, per_score: float) -> None:
    """Turn a query's tables into losses in whole steps, 255 at most: steps (q, bytes, 256)."""
    for byte in range(scores.shape[1]):
        peak = scores[query, byte, 0]
        for value in range(1, scores.shape[2]):
            peak = max(peak, scores[query, byte, value])
        for value in range(scores.shape[2]):
            loss = (np.float64(peak) - np.float64(scores[query, byte, value])) * per_score
            steps[query, byte, value] = np.uint8(min(loss, 255.0))


@helper
def _skip_by_bytes(blocks: Bytes, block: int, stop: int, steps: Bytes, query: int, limit: int) -> int:
    """The first block, from `block` on, that has a promising document; else `stop`."""
    width = steps.shape[1]
    if width == 8:
        while block < stop and not promising_by_bytes(blocks, block, 8, steps, query, limit):
            block += 1
    else:
        while block < stop and not promising_by_bytes(blocks, block, width, steps, query, limit):
            block += 1
    return block


@helper
def _scan_tile_by_bytes(
    packed: Bytes,
    first: int,
    last: int,
    tables: Tables,
    query: int,
    allowed: Bytes,
    blocks: Bytes,
    steps: Bytes,
    per_score: float,
    best: Best,
) -> None:
    """Offer the rows first..last-1, which `blocks` holds, to a query."""
    lowest, largest = _lowest(tables, query, best), np.float32(np.inf)
    block, stop = 0, (last - first + BYTES_BLOCK - 1) // BYTES_BLOCK
    while True:
        room = tables.most[query] - lowest + tables.slack[query]
        limit = _steps_within(room, per_score, _ALL_BYTES)
        block = _skip_by_bytes(blocks, block, stop, steps, query, limit)
        if block >= stop:
            break
        promising = promising_by_bytes(blocks, block, steps.shape[1], steps, query, limit)
        row = first + block * BYTES_BLOCK
        lowest = _offer(packed, row, last, promising, tables, query, largest, allowed, best, lowest)
        block += 1


@kernel
def scan_by_bytes(
    packed: Bytes, start: int, stop: int, tables: Tables, allowed: Bytes, planes: Words, best: Best
) -> None:
    """Like `scan_by_halves`, for tables of any kind; they need no steps."""
    width, words = packed.shape[1], planes.shape[0]
    blocks = np.empty((planes.shape[1] // BYTES_BLOCK, 8 * words, BYTES_BLOCK), np.uint8)
    steps = np.zeros((best.held.size, width, 256), np.uint8)
    per_score = np.zeros(best.held.size)
    for first in range(start, stop, planes.shape[1]):
        last = min(stop, first + planes.shape[1])
        _fill(planes, packed, first, last)
        for block in range((last - first + BYTES_BLOCK - 1) // BYTES_BLOCK):
            for word in range(words):
                transpose(planes, word, blocks, block)
        for query in range(best.held.size):
            room = tables.most[query] - _lowest(tables, query, best) + tables.slack[query]
            if room > 0 and room * per_score[query] < _COARSE:
                per_score[query] = _FINE / room
                _make_steps(steps, tables.scores, query, per_score[query])
            _scan_tile_by_bytes(
                packed, first, last, tables, query, allowed, blocks, steps, per_score[query], best
            )
    for query in range(best.held.size):
        _sort(best.ranks[query], best.rows[query], best.held[query])


@kernel
def score_all(packed: Bytes, start: int, stop: int, scores: Floats, largest: np.float32, out: Floats) -> None:
    """Write the scores of the documents start..stop-1, cut to ±`largest`: out (q, n)."""
    for query in range(scores.shape[0]):
        for row in range(start, stop):
            out[query, row] = _score(scores, query, packed, row, largest)


@kernel
def score_rows(packed: Bytes, rows: Rows, scores: Floats, largest: np.float32, out: Floats) -> None:
    """Write the scores of each query's own candidates, rows (q, c): out (q, c). Row -1 scores -inf."""
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            score = _score(scores, query, packed, row, largest) if row >= 0 else np.float32(-np.inf)
            out[query, place] = score
