"""Rankings with ties, and what a metric is worth when every way of breaking them is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product

import numpy as np
import pytest

from llmhash.metrics import Judgements, Ranks

#: A metric of one strict ranking: the grades in ranked order, and the grades of all relevant documents.
StrictMetric = Callable[[list[float], list[float]], float]


def strict_rankings(scores: np.ndarray) -> Iterator[list[int]]:
    """Every order of the retrieved documents that respects the scores."""
    groups = [np.flatnonzero(scores == s).tolist() for s in np.unique(scores)[::-1] if s > -np.inf]
    for chosen in product(*(permutations(group) for group in groups)):
        yield [document for group in chosen for document in group]


@pytest.fixture
def enumerate_ties() -> Callable[..., float]:
    """Mean of a strict metric over all orders of one query's tied documents."""

    def expectation(metric: StrictMetric, scores: np.ndarray, grades: dict[int, float]) -> float:
        positive = [grade for grade in grades.values() if grade > 0]
        values = [
            metric([max(grades.get(document, 0.0), 0.0) for document in order], positive)
            for order in strict_rankings(scores)
        ]
        return float(np.mean(values))

    return expectation


@pytest.fixture
def random_case() -> Callable[[int], tuple[np.ndarray, list[dict[int, float]]]]:
    """Scores (q, n) full of ties, some documents not retrieved, and graded judgements."""

    def make(seed: int) -> tuple[np.ndarray, list[dict[int, float]]]:
        rng = np.random.default_rng(seed)
        queries, documents = 4, int(rng.integers(1, 8))
        scores = rng.integers(0, rng.integers(1, 5), size=(queries, documents)).astype(np.float32)
        scores[rng.random(scores.shape) < 0.15] = -np.inf
        grades = []
        for _ in range(queries):
            judged = rng.choice(documents + 1, size=rng.integers(1, documents + 2), replace=False)
            # Row `documents` stands for a relevant document that the corpus lacks.
            graded = {int(row): float(rng.integers(-1, 4)) for row in judged}
            graded[int(judged[0])] = 2.0
            grades.append(graded)
        return scores, grades

    return make


@pytest.fixture
def judge() -> Callable[[list[dict[int, float]], int], Judgements]:
    """Judgements from one mapping of row to grade a query; rows past the corpus are unknown documents."""

    def make(grades: list[dict[int, float]], documents: int) -> Judgements:
        qrels = {
            f"q{i}": {f"d{row}": grade for row, grade in graded.items()} for i, graded in enumerate(grades)
        }
        return Judgements.from_qrels(qrels, list(qrels), [f"d{row}" for row in range(documents)])

    return make


@pytest.fixture
def ranks_of(judge) -> Callable[[np.ndarray, list[dict[int, float]]], Ranks]:
    def make(scores: np.ndarray, grades: list[dict[int, float]]) -> Ranks:
        return Ranks.from_scores(scores, judge(grades, scores.shape[1]))

    return make
