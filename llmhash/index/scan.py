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

# Fewer queries than this are faster one by one than eight side by side (measured).
_FEW_QUERIES = 4
# Bytes of candidate buffers that a group of queries may hold, and what a candidate takes of them.
_BUFFER_BYTES, _CANDIDATE_BYTES = 1 << 26, 10
# A thread should find this many words to compare, or waking it costs more than it saves.
_WORDS_PER_THREAD = 1 << 20


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
    distances = np.full((len(queries), k), NO_DISTANCE, np.uint16)
    rows = np.full((len(queries), k), NO_KEY, np.int64)
    eligible = len(words) if allowed is None else int(np.count_nonzero(allowed))
    if not eligible or not len(queries):
        return distances, rows
    within = min(k, eligible)
    if allowed is not None and worth_copying(len(words), eligible, queries.size):
        chosen = np.flatnonzero(allowed)
        distances[:, :within], places = _scan(words[chosen], queries, within, bits, None, threads)
        rows[:, :within] = chosen[places]
    else:
        distances[:, :within], rows[:, :within] = _scan(words, queries, within, bits, allowed, threads)
    return distances, rows


def _scan(words: Words, queries: Words, k: int, bits: int, allowed: Mask | None, threads: int) -> Found:
    """The k nearest rows, k being at most the number of eligible rows, so that every slot is filled."""
    threads = min(threads, 1 + len(words) * queries.size // _WORDS_PER_THREAD)
    groups = query_bounds(len(queries), _BUFFER_BYTES // (_CANDIDATE_BYTES * 2 * k), threads)
    ranges = row_bounds(len(words), len(groups) - 1, threads)
    distances = np.full((len(ranges) - 1, len(queries), k), NO_DISTANCE, np.uint16)
    rows = np.full(distances.shape, NO_KEY, np.int64)
    sample = words[sample_rows(len(words), allowed, len(queries))]
    scan = partial(_scan_part, words, k=k, bits=bits, allowed=allowed, sample=sample)
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

    eligible = stop - start if allowed is None else int(np.count_nonzero(allowed[start:stop]))
    if not eligible:
        return
    lanes = hamming.LANES
    octets = -(-len(queries) // lanes) if len(queries) >= _FEW_QUERIES else 0
    padded = np.zeros((max(len(queries), octets * lanes), words.shape[1]), np.uint64)
    padded[: len(queries)] = queries
    side_by_side = padded[: octets * lanes].reshape(octets, lanes, words.shape[1]).transpose(0, 2, 1)
    hamming.scan(
        frozen(words),
        start,
        stop,
        frozen(padded),
        frozen(side_by_side),
        frozen(sample),
        eligible,
        frozen(np.empty(0, np.uint8) if allowed is None else allowed.view(np.uint8)),
        k,
        hamming.Nearest.empty(len(padded), stop - start, k, bits),
        distances,
        rows,
    )


def _merge(distances: NDArray[np.uint16], rows: Rows) -> Found:
    """The k best over parts (parts, q, k) of ascending rows: a stable sort keeps ties in row order."""
    k = distances.shape[2]
    distances, rows = np.concatenate(list(distances), axis=1), np.concatenate(list(rows), axis=1)
    best = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, best, axis=1), np.take_along_axis(rows, best, axis=1)
