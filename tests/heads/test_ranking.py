import math

import numpy as np
import pytest
import torch

from llmhash.heads.base import TrainingFeatures
from llmhash.heads.ranking import QuerySet, Ranking, RankingSettings, mix_in_source

ALL = {
    "temperature": 0.1,
    "source_share": 0.0,
    "document_share": 0.25,
    "candidates": 2000,
    "neighbours": 5,
    "max_documents": 10_000,
    "max_queries": 10_000,
    "held_out": 100,
}


def ranking(features, **changes):
    return Ranking(features, RankingSettings(**{**ALL, **changes}), seed=0, device="cpu")


def generator():
    return torch.Generator().manual_seed(0)


def test_targets_are_the_teacher_s_softmax_over_all_documents(clustered):
    features, _ = clustered
    made = ranking(features)
    items = torch.arange(20)
    batch = made.batch(made.training, items, generator())
    similarities = made.training.vectors[:20].numpy() @ features.documents.T
    similarities[batch.left_out.numpy()] = -np.inf
    expected = np.exp(similarities / 0.1)
    np.testing.assert_allclose(
        batch.targets.numpy(), expected / expected.sum(axis=1, keepdims=True), atol=1e-5
    )
    assert batch.offsets.abs().sum() == 0


def test_a_document_as_query_is_not_its_own_candidate(clustered):
    made = ranking(TrainingFeatures(clustered[0].documents))
    batch = made.batch(made.training, torch.arange(50), generator())
    own = made.training.own[:50]
    assert (batch.left_out.sum(dim=1) == 1).all()
    assert batch.targets[torch.arange(50), own].max() == 0
    scores = batch.mask(torch.zeros(50, 1200))
    assert (scores[torch.arange(50), own] < -1000).all()


def test_queries_and_documents_are_drawn_at_their_shares_and_none_is_in_both_sets(clustered):
    made = ranking(clustered[0])
    is_document = made.training.own >= 0
    share = made.training.weights[is_document].sum() / made.training.weights.sum()
    assert share == pytest.approx(0.25, abs=0.02)
    assert len(made.held_out) == 100
    assert len(made.training) + len(made.held_out) == 3200
    together = torch.cat([made.training.vectors, made.held_out.vectors])
    assert len(torch.unique(together, dim=0)) == 3200


def test_the_source_gets_its_share_of_the_target():
    targets = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    is_source = torch.tensor([[False, True, False], [False, False, False]])
    mixed = mix_in_source(targets, is_source, 0.4)
    np.testing.assert_allclose(mixed.numpy(), [[0.3, 0.55, 0.15], [0.5, 0.25, 0.25]], atol=1e-6)


def test_sources_are_found_among_sampled_documents(clustered):
    features, _ = clustered
    made = ranking(features, max_documents=300, source_share=1.0)
    sources, vectors = made.training.sources, made.training.vectors
    known = sources >= 0
    assert 0.1 < (known.sum() / (made.training.own < 0).sum()).item() < 0.4
    nearness = (vectors[known] * (made.documents + made.document_mean)[sources[known]]).sum(dim=1)
    assert nearness.min() > 0.8
    batch = made.batch(made.training, torch.nonzero(known)[:9, 0], generator())
    assert batch.targets[torch.arange(9), sources[known][:9]].min() == pytest.approx(1.0)


def test_sampled_candidates_hold_the_nearest_and_stand_for_all(clustered):
    features, _ = clustered
    made = ranking(features, candidates=600, document_share=0.0)
    items = torch.arange(16)
    batch = made.batch(made.training, items, generator())
    assert len(batch.documents) <= 600
    documents = features.documents - features.documents.mean(axis=0)
    best = (made.training.vectors[:16].numpy() @ features.documents.T).argmax(axis=1)
    distances = torch.cdist(torch.from_numpy(documents[best]), batch.documents).min(dim=1).values
    assert distances.max() < 1e-3
    stood_for = batch.offsets.exp().sum().item()
    assert stood_for == pytest.approx(1200, rel=0.01)
    assert math.log(1.2) < batch.offsets.max() < math.log(6)


