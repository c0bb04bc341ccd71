from __future__ import annotations

import numpy as np
import pytest

from llmhash.metrics import Judgements


@pytest.fixture
def judgements() -> Judgements:
    qrels = {"a": {"d1": 2, "d0": 0, "gone": 1}, "b": {"d0": 0}, "c": {"d2": 1, "d0": 3}}
    return Judgements.from_qrels(qrels, ["a", "b", "c", "unknown"], ["d0", "d1", "d2"])


def test_grade_zero_is_dropped_and_a_missing_document_kept(judgements):
    assert judgements.counts.tolist() == [2, 0, 2, 0]
    assert judgements.rows.tolist() == [1, -1, 2, 0]
    assert judgements.gains.tolist() == [2.0, 1.0, 1.0, 3.0]
    assert judgements.query.tolist() == [0, 0, 2, 2]


def test_a_range_of_queries(judgements):
    part = judgements[1:3]
    assert len(part) == 2
    assert part.counts.tolist() == [0, 2]
    assert part.rows.tolist() == [2, 0]
    assert len(judgements[4:9]) == 0
    with pytest.raises(IndexError):
        judgements[::2]


def test_named_queries_in_their_order(judgements):
    taken = judgements.take(np.array([2, 0]))
    assert taken.counts.tolist() == [2, 2]
    assert taken.rows.tolist() == [2, 0, 1, -1]
    assert taken.gains.tolist() == [1.0, 3.0, 2.0, 1.0]


def test_rows_become_columns_of_the_candidates(judgements):
    candidates = np.array([[0, 1, -1], [0, 1, 2], [0, 2, 1], [2, 1, 0]])
    # The absent document (row -1) must not match the filler -1.
    assert judgements.locate(candidates).rows.tolist() == [1, -1, 1, 0]
