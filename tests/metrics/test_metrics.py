"""Every metric against brute-force enumeration of tie-breaking, and against cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmhash.metrics import average_precision, mrr, ndcg, precision, recall


def strict_ndcg(k):
    def dcg(grades):
        return sum(grade / math.log2(place + 2) for place, grade in enumerate(grades[:k]))

    return lambda ranked, positive: dcg(ranked) / dcg(sorted(positive, reverse=True))


def strict_mrr(k):
    def value(ranked, positive):
        first = next((place for place, grade in enumerate(ranked, start=1) if grade > 0), None)
        return 0.0 if first is None or (k is not None and first > k) else 1 / first

    return value


def strict_recall(k):
    return lambda ranked, positive: sum(grade > 0 for grade in ranked[:k]) / len(positive)


def strict_precision(k):
    return lambda ranked, positive: sum(grade > 0 for grade in ranked[:k]) / k


def strict_average_precision(ranked, positive):
    found, total = 0, 0.0
    for place, grade in enumerate(ranked, start=1):
        if grade > 0:
            found += 1
            total += found / place
    return total / len(positive)


CASES = [
    *[(f"ndcg@{k}", lambda ranks, k=k: ndcg(ranks, k), strict_ndcg(k)) for k in (1, 2, 3, 10)],
    *[(f"mrr@{k}", lambda ranks, k=k: mrr(ranks, k), strict_mrr(k)) for k in (1, 2, 3, 10, None)],
    *[(f"recall@{k}", lambda ranks, k=k: recall(ranks, k), strict_recall(k)) for k in (1, 3, 10)],
    *[(f"precision@{k}", lambda ranks, k=k: precision(ranks, k), strict_precision(k)) for k in (1, 3, 10)],
    ("map", average_precision, strict_average_precision),
]


@pytest.mark.parametrize(("metric", "strict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_mean_over_all_ways_to_break_ties(
    metric, strict, seed, random_case, ranks_of, enumerate_ties
):
    scores, grades = random_case(seed)
    expected = [enumerate_ties(strict, row, graded) for row, graded in zip(scores, grades, strict=True)]
    np.testing.assert_allclose(metric(ranks_of(scores, grades)), expected, rtol=0, atol=1e-12)


def test_by_hand_without_ties(ranks_of):
    ranks = ranks_of(np.array([[0.9, 0.8, 0.7, 0.6]]), [{1: 2.0, 3: 1.0}])
    ideal = 2 + 1 / math.log2(3)
    assert ndcg(ranks, 10) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert mrr(ranks, 10) == pytest.approx(1 / 2)
    assert recall(ranks, 3) == pytest.approx(1 / 2)
    assert precision(ranks, 4) == pytest.approx(1 / 2)
    assert average_precision(ranks) == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_constant_scores_are_worth_what_chance_is_worth(ranks_of):
    ranks = ranks_of(np.zeros((1, 20)), [{3: 1.0}])
    assert recall(ranks, 5) == pytest.approx(5 / 20)
    assert precision(ranks, 5) == pytest.approx(1 / 20)
    assert mrr(ranks, 10) == pytest.approx(sum(1 / j for j in range(1, 11)) / 20)
    assert mrr(ranks, None) == pytest.approx(sum(1 / j for j in range(1, 21)) / 20)


def test_a_large_tied_group_stays_exact_in_floating_point(ranks_of):
    # 200,000 documents tie, 40 of them relevant: the recursion must neither drift nor overflow.
    ranks = ranks_of(np.zeros((1, 200_000), dtype=np.float32), [dict.fromkeys(range(40), 1.0)])
    t, r = 200_000, 40
    chances = [math.exp(_log_choose(t - j, r - 1) - _log_choose(t, r)) for j in range(1, 101)]
    assert mrr(ranks, 100) == pytest.approx(sum(p / j for j, p in enumerate(chances, start=1)), rel=1e-6)
    h = math.fsum(1 / j for j in range(1, t + 1))
    assert average_precision(ranks) == pytest.approx((h + (r - 1) / (t - 1) * (t - h)) / t, rel=1e-9)


def _log_choose(n, k):
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@pytest.mark.parametrize(
    "metric", [ndcg, mrr, lambda r: recall(r, 10), lambda r: precision(r, 10), average_precision]
)
def test_a_query_without_a_relevant_document_is_undefined(metric, ranks_of):
    values = metric(ranks_of(np.array([[1.0, 0.0], [1.0, 0.0]]), [{0: 0.0}, {0: 1.0}]))
    assert np.isnan(values[0])
    assert values[1] > 0


@pytest.mark.parametrize(
    "metric", [ndcg, mrr, lambda r: recall(r, 10), lambda r: precision(r, 10), average_precision]
)
def test_nothing_retrieved_is_worth_nothing(metric, ranks_of):
    assert metric(ranks_of(np.full((1, 3), -np.inf), [{0: 1.0, 2: 3.0}])).tolist() == [0.0]
