"""Data-driven multi-index hashing: which bits to put into one substring, so that buckets are even."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.mih_tables import Integers, Words, bit_places, substring_widths

# Rows that the moments are estimated from.
_SAMPLE = 1 << 14
# A swap must save this much; less is rounding.
_LEAST_GAIN = 1e-6


def regrouped(words: Words, bits: int, tables: int) -> Integers:
    """An order of the bits in which those of each substring depend on each other as little as can be.

    After Wan et al.: Data-Driven Multi-Index Hashing (ICIP 2013), which spreads correlated bits over
    different substrings. What is minimized here is the sum of the squared moments E[x y]^2 over pairs of bits
    x, y (+-1) of the same substring. By Parseval's identity for Walsh functions these are the second-order
    terms of the expected size of a random code's bucket; those of first order do not depend on the grouping.
    Bits that hardly vary are spread out likewise. Pairs of bits are swapped, the best first, while that
    lowers the sum.

    Args:
        words: uint64 (n, w), the codes.
        bits: Bits in a code.
        tables: Substrings, cut by `substring_widths`.

    Returns:
        int64 (bits,), a permutation of the bits.
    """
    group = np.repeat(np.arange(tables), substring_widths(bits, tables))
    moments = _squared_moments(words, bits)
    for _ in range(bits * bits):
        first, second, gain = _best_swap(moments, group, tables)
        if gain < _LEAST_GAIN:
            break
        group[[first, second]] = group[[second, first]]
    return np.argsort(group, kind="stable")


def _squared_moments(words: Words, bits: int) -> NDArray[np.float64]:
    """E[x y]^2 of each pair of bits as +-1, from rows evenly spread: (bits, bits), the diagonal 0."""
    size = min(len(words), _SAMPLE)
    sample = words[np.arange(size) * len(words) // max(size, 1)]
    place = bit_places(bits)
    ones = (sample[:, place // 64] >> (place % 64).astype(np.uint64)) & np.uint64(1)
    signs = 2 * ones.astype(np.float32) - 1
    moments: NDArray[np.float64] = np.square((signs.T @ signs).astype(np.float64) / max(size, 1))
    np.fill_diagonal(moments, 0)
    return moments


def _best_swap(moments: NDArray[np.float64], group: Integers, tables: int) -> tuple[int, int, float]:
    """The bits of different groups whose swap lowers the sum of moments within groups most, and by what."""
    to_group = moments @ np.eye(tables)[group]
    exchanged = to_group[:, group] - moments  # What a bit adds to another's group once that other has left.
    own = to_group[np.arange(len(group)), group]
    gain = own[:, None] + own - exchanged - exchanged.T
    gain[group[:, None] == group] = 0
    first, second = np.unravel_index(gain.argmax(), gain.shape)
    return int(first), int(second), float(gain[first, second])
