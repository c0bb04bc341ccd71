"""Code health: whether codes use their bits and spread over their buckets (survey section 4.2, figure 8).

Balanced and uncorrelated bits (eq. 34) are what objectives ask for. What a user feels is the other half: how
many documents share a bucket, for that is how many a look-up must read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError

# Codes that are unpacked at a time: products of so many zeros and ones are exact in float32.
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class CodeHealth:
    """How n codes of b bits use their space.

    Attributes:
        codes: n.
        bits: b.
        imbalance: Mean over the bits of |share of ones - 0.5|; 0 is balanced, 0.5 all constant.
        worst_bit: The bit that is farthest from balance.
        worst_share: Its share of ones.
        constant_bits: Bits that are the same in all codes.
        correlation: Mean absolute correlation of all pairs of bits that vary; None for fewer than two.
        bit_entropy: Mean entropy of a bit, 0 to 1 bits.
        code_entropy: Entropy of the codes as a whole, in bits: at most b, and at most log2(n).
        distinct: Distinct codes, which is to say buckets in use.
        alone: Share of documents that have their bucket to themselves.
        largest_bucket: Documents in the fullest bucket.
        expected_bucket: Documents in the bucket of a document drawn at random, itself included.
        bucket_deviation: Standard deviation of the number of documents over the buckets in use. Figure 8
            takes it over all 2^b buckets, nearly all of which are empty at 32 bits and more.
        bucket_gini: Gini coefficient of that number: 0 where all buckets hold as many.
    """

    codes: int
    bits: int
    imbalance: float
    worst_bit: int
    worst_share: float
    constant_bits: int
    correlation: float | None
    bit_entropy: float
    code_entropy: float
    distinct: int
    alone: float
    largest_bucket: int
    expected_bucket: float
    bucket_deviation: float
    bucket_gini: float


def code_health(codes: Codes) -> CodeHealth:
    """Measure the health of codes.

    Raises:
        InputError: There are no codes.
    """
    count = len(codes)
    if not count:
        raise InputError("there are no codes, so their health cannot be told.")
    together = _ones_together(codes)
    share = np.diagonal(together) / count
    sizes = _bucket_sizes(codes)
    worst = int(np.argmax(np.abs(share - 0.5)))
    return CodeHealth(
        codes=count,
        bits=codes.bits,
        imbalance=float(np.abs(share - 0.5).mean()),
        worst_bit=worst,
        worst_share=float(share[worst]),
        constant_bits=int(np.count_nonzero((share == 0) | (share == 1))),
        correlation=_mean_correlation(together / count, share),
        bit_entropy=float((_surprise(share) + _surprise(1 - share)).mean()),
        code_entropy=float(_surprise(sizes / count).sum()),
        distinct=len(sizes),
        alone=float(np.count_nonzero(sizes == 1) / count),
        largest_bucket=int(sizes.max()),
        expected_bucket=float(np.square(sizes, dtype=np.float64).sum() / count),
        bucket_deviation=float(sizes.std()),
        bucket_gini=_gini(sizes),
    )


def _ones_together(codes: Codes) -> NDArray[np.float64]:
    """In how many codes each pair of bits is set, float64 (b, b); the diagonal counts single bits."""
    total = np.zeros((codes.bits, codes.bits))
    for start in range(0, len(codes), _BLOCK_ROWS):
        ones = codes[start : start + _BLOCK_ROWS].unpack().astype(np.float32)
        total += ones.T @ ones
    return total


def _mean_correlation(joint: NDArray[np.float64], share: NDArray[np.float64]) -> float | None:
    varying = np.flatnonzero((share > 0) & (share < 1))
    if len(varying) < 2:
        return None
    p = share[varying]
    deviation = np.sqrt(p * (1 - p))
    correlation = (joint[np.ix_(varying, varying)] - np.outer(p, p)) / np.outer(deviation, deviation)
    return float(np.abs(correlation[np.triu_indices(len(p), 1)]).mean())


def _bucket_sizes(codes: Codes) -> NDArray[np.int64]:
    """How many documents have each distinct code, int64 (distinct,)."""
    if codes.bits <= 64:
        keys = codes.to_int64()
    else:
        packed = np.ascontiguousarray(codes.packed)
        keys = packed.view(f"V{packed.shape[1]}")[:, 0]
    sizes: NDArray[np.int64] = np.unique(keys, return_counts=True)[1].astype(np.int64)
    return sizes


def _surprise(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """-p log2(p), and 0 at p = 0."""
    return -p * np.log2(np.where(p > 0, p, 1.0))


def _gini(sizes: NDArray[np.int64]) -> float:
    ascending = np.sort(sizes)
    count = len(ascending)
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float((weights * ascending).sum() / (count * ascending.sum()))
