"""The bare popcount loop: what a scan cannot do without.

It reads every code for every query, counts the bits that differ and compares the count with a constant.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from llmhash.index.threads import run
from llmhash.index.vectors import popcount

Words = NDArray[np.uint64]


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def count_near(codes: Words, queries: Words, limit: int, out: NDArray[np.int64]) -> None:
    """Count the codes of one 64-bit word, (n,), that are nearer than a limit to each query."""
    for query in range(queries.size):
        near = 0
        for row in range(codes.size):
            near += popcount(codes[row] ^ queries[query]) < limit
        out[query] = near


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def count_near_wide(codes: Words, queries: Words, limit: int, out: NDArray[np.int64]) -> None:
    """The same for codes of several words, (n, w)."""
    for query in range(queries.shape[0]):
        near = 0
        for row in range(codes.shape[0]):
            distance = 0
            for word in range(codes.shape[1]):
                distance += popcount(codes[row, word] ^ queries[query, word])
            near += distance < limit
        out[query] = near


def bare_loop(codes: Words, queries: Words, bits: int, threads: int) -> NDArray[np.int64]:
    """Count the codes (n, w) near each query (q, w), the queries shared out among threads: int64 (q,)."""
    out = np.zeros(len(queries), np.int64)
    count = count_near if codes.shape[1] == 1 else count_near_wide
    shape = (-1,) if codes.shape[1] == 1 else (-1, codes.shape[1])
    bounds = [len(queries) * part // threads for part in range(threads + 1)]
    run(
        [
            partial(count, codes.reshape(shape), queries[i:j].reshape(shape), bits // 4, out[i:j])
            for i, j in pairwise(bounds)
        ],
        threads,
    )
    return out


def uses_avx512() -> bool:
    """Whether the loops that have run are made of AVX-512 instructions."""
    return any(
        "zmm" in code
        for compiled in (count_near, count_near_wide)
        for code in compiled.inspect_asm().values()
    )