def test_few_queries_are_held_out_from_nobody():
    documents = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    made = ranking(TrainingFeatures(documents))
    assert len(made.training) == 5
    assert len(made.held_out) == 5


@pytest.fixture
def noisy(clustered):
    """The clustered features, every other query replaced by one from elsewhere."""
    features, _ = clustered
    queries = features.queries.copy()
    queries[::2] = np.roll(queries, 500, axis=0)[::2]
    return TrainingFeatures(features.documents, queries, features.sources, clean_queries=features.queries)


def test_the_teacher_ranks_for_the_clean_queries_and_the_student_sees_the_noisy_ones(clustered, noisy):
    features, _ = clustered
    clean, made = ranking(features), ranking(noisy)
    items = torch.arange(200)
    expected = clean.batch(clean.training, items, generator())
    batch = made.batch(made.training, items, generator())
    np.testing.assert_allclose(batch.targets, expected.targets, atol=1e-6)
    np.testing.assert_array_equal(made.training.taught, clean.training.vectors)

    given = made.training.own[items] < 0
    rows = torch.cdist(made.training.taught[items][given], torch.from_numpy(features.queries)).argmin(dim=1)
    seen = batch.queries[given] + made.query_mean
    np.testing.assert_allclose(seen, noisy.queries[rows], atol=1e-5)
    np.testing.assert_array_equal(batch.queries[~given], expected.queries[~given])


def test_gaussian_noise_leaves_the_targets_of_clean_queries_alone(noisy):
    made = ranking(noisy)
    items = torch.arange(50)
    still = made.batch(made.training, items, generator())
    shaken = made.batch(made.training, items, generator(), noise=0.3)
    assert (shaken.queries - still.queries).norm(dim=1).min() > 0.1
    np.testing.assert_array_equal(shaken.targets, still.targets)


def test_neighbours_are_mined_for_the_clean_queries(clustered, noisy):
    features, _ = clustered
    changes = {"candidates": 600, "document_share": 0.0}
    clean, made = ranking(features, **changes), ranking(noisy, **changes)
    np.testing.assert_array_equal(made.training.neighbours, clean.training.neighbours)
    assert (made.training.vectors != clean.training.vectors).any()


def test_noise_leaves_the_statistics_of_a_query_side_alone(clustered, noisy):
    features, _ = clustered
    sided = TrainingFeatures(features.documents, features.queries, features.sources, sides_differ=True)
    corrupted = TrainingFeatures(
        features.documents,
        noisy.queries + 1,
        features.sources,
        sides_differ=True,
        clean_queries=features.queries,
    )
    np.testing.assert_array_equal(corrupted.query_statistics, sided.query_statistics)
    np.testing.assert_array_equal(ranking(corrupted).query_mean, ranking(sided).query_mean)


def query_set(count, own, clean=None):
    return QuerySet(
        torch.arange(count)[:, None].float(),
        torch.tensor(own),
        torch.arange(count),
        torch.full((count,), 1 / count, dtype=torch.float64),
        clean=clean,
    )


def test_given_queries_are_those_that_are_no_documents():
    assert query_set(4, [-1, 7, -1, 2]).given.vectors[:, 0].tolist() == [0, 2]
    documents = query_set(2, [0, 1])
    assert documents.given is documents


def test_mixed_queries_are_drawn_at_their_shares():
    some, others = query_set(4, 4 * [-1]), query_set(2, 2 * [-1], clean=torch.full((2, 1), 9.0))
    both = some.mixed(others, 0.25)
    assert both.weights[:4].sum() == pytest.approx(0.75)
    assert both.weights.sum() == pytest.approx(1)
    assert both.taught[:, 0].tolist() == [0, 1, 2, 3, 9, 9]
    assert some.mixed(others, 0.0) is some
    assert some.mixed(others, 1.0) is others
