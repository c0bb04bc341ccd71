"""The exact Hamming scan, over arrays of 64-bit words, shared among threads."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmhash.index.base import NO_DISTANCE, NO_KEY
from llmhash.index.jit import frozen
from llmhash.index.sharing import Mask, Rows, query_bounds, row_bounds, sample_rows, worth_copying
from llmhash.index.threads import run

Words = NDArray[np.uint64]
Found = tuple[NDArray[np.uint16], Rows]

_WORD_BYTES = 8
# Fewer queries than this are faster one by one than eight side by side (measured).
_FEW_QUERIES = 4
# Bytes of candidate buffers that a group of queries may hold, and what a candidate takes of them.
_BUFFER_BYTES, _CANDIDATE_BYTES = 1 << 26, 10
# A thread should find this many words to compare, or waking it costs more than it saves.
_WORDS_PER_THREAD = 1 << 20
# Words of codes that are copied out at most: codes in a memory-mapped file may be more than memory holds.
_MOST_COPIED = 1 << 25
_NO_OCTETS, _NO_MASK = frozen(np.empty((0, 1, 1), np.uint64)), frozen(np.empty(0, np.uint8))


def word_count(size: int) -> int:
    """The 64-bit words that `size` bytes take."""
    return -(-size // _WORD_BYTES)


def as_words(packed: NDArray[np.uint8]) -> Words:
    """Packed codes (n, B) as 64-bit words (n, ceil(B / 8)): a view where that can be, else a padded copy."""
    packed = np.asarray(packed)
    if packed.shape[1] % _WORD_BYTES == 0 and packed.flags.c_contiguous:
        words = packed.view(np.uint64)
        if words.flags.aligned:
            return words
    padded = np.zeros((len(packed), word_count(packed.shape[1]) * _WORD_BYTES), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def nearest_rows(
    words: Words, queries: Words, k: int, bits: int, allowed: Mask | None, threads: int
) -> Found:
    """The k nearest rows of each query by (distance, row), exactly.

    Args:
        words: uint64 (n, w), the codes; padding bits are zero.
        queries: uint64 (q, w).
        k: Neighbours a query, at least 1.
        bits: Bits in a code.
        allowed: bool (n,), the rows that may be returned; None for all.
        threads: Threads to use at most.

    Returns:
        Distances uint16 (q, k) and rows int64 (q, k), padded with 65535 and -1.
    """
    eligible = len(words) if allowed is None else int(np.count_nonzero(allowed))
    within = min(k, eligible)
    if not within or not len(queries):
        return np.full((len(queries), k), NO_DISTANCE, np.uint16), np.full((len(queries), k), NO_KEY)
    chosen = rows_to_copy(words, queries, allowed)
    if chosen is None:
        distances, rows = _scan(words, queries, within, bits, allowed, threads)
    else:
        distances, places = _scan(words[chosen], queries, within, bits, None, threads)
        rows = chosen[places]
    if within == k:
        return distances, rows
    missing = ((0, 0), (0, k - within))
    distances = np.pad(distances, missing, constant_values=NO_DISTANCE)
    return distances, np.pad(rows, missing, constant_values=NO_KEY)


def _scan(words: Words, queries: Words, k: int, bits: int, allowed: Mask | None, threads: int) -> Found:
    """The k nearest rows, k being at most the number of eligible rows, so that every slot is filled."""
    threads = useful_threads(words, queries, threads)
    groups = query_bounds(len(queries), _BUFFER_BYTES // (_CANDIDATE_BYTES * 2 * k), threads)
    ranges = row_bounds(len(words), len(groups) - 1, threads)
    distances = np.empty((len(ranges) - 1, len(queries), k), np.uint16)
    rows = np.empty(distances.shape, np.int64)
    if len(ranges) > 2:  # Of a part, k may be more than there is.
        distances.fill(NO_DISTANCE)
        rows.fill(NO_KEY)
    sample = words[sample_rows(len(words), allowed, len(queries), k)]
    scan = partial(_scan_part, frozen(words), k=k, bits=bits, allowed=allowed, sample=frozen(sample))
    run(
        [
            partial(scan, start, stop, queries[i:j], distances=distances[part, i:j], rows=rows[part, i:j])
            for i, j in pairwise(groups)
            for part, (start, stop) in enumerate(pairwise(ranges))
        ],
        threads,
    )
    return (distances[0], rows[0]) if len(ranges) == 2 else _merge(distances, rows)


def _scan_part(
    words: Words,
    start: int,
    stop: int,
    queries: Words,
    *,
    k: int,
    bits: int,
    allowed: Mask | None,
    sample: Words,
    distances: NDArray[np.uint16],
    rows: Rows,
) -> None:
    """Write the k nearest of the rows start..stop-1 for a group of queries."""
    from llmhash.index import hamming  # Loads numba.
    from llmhash.index.blocks import LANES

    eligible = stop - start if allowed is None else int(np.count_nonzero(allowed[start:stop]))
    if not eligible:
        return
    asked, octets = side_by_side(queries, LANES)
    nearest = hamming.Nearest.empty(len(asked), stop - start, k, bits)
    mask = frozen_mask(allowed)
    hamming.scan(words, start, stop, asked, octets, sample, eligible, mask, nearest, distances, rows)


def rows_to_copy(words: Words, queries: Words, allowed: Mask | None) -> Rows | None:
    """The allowed rows, if copying their codes out and scanning the copy pays and fits memory."""
    if allowed is None:
        return None
    eligible = int(np.count_nonzero(allowed))
    fits = eligible * words.shape[1] <= _MOST_COPIED
    return np.flatnonzero(allowed) if fits and worth_copying(len(words), eligible, queries.size) else None


def useful_threads(words: Words, queries: Words, threads: int) -> int:
    """How many of `threads` threads comparing all queries with all codes can keep busy."""
    return min(threads, 1 + len(words) * queries.size // _WORDS_PER_THREAD)


def side_by_side(queries: Words, lanes: int) -> tuple[Words, Words]:
    """Queries as kernels take them: in rows, zeros after the last, and laid side by side where that pays.

    Returns:
        uint64 (at least q, w), and (ceil(q / lanes), w, lanes), or (0, w, lanes) for few queries.
    """
    if len(queries) < _FEW_QUERIES:
        return frozen(queries), _NO_OCTETS.reshape(0, queries.shape[1], lanes)
    octets = -(-len(queries) // lanes)
    padded = np.zeros((octets, lanes, queries.shape[1]), np.uint64)
    padded.reshape(-1, queries.shape[1])[: len(queries)] = queries
    return frozen(padded.reshape(-1, queries.shape[1])), frozen(padded.transpose(0, 2, 1))


def frozen_mask(allowed: Mask | None) -> NDArray[np.uint8]:
    """The allowed rows as kernels take them: empty where all are."""
    return _NO_MASK if allowed is None else frozen(allowed.view(np.uint8))


def _merge(distances: NDArray[np.uint16], rows: Rows) -> Found:
    """The k best over parts (parts, q, k) of ascending rows: a stable sort keeps ties in row order."""
    k = distances.shape[2]
    distances, rows = np.concatenate(list(distances), axis=1), np.concatenate(list(rows), axis=1)
    best = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, best, axis=1), np.take_along_axis(rows, best, axis=1)
