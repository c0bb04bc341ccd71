from __future__ import annotations

import numpy as np
import pytest

from llmhash.metrics import Judgements, Ranks, id_order, mrr, ndcg, recall


def test_counts_of_documents_above_and_tied(ranks_of):
    ranks = ranks_of(np.array([[3.0, 1.0, 1.0, 2.0, 1.0, -np.inf]]), [{1: 1.0, 3: 1.0, 5: 1.0, 9: 1.0}])
    assert ranks.above.tolist() == [2, 1, 0, 0]
    assert ranks.tied.tolist() == [3, 1, 0, 0]
    assert ranks.relevant.tolist() == [4]


def test_nan_is_not_retrieved(ranks_of):
    ranks = ranks_of(np.array([[np.nan, 1.0, np.nan]]), [{0: 1.0, 1: 1.0}])
    assert ranks.above.tolist() == [0, 0]
    assert ranks.tied.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_distances_give_the_ranks_of_their_negatives(seed, judge):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 17, size=(6, 50)).astype(np.uint16)
    grades = [{int(row): 1.0 for row in rng.choice(55, size=4, replace=False)} for _ in range(6)]
    judgements = judge(grades, 50)
    from_distances = Ranks.from_distances(distances, judgements, 16)
    from_scores = Ranks.from_scores(-distances.astype(np.float32), judgements)
    np.testing.assert_array_equal(from_distances.above, from_scores.above)
    np.testing.assert_array_equal(from_distances.tied, from_scores.tied)


def test_the_largest_distance_has_a_bin():
    judgements = Judgements.from_rows(np.array([[1], [0]]))
    ranks = Ranks.from_distances(np.array([[0, 4096], [4096, 4096]], dtype=np.uint16), judgements, 4096)
    assert ranks.above.tolist() == [1, 0]
    assert ranks.tied.tolist() == [1, 2]


def test_blocks_of_queries_add_up(random_case, judge):
    scores, grades = random_case(3)
    judgements = judge(grades, scores.shape[1])
    whole = Ranks.from_scores(scores, judgements)
    parts = Ranks.concatenate(
        [
            Ranks.from_scores(scores[part], judgements[part])
            for part in (slice(0, 1), slice(1, 3), slice(3, 4))
        ]
    )
    for name in ("offsets", "gains", "above", "tied"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_concatenating_nothing_is_empty():
    assert len(Ranks.concatenate([])) == 0
    assert ndcg(Ranks.concatenate([])).shape == (0,)
    assert mrr(Ranks.concatenate([])).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_candidates_equal_full_scores_with_the_rest_not_retrieved(seed, judge):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, size=(5, 30)).astype(np.float32)
    candidates = np.stack([rng.choice(30, size=12, replace=False) for _ in range(5)])
    candidates[2, 7:] = -1
    masked = np.full_like(scores, -np.inf)
    chosen = np.full(candidates.shape, -np.inf, dtype=np.float32)
    for i, rows in enumerate(candidates):
        masked[i, rows[rows >= 0]] = scores[i, rows[rows >= 0]]
        chosen[i] = np.where(rows >= 0, scores[i, rows], -np.inf)
    judgements = judge(
        [{int(row): 1.0 for row in rng.choice(32, size=6, replace=False)} for _ in range(5)], 30
    )
    full = Ranks.from_scores(masked, judgements)
    short = Ranks.from_scores(chosen, judgements.locate(candidates))
    np.testing.assert_array_equal(short.above, full.above)
    np.testing.assert_array_equal(short.tied, full.tied)


def test_order_breaks_ties_lowest_first(judge):
    judgements = judge([{0: 1.0, 1: 1.0, 2: 1.0}], 3)
    ranks = Ranks.from_scores(np.array([[1.0, 2.0, 1.0]]), judgements, order=np.array([2, 1, 0]))
    assert ranks.above.tolist() == [2, 0, 1]
    assert ranks.tied.tolist() == [1, 1, 1]


def test_overlap_is_recall_of_the_teachers_first_documents():
    teacher = Judgements.from_rows(np.array([[0, 1], [2, -1]]))
    # The first query's second document ties with a stranger at the border.
    ranks = Ranks.from_scores(np.array([[3.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), teacher)
    np.testing.assert_allclose(recall(ranks, 2), [(1 + 1 / 2) / 2, 1.0])


def test_id_order_is_descending_by_string():
    assert id_order(["10", "9", "é", "a"]).tolist() == [3, 2, 0, 1]
