"""How queries lie off their documents, as heads take it from pseudo-queries or from near documents."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash.heads.base import TrainingFeatures
from llmhash.heads.query_model import (
    inverse_root,
    near_documents,
    query_model,
    share_and_noise,
    shrinkage_at,
    stand_in_queries,
)

DIM, DOCUMENTS = 24, 3000
# How far queries are off their documents: much in half of the dimensions, little in the other.
SPREAD = np.where(np.arange(DIM) % 2, 0.9, 0.15).astype(np.float32)
SHIFT = np.linspace(-1, 1, DIM).astype(np.float32)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    rows = (2 + rng.normal(size=(DOCUMENTS, DIM))).astype(np.float32)
    # Of the first third alone, which lie elsewhere: what they are off is told from them, not from all.
    rows[: DOCUMENTS // 3] += 1
    sources = rng.integers(DOCUMENTS // 3, size=4000)
    noise = SPREAD * rng.normal(size=(4000, DIM)).astype(np.float32)
    return TrainingFeatures(rows, 0.6 * rows[sources] + SHIFT + noise, sources)


def test_share_shift_and_noise_are_found(features):
    model = query_model(features)
    assert model.share == pytest.approx(0.6, abs=0.02)
    np.testing.assert_allclose(model.noise.std(axis=0), SPREAD, rtol=0.05)
    # Queries of documents at the mean of all have `0.6 mean + SHIFT` as theirs.
    mean = features.documents.mean(axis=0)
    np.testing.assert_allclose(mean + model.shift, 0.6 * mean + SHIFT, atol=0.1)


def test_queries_of_unknown_sources_are_left_out(features):
    known = np.arange(len(features.sources)) % 2 == 0
    spoiled = np.where(known[:, None], features.queries, 100.0).astype(np.float32)
    model = query_model(replace(features, queries=spoiled, sources=np.where(known, features.sources, -1)))
    only = query_model(replace(features, queries=features.queries[known], sources=features.sources[known]))
    assert model.share == only.share
    np.testing.assert_array_equal(model.shift, only.shift)
    np.testing.assert_array_equal(model.noise, only.noise)


def test_the_mean_is_that_of_clean_queries(features):
    noisy = replace(features, queries=features.queries + 1, clean_queries=features.queries)
    model, clean = query_model(noisy), query_model(features)
    np.testing.assert_allclose(model.shift, clean.shift, atol=1e-4)
    np.testing.assert_allclose(model.noise, clean.noise, atol=1e-4)


def test_noise_is_what_the_share_leaves():
    rng = np.random.default_rng(2)
    documents = 5 + rng.normal(size=(20_000, DIM)).astype(np.float32)
    noise = SPREAD * rng.normal(size=documents.shape).astype(np.float32)
    share, left = share_and_noise(0.6 * documents + noise - 2, documents)
    assert share == pytest.approx(0.6, abs=0.01)
    np.testing.assert_allclose(left, noise - noise.mean(axis=0), atol=0.1)


def test_queries_that_have_nothing_of_their_documents_keep_a_share():
    documents = np.random.default_rng(3).normal(size=(500, DIM)).astype(np.float32)
    assert share_and_noise(-documents, documents)[0] == pytest.approx(0.1)
    assert share_and_noise(3 * documents, documents)[0] == 1
    assert share_and_noise(documents, np.ones_like(documents))[0] == 1


@pytest.mark.parametrize("differ", [False, True])
def test_without_sources_documents_stand_in_for_queries(features, differ):
    bare = TrainingFeatures(features.documents, features.queries, sides_differ=differ)
    model = query_model(bare)
    np.testing.assert_array_equal(model.noise, share_and_noise(*near_documents(features.documents))[1])
    if differ:
        moved = features.queries.mean(axis=0) - features.documents.mean(axis=0)
        np.testing.assert_allclose(model.shift, moved, atol=1e-4)
    else:
        assert model.shift is None


def test_near_documents_are_the_nearest_others(features, monkeypatch):
    monkeypatch.setattr("llmhash.heads.query_model._STAND_INS", 100)
    monkeypatch.setattr("llmhash.heads.query_model._BLOCK_ROWS", 700)
    rows = np.arange(0, DOCUMENTS, DOCUMENTS // 100)[:100]
    similarities = features.documents[rows] @ features.documents.T
    similarities[np.arange(100), rows] = -np.inf
    found, nearest = near_documents(features.documents)
    np.testing.assert_array_equal(found, features.documents[rows])
    np.testing.assert_array_equal(nearest, features.documents[similarities.argmax(axis=1)])


def test_copies_are_no_neighbours():
    rows = np.random.default_rng(6).normal(size=(300, DIM)).astype(np.float32)
    twice = np.concatenate([rows, rows, np.full((1, DIM), 0.5, np.float32)])
    found, nearest = near_documents(twice)
    assert len(found) == len(twice)
    assert (np.abs(found - nearest).sum(axis=1) > 0.1).all()


@pytest.mark.parametrize("count", [1, 50])
def test_documents_without_others_tell_nothing(count):
    same = np.ones((count, DIM), np.float32)
    np.testing.assert_array_equal(*near_documents(same))
    model = query_model(TrainingFeatures(same))
    assert model.share == 1
    whitening = model.whitening(0.5)
    np.testing.assert_allclose(whitening, whitening[0, 0] * np.eye(DIM), atol=1e-6)


def test_whitening_makes_noise_even():
    noise = SPREAD * np.random.default_rng(1).normal(size=(20_000, DIM)).astype(np.float32)
    np.testing.assert_allclose(np.cov((noise @ inverse_root(noise, 0.0).T).T), np.eye(DIM), atol=0.01)
    half = np.linalg.eigvalsh(np.cov((noise @ inverse_root(noise, 0.5).T).T))
    variances = np.sort(np.cov(noise.T).diagonal())
    assert half[-1] / half[0] < 0.5 * variances[-1] / variances[0]


def test_wider_codes_lean_less_on_where_queries_lie(features):
    assert [shrinkage_at(bits) for bits in (8, 64, 256, 1024)] == [0.5, 0.5, 0.75, 0.875]
    model = query_model(features)
    np.testing.assert_array_equal(model.whitening(0.75), inverse_root(model.noise, 0.75))


def test_stand_ins_lie_off_their_documents_as_near_ones_do(features):
    documents = features.documents / np.linalg.norm(features.documents, axis=1, keepdims=True)
    queries, rows = stand_in_queries(documents, None, 500, seed=0)
    np.testing.assert_allclose(
        np.linalg.norm(queries, axis=1), np.linalg.norm(documents[rows], axis=1), rtol=1e-5
    )
    some, nearest = near_documents(documents)
    off, near = (np.linalg.norm(each, axis=1).mean() for each in (queries - documents[rows], nearest - some))
    assert off == pytest.approx(near, rel=0.1)
    shifted, same = stand_in_queries(documents, SHIFT, 500, seed=0)
    np.testing.assert_array_equal(same, rows)
    np.testing.assert_allclose(shifted - queries, np.broadcast_to(SHIFT, queries.shape), atol=1e-5)
    others, _ = stand_in_queries(documents, None, 500, seed=1)
    assert (others != queries).any(axis=1).mean() > 0.9
