"""Searching through tables of substrings where that pays, and by the flat scan elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmhash.index.base import NO_DISTANCE, NO_KEY, Found, FoundInRange
from llmhash.index.jit import frozen
from llmhash.index.mih_budget import Budget, budget, foreseen
from llmhash.index.mih_tables import Tables
from llmhash.index.ranges import rows_within
from llmhash.index.scan import Words, frozen_mask, nearest_rows
from llmhash.index.sharing import Mask
from llmhash.index.threads import run

# Queries differ in what they take, so a thread gets its share in a few portions.
_PORTIONS = 4
# So many queries of a batch go first; if few of them are answered, the others are not tried.
_SCOUTS, _FEW_ANSWERED = 16, 0.25
# A candidate is a word with its distance above its row.
_ROW_BITS, _ROW = np.uint64(32), np.uint64(2**32 - 1)

Candidates = NDArray[np.uint64]


def nearest_by_tables(
    words: Words, tables: Tables | None, queries: Words, k: int, bits: int, allowed: Mask | None, threads: int
) -> Found:
    """The k nearest rows of each query by (distance, row): what `scan.nearest_rows` finds.

    Args:
        words: uint64 (n, w), the codes.
        tables: Built over the first of them, or None.
        queries: uint64 (q, w)
        k: Neighbours a query, at least 1.
        bits: Bits in a code.
        allowed: bool (n,), the rows that may be returned; None for all.
        threads: Threads to use at most.
    """
    if not len(queries):
        return np.empty((0, k), np.uint16), np.empty((0, k), np.int64)
    eligible = len(words) if allowed is None else int(np.count_nonzero(allowed))
    costs = budget(len(words), eligible, words.shape[1], len(queries), threads)
    # k neighbours take at least so many candidates, most of which a filter may drop.
    if tables is None or not eligible or k * (len(words) / eligible) * costs.candidate > costs.trial:
        return nearest_rows(words, queries, k, bits, allowed, threads)
    distances = np.full((len(queries), k), NO_DISTANCE, np.uint16)
    rows = np.full((len(queries), k), NO_KEY, np.int64)
    answered = _probe(words, tables, queries, k, bits, allowed, costs, distances, rows, threads)
    if not answered.any():
        return nearest_rows(words, queries, k, bits, allowed, threads)
    if tables.height < len(words):
        tail = None if allowed is None else allowed[tables.height :]
        later = nearest_rows(words[tables.height :], queries[answered], k, bits, tail, threads)
        distances[answered], rows[answered] = _merged(
            (distances[answered], rows[answered]), later, tables.height
        )
    if not answered.all():
        left = ~answered
        distances[left], rows[left] = nearest_rows(words, queries[left], k, bits, allowed, threads)
    return distances, rows


def _probe(
    words: Words,
    tables: Tables,
    queries: Words,
    k: int,
    bits: int,
    allowed: Mask | None,
    costs: Budget,
    distances: NDArray[np.uint16],
    rows: NDArray[np.int64],
    threads: int,
) -> NDArray[np.bool_]:
    """Write the nearest of the rows in the tables, and return which queries that was not too much for."""
    from llmhash.index import mih_kernels  # Loads numba.

    answered = np.zeros(len(queries), np.bool_)
    codes, asked, mask = frozen(words), frozen(queries), frozen_mask(allowed)

    def work(i: int, j: int) -> None:
        mih_kernels.nearest(
            codes, tables, asked[i:j], mask, k, bits, costs, distances[i:j], rows[i:j], answered[i:j]
        )

    scouts = min(_SCOUTS, len(queries))
    _share_out(work, 0, scouts, threads)
    if scouts < len(queries) and answered[:scouts].mean() >= _FEW_ANSWERED:
        _share_out(work, scouts, len(queries), threads)
    return answered


def _merged(first: Found, later: Found, start: int) -> Found:
    """The k best of two results, of which the later one's rows count from `start`."""
    distances = np.concatenate([first[0], later[0]], axis=1)
    rows = np.concatenate([first[1], np.where(later[1] == NO_KEY, NO_KEY, later[1] + start)], axis=1)
    best = np.argsort(distances, axis=1, kind="stable")[:, : first[0].shape[1]]
    return np.take_along_axis(distances, best, axis=1), np.take_along_axis(rows, best, axis=1)


def within_by_tables(
    words: Words, tables: Tables | None, queries: Words, radius: int, allowed: Mask | None, threads: int
) -> FoundInRange:
    """All rows within a distance of each query by (distance, row): what `ranges.rows_within` finds.

    The arguments are those of `nearest_by_tables`.
    """
    eligible = len(words) if allowed is None else int(np.count_nonzero(allowed))
    costs = budget(len(words), eligible, words.shape[1], len(queries), threads)
    if tables is None or not eligible or foreseen(tables, radius, costs) > costs.most:
        return _scan(words, queries, radius, allowed, threads)
    found = _probe_within(words, tables, queries, radius, allowed, costs, threads)
    answered = np.array([part is not None for part in found], np.bool_)
    tail = None if allowed is None else allowed[tables.height :]
    later = _scan(words[tables.height :], queries[answered], radius, tail, threads)
    missed = _scan(words, queries[~answered], radius, allowed, threads)
    tails, scanned = iter(_as_candidates(later, tables.height)), iter(_as_candidates(missed, 0))
    parts = [
        next(scanned) if part is None else np.sort(np.concatenate([part, next(tails)])) for part in found
    ]
    lims = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    candidates = np.concatenate(parts)
    return lims, (candidates >> _ROW_BITS).astype(np.uint16), (candidates & _ROW).astype(np.int64)


def _probe_within(
    words: Words,
    tables: Tables,
    queries: Words,
    radius: int,
    allowed: Mask | None,
    costs: Budget,
    threads: int,
) -> list[Candidates | None]:
    """What the tables hold within the radius of each query; None for one that this was too much for."""
    from llmhash.index import mih_kernels  # Loads numba.

    found: list[Candidates | None] = [None] * len(queries)
    codes, asked, mask = frozen(words), frozen(queries), frozen_mask(allowed)

    def work(i: int, j: int) -> None:
        for query in range(i, j):
            part, ended = mih_kernels.within(codes, tables, asked, query, mask, radius, costs)
            found[query] = part if ended else None

    _share_out(work, 0, len(queries), threads)
    return found


def _scan(words: Words, queries: Words, radius: int, allowed: Mask | None, threads: int) -> FoundInRange:
    if not len(words) or not len(queries):
        return np.zeros(len(queries) + 1, np.int64), np.empty(0, np.uint16), np.empty(0, np.int64)
    return rows_within(words, queries, np.full(len(queries), radius), allowed, threads)


def _as_candidates(found: FoundInRange, start: int) -> list[Candidates]:
    """By query, what a scan found, as the kernels hold it; its rows count from `start`."""
    lims, distances, rows = found
    candidates = distances.astype(np.uint64) << _ROW_BITS | (rows + start).astype(np.uint64)
    return [candidates[i:j] for i, j in pairwise(lims)]


def _share_out(work: Callable[[int, int], None], first: int, last: int, threads: int) -> None:
    """Have the queries from one number up to another worked on, by several threads where there are more."""
    if min(last - first, threads) <= 1:
        work(first, last)
        return
    count = min(last - first, _PORTIONS * threads)
    bounds = [first + (last - first) * portion // count for portion in range(count + 1)]
    run([partial(work, i, j) for i, j in pairwise(bounds)], threads)
