"""The exact search for all codes within a distance, over arrays of 64-bit words, shared among threads."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmhash.index.base import FoundInRange
from llmhash.index.jit import frozen
from llmhash.index.scan import Words, frozen_mask, rows_to_copy, side_by_side, useful_threads
from llmhash.index.sharing import Mask, Rows, query_bounds, row_bounds
from llmhash.index.threads import run

if TYPE_CHECKING:
    from llmhash.index.hamming import Within

Radii = NDArray[np.int64]


def rows_within(
    words: Words, queries: Words, radii: Radii, allowed: Mask | None, threads: int
) -> FoundInRange:
    """All rows within a distance of each query, by (distance, row), exactly.

    Memory grows with what is found.

    Args:
        words: uint64 (n, w), the codes; padding bits are zero.
        queries: uint64 (q, w).
        radii: int64 (q,), the largest distance for each query, at least 0.
        allowed: bool (n,), the rows that may be returned; None for all.
        threads: Threads to use at most.

    Returns:
        `lims` int64 (q + 1,), distances uint16 (lims[q],) and rows int64 (lims[q],).
    """
    if (chosen := rows_to_copy(words, queries, allowed)) is not None:
        lims, distances, places = _scan(words[chosen], queries, radii, None, threads)
        return lims, distances, chosen[places]
    return _scan(words, queries, radii, allowed, threads)


def _scan(words: Words, queries: Words, radii: Radii, allowed: Mask | None, threads: int) -> FoundInRange:
    threads = useful_threads(words, queries, threads)
    groups = query_bounds(len(queries), len(queries), threads)
    ranges = row_bounds(len(words), len(groups) - 1, threads)
    found: list[dict[int, Within]] = [{} for _ in groups[1:]]  # By group: by the first row of each range.
    held = frozen(words)
    run(
        [
            partial(_scan_part, held, start, stop, queries[i:j], radii[i:j], allowed, found[group])
            for group, (i, j) in enumerate(pairwise(groups))
            for start, stop in pairwise(ranges)
        ],
        threads,
    )
    starts = [0, *accumulate(sum(int(part.held[0]) for part in parts.values()) for parts in found)]
    lims = np.full(len(queries) + 1, starts[-1], np.int64)
    distances, rows = np.empty(starts[-1], np.uint16), np.empty(starts[-1], np.int64)
    run(
        [
            partial(_order, found[group], starts[group], radii[i:j], lims[i:j], distances, rows)
            for group, (i, j) in enumerate(pairwise(groups))
        ],
        threads,
    )
    return lims, distances, rows


def _scan_part(
    words: Words,
    start: int,
    stop: int,
    queries: Words,
    radii: Radii,
    allowed: Mask | None,
    found: dict[int, Within],
) -> None:
    """Find those of the rows start..stop-1 that are within the distances of a group of queries."""
    from llmhash.index import hamming  # Loads numba.
    from llmhash.index.blocks import LANES

    padded, octets = side_by_side(queries, LANES)
    limits = np.zeros(len(padded), np.int64)
    limits[: len(queries)] = radii + 1
    found[start] = hamming.collect(words, start, stop, padded, octets, limits, frozen_mask(allowed))


def _order(
    parts: dict[int, Within],
    start: int,
    radii: Radii,
    lims: NDArray[np.int64],
    distances: NDArray[np.uint16],
    rows: Rows,
) -> None:
    """Write what a group of queries found, by (query, distance, row), from place `start` on; forget `parts`.

    Where each query's own begins is written to `lims`.
    """
    from llmhash.index import hamming  # Loads numba.

    counts = np.zeros((len(radii), int(radii.max()) + 1), np.int64)
    for part in parts.values():
        hamming.count_by_distance(part, counts)
    places = (start + np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    lims[:] = places[:, 0]
    for first in sorted(parts):
        hamming.place(parts.pop(first), places, distances, rows)
