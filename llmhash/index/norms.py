"""The compiled norms of what documents' bytes stand for."""

from __future__ import annotations

import numpy as np

from llmhash.index.jit import inlined, kernel
from llmhash.index.sharing import Rows
from llmhash.index.tables import Bytes, Floats

# Squares are summed in so many lanes, one after the other in each: the order, and so the result, is fixed.
_LANES = 16


@inlined
def _correction(packed: Bytes, row: int, vectors: Floats, offsets: Floats, total: Floats) -> np.float32:
    """`-(||v||^2 / 2 + sum_j o_j)`; `total` is to work in: whole lanes, at least as long as a vector."""
    dim = vectors.shape[2]
    constant = np.float32(0)
    total[:] = np.float32(0)
    for byte in range(packed.shape[1]):
        value = packed[row, byte]
        constant += offsets[byte, value]
        for i in range(dim):
            total[i] += vectors[byte, value, i]
    lanes = np.zeros(_LANES, np.float32)
    for start in range(0, total.size, _LANES):
        for lane in range(_LANES):
            lanes[lane] += total[start + lane] * total[start + lane]
    square = np.float32(0)
    for lane in range(_LANES):
        square += lanes[lane]
    return -(square / np.float32(2) + constant)


@kernel
def correct_all(packed: Bytes, start: int, stop: int, vectors: Floats, offsets: Floats, out: Floats) -> None:
    """Write the corrections of the documents start..stop-1: out (n,)."""
    total = np.zeros(-(-vectors.shape[2] // _LANES) * _LANES, np.float32)
    for row in range(start, stop):
        out[row] = _correction(packed, row, vectors, offsets, total)


@kernel
def correct_rows(packed: Bytes, rows: Rows, vectors: Floats, offsets: Floats, scores: Floats) -> None:
    """Add the corrections of each query's candidates, rows (q, c), to their scores (q, c); -1 has none."""
    total = np.zeros(-(-vectors.shape[2] // _LANES) * _LANES, np.float32)
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            if row >= 0:
                scores[query, place] += _correction(packed, row, vectors, offsets, total)
