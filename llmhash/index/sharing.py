"""How a scan is shared among threads: by groups of queries, and by ranges of rows where those are too few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

_OCTET = 8
_QUERIES_PER_GROUP = 64
# Copying an allowed code out of its row costs about as much as comparing this many words where they are.
_COPY_COST = 25
# A sample is one row in 64, and as each costs a trip to memory, 64 a query, one a neighbour, and 2,048 at
# most; fewer than 256 tell too little.
_SAMPLE_SHARE, _SAMPLE_A_QUERY, _SAMPLE_MOST, _SAMPLE_LEAST = 64, 64, 2048, 256


def query_bounds(count: int, most: int, threads: int) -> list[int]:
    """Where groups of queries begin and end: at most `most` and 64 each, whole octets, a few a thread."""
    most = max(1, min(most, _QUERIES_PER_GROUP))
    unit = _OCTET if most >= _OCTET else 1
    units, wanted = -(-count // unit), -(-count // (most // unit * unit))
    if threads > 1:
        wanted = max(2 * threads, -(-wanted // threads) * threads)
    groups = min(units, wanted)
    return [min(count, units * group // max(groups, 1) * unit) for group in range(groups + 1)]


def row_bounds(count: int, groups: int, threads: int) -> list[int]:
    """Where ranges of rows begin and end: one range, or more where groups of queries leave threads idle."""
    ranges = max(1, min(threads // max(groups, 1), count))
    return [count * part // ranges for part in range(ranges + 1)]


def sample_rows(count: int, allowed: Mask | None, queries: int, k: int = 0) -> Rows:
    """Some allowed rows, evenly spread and in order; none where a sample would tell or save too little."""
    most = min(_SAMPLE_MOST, _SAMPLE_A_QUERY * queries + k)
    if most < _SAMPLE_LEAST:
        return np.empty(0, np.int64)
    rows = None if allowed is None else np.flatnonzero(allowed)
    eligible = count if rows is None else len(rows)
    size = min(most, eligible // _SAMPLE_SHARE)
    places = np.arange(size if size >= _SAMPLE_LEAST else 0) * eligible // max(size, 1)
    return places if rows is None else rows[places]


def worth_copying(count: int, eligible: int, words: int) -> bool:
    """Whether to copy the eligible rows out and scan the copy, `words` words being compared a row."""
    return (count - eligible) * words > _COPY_COST * eligible
