"""The compiled corrections of documents' scores: of what their bytes stand for, norms and local maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.jit import inlined, kernel
from llmhash.index.sharing import Rows
from llmhash.index.tables import Bytes, Floats

# Products are summed in so many lanes, one after the other in each: the order, and so the result, is fixed.
_LANES = 16

#: The vectors float32 (m, 256, d), offsets float32 (m, 256), groups uint8 (256,), and the maps' two factors,
#: float32 (g, d, r) and (g, r, d): groups and maps are empty where there are none.
Corrections = tuple[Floats, Floats, Bytes, Floats, Floats]


@inlined
def _dot(left: Floats, right: Floats, lanes: Floats) -> np.float32:
    """The product of two vectors of whole lanes."""
    lanes[:] = np.float32(0)
    for start in range(0, left.size, _LANES):
        for lane in range(_LANES):
            lanes[lane] += left[start + lane] * right[start + lane]
    total = np.float32(0)
    for lane in range(_LANES):
        total += lanes[lane]
    return total


@inlined
def _constant(
    packed: Bytes,
    row: int,
    corrections: Corrections,
    total: Floats,
    bent: Floats,
    inner: Floats,
    lanes: Floats,
) -> np.float32:
    """`-(||v||^2 / 2 + sum_j o_j)`, and in `bent` what the document's map adds to the sum of its vectors.

    The others are to work in: `total` and `bent` of whole lanes, at least as long as a vector, `inner` (r,).
    """
    vectors, offsets, groups, down, up = corrections
    dim = vectors.shape[2]
    constant = offsets[0, packed[row, 0]]
    total[:] = np.float32(0)
    for byte in range(1, packed.shape[1]):
        value = packed[row, byte]
        constant += offsets[byte, value]
        for i in range(dim):
            total[i] += vectors[byte, value, i]
    bent[:] = np.float32(0)
    if groups.size:
        group = groups[packed[row, 0]]
        inner[:] = np.float32(0)
        for i in range(dim):
            for place in range(inner.size):
                inner[place] += total[i] * down[group, i, place]
        for place in range(inner.size):
            for i in range(dim):
                bent[i] += inner[place] * up[group, place, i]
    for i in range(dim):
        total[i] += vectors[0, packed[row, 0], i] + bent[i]
    square = _dot(total, total, lanes)
    return np.float32(-(square / np.float32(2) + constant))


@kernel
def correct_all(
    packed: Bytes, start: int, stop: int, corrections: Corrections, points: Floats, scores: Floats
) -> None:
    """Add the corrections of the documents start..stop-1 to their scores (q, n).

    Args:
        packed: uint8 (n, m).
        start: The first document.
        stop: The one after the last.
        corrections: What they are made of.
        points: float32 (q, whole lanes), the queries where maps bend vectors, and then zeros.
        scores: float32 (q, n).
    """
    total = np.zeros(-(-corrections[0].shape[2] // _LANES) * _LANES, np.float32)
    bent, lanes = np.zeros(total.size, np.float32), np.zeros(_LANES, np.float32)
    inner = np.zeros(corrections[3].shape[2], np.float32)
    for row in range(start, stop):
        constant = _constant(packed, row, corrections, total, bent, inner, lanes)
        for query in range(scores.shape[0]):
            if points.size:
                scores[query, row] += _dot(points[query], bent, lanes) + constant
            else:
                scores[query, row] += constant


@kernel
def correct_rows(packed: Bytes, rows: Rows, corrections: Corrections, points: Floats, scores: Floats) -> None:
    """Add the corrections of each query's candidates, rows (q, c), to their scores (q, c); -1 has none."""
    total = np.zeros(-(-corrections[0].shape[2] // _LANES) * _LANES, np.float32)
    bent, lanes = np.zeros(total.size, np.float32), np.zeros(_LANES, np.float32)
    inner = np.zeros(corrections[3].shape[2], np.float32)
    groups = corrections[2]
    order = np.arange(rows.shape[1])
    for query in range(rows.shape[0]):
        if groups.size:  # One map after the other, while it is in the cache.
            own = np.zeros(rows.shape[1], np.uint8)
            for place in range(rows.shape[1]):
                if rows[query, place] >= 0:
                    own[place] = groups[packed[rows[query, place], 0]]
            order = np.argsort(own)
        for turn in range(order.size):
            place = order[turn]
            row = rows[query, place]
            if row < 0:
                continue
            constant = _constant(packed, row, corrections, total, bent, inner, lanes)
            if points.size:
                constant += _dot(points[query], bent, lanes)
            scores[query, place] += constant


def in_lanes(points: NDArray[np.float32]) -> Floats:
    """Queries float32 (q, d) with zeros after them up to whole lanes."""
    return np.pad(points, ((0, 0), (0, -points.shape[1] % _LANES)))
