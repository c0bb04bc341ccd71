"""Code health by hand, and against the definitions written out."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.evaluation import health
from llmhash.evaluation.health import code_health


def test_the_best_codes_there_are():
    every = Codes.pack(np.array([[i >> 1 & 1, i & 1] for i in range(4)]))
    found = code_health(every)
    assert (found.codes, found.bits, found.distinct, found.constant_bits) == (4, 2, 4, 0)
    assert found.imbalance == found.correlation == found.bucket_gini == found.bucket_deviation == 0
    assert (found.bit_entropy, found.code_entropy, found.alone) == (1.0, 2.0, 1.0)
    assert (found.largest_bucket, found.expected_bucket) == (1, 1.0)


def test_the_worst():
    found = code_health(Codes.pack(np.ones((5, 3))))
    assert (found.imbalance, found.worst_share, found.constant_bits) == (0.5, 1.0, 3)
    assert found.correlation is None
    assert (found.bit_entropy, found.code_entropy, found.alone) == (0.0, 0.0, 0.0)
    assert (found.distinct, found.largest_bucket, found.expected_bucket) == (1, 5, 5.0)


def test_by_hand():
    # Buckets of 1, 1 and 4 documents; the second bit is the first one's opposite but once.
    bits = np.array([[1, 0]] * 4 + [[0, 1], [0, 0]])
    found = code_health(Codes.pack(bits))
    assert found.imbalance == pytest.approx(((4 / 6 - 0.5) + (0.5 - 1 / 6)) / 2)
    assert (found.worst_bit, found.worst_share) == (1, pytest.approx(1 / 6))
    assert found.correlation == pytest.approx(abs(np.corrcoef(bits.T)[0, 1]))
    assert found.alone == pytest.approx(2 / 6)
    assert found.expected_bucket == pytest.approx((1 + 1 + 16) / 6)
    assert found.bucket_deviation == pytest.approx(np.std([1, 1, 4]))
    # Mean absolute difference of all pairs, over twice the mean.
    assert found.bucket_gini == pytest.approx((4 * 3 / 9) / (2 * 2))


@pytest.mark.parametrize("bits", [7, 64, 72])
def test_against_the_definitions(bits, monkeypatch):
    monkeypatch.setattr(health, "_BLOCK_ROWS", 16)
    rng = np.random.default_rng(bits)
    drawn = rng.random((60, bits)) < rng.uniform(0.1, 0.9, bits)
    drawn = drawn[rng.integers(0, 40, 100)]
    drawn[:, 2] = True
    found = code_health(Codes.pack(drawn))
    share = drawn.mean(axis=0)
    assert found.imbalance == pytest.approx(np.abs(share - 0.5).mean())
    assert (found.worst_bit, found.constant_bits) == (2, 1)
    varying = np.delete(drawn, 2, axis=1)
    pairs = [
        abs(np.corrcoef(varying[:, i], varying[:, j])[0, 1]) for i, j in combinations(range(bits - 1), 2)
    ]
    assert found.correlation == pytest.approx(np.mean(pairs))
    entropies = [-sum(p * np.log2(p) for p in (s, 1 - s) if p > 0) for s in share]
    assert found.bit_entropy == pytest.approx(np.mean(entropies))
    sizes = np.array(list(Counter(map(bytes, np.packbits(drawn, axis=1))).values()))
    assert (found.distinct, found.largest_bucket) == (len(sizes), sizes.max())
    assert found.alone == pytest.approx((sizes == 1).sum() / 100)
    assert found.code_entropy == pytest.approx(-(sizes / 100 * np.log2(sizes / 100)).sum())
    gini = np.abs(sizes[:, None] - sizes[None]).mean() / (2 * sizes.mean())
    assert found.bucket_gini == pytest.approx(gini)


def test_no_codes_have_no_health():
    with pytest.raises(InputError, match="there are no codes"):
        code_health(Codes(np.empty((0, 1), np.uint8), 8))
