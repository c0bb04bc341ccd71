from __future__ import annotations

import numpy as np
import pytest

from llmhash.corpora import Documents
from llmhash.errors import InputError
from llmhash.evaluation.probe_data import ProbeData, first_occurrences, part_of
from llmhash.heads import TrainingFeatures


def rows_of(*arrays: np.ndarray) -> list[set[bytes]]:
    return [{row.tobytes() for row in array} for array in arrays]


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)


def test_the_three_sets_of_pseudo_queries_are_disjoint(encoder, sentences):
    data = ProbeData.from_texts(encoder, Documents.from_texts(sentences), pseudo_queries=1000)
    training, choosing, confirming = rows_of(
        data.training.queries, data.choosing.queries, data.confirming.queries
    )
    assert len(choosing) == len(confirming) == len(data.choosing.queries) > 40
    assert not training & choosing
    assert not training & confirming
    assert not choosing & confirming
    assert data.known_items
    assert len(data.training.queries) == len(data.training.sources)
    assert len(data.query_features) == sum(map(len, (data.training.queries, choosing, confirming)))


def test_each_pseudo_query_was_cut_from_its_source(encoder, sentences):
    data = ProbeData.from_texts(encoder, Documents.from_texts(sentences), pseudo_queries=1000)
    for part in (data.choosing, data.confirming):
        scores = part.queries @ data.documents.T
        own = np.take_along_axis(scores, part.sources[:, None], axis=1)
        assert ((scores > own).sum(axis=1) < 10).mean() > 0.5  # of 200 documents


def test_a_larger_corpus_is_sampled_and_a_seed_decides_how(encoder, sentences):
    titled = Documents(
        [f"d{i}" for i in range(200)],
        [f"T{i} {text}" for i, text in enumerate(sentences)],
        titles=[f"T{i}" for i in range(200)],
        bodies=list(sentences),
    )
    one, again, other = (
        ProbeData.from_texts(encoder, titled, sample=80, pseudo_queries=400, seed=seed) for seed in (0, 0, 1)
    )
    assert (one.corpus_size, one.documents.shape) == (200, (80, encoder.dim))
    np.testing.assert_array_equal(one.documents, again.documents)
    np.testing.assert_array_equal(one.choosing.queries, again.choosing.queries)
    assert rows_of(one.documents) != rows_of(other.documents)
    whole = ProbeData.from_texts(encoder, titled, sample=200, pseudo_queries=400)
    np.testing.assert_array_equal(whole.documents, encoder.encode(titled.texts, "document"))


def test_sides_of_a_prompted_teacher_stay_apart(prompted_encoder, sentences):
    data = ProbeData.from_texts(prompted_encoder, Documents.from_texts(sentences), pseudo_queries=400)
    assert data.training.query_statistics is not None


def test_query_vectors_are_split_and_look_for_the_teachers_first(vectors):
    queries = np.random.default_rng(1).normal(size=(100, 8)).astype(np.float32)
    queries[1] = queries[0]
    data = ProbeData.from_vectors(vectors, queries)
    parts = rows_of(data.training.queries, data.choosing.queries, data.confirming.queries)
    assert [len(part) for part in parts] == [61, 19, 19]
    assert len(set.union(*parts)) == 99
    assert (data.queries, data.known_items, data.corpus_size) == ("query vectors", False, 400)
    best = (data.choosing.queries @ vectors.T).argmax(axis=1)
    np.testing.assert_array_equal(data.choosing.sources, best)


def test_documents_that_serve_as_queries_are_not_searched(vectors):
    vectors[7] = vectors[8] = vectors[9]
    data = ProbeData.from_vectors(vectors)
    searched, choosing, confirming = rows_of(data.documents, data.choosing.queries, data.confirming.queries)
    assert len(data.documents) == 400 - len(choosing) - len(confirming)
    assert not searched & (choosing | confirming)
    assert not choosing & confirming
    assert vectors[7].tobytes() in searched  # whose copies would be found at once
    assert data.duplicates == 2
    assert data.query_features is None


def test_a_part_keeps_the_queries_cut_from_it(vectors):
    rows = np.array([3, 5, 8])
    queries = np.arange(40, dtype=np.float32).reshape(5, 8)
    training = TrainingFeatures(vectors, queries, np.array([5, 4, -1, 8, 3]), sides_differ=True)
    part = part_of(training, rows)
    np.testing.assert_array_equal(part.documents, vectors[rows])
    np.testing.assert_array_equal(part.queries, queries[[0, 2, 3, 4]])
    assert part.sources.tolist() == [1, -1, 2, 0]
    assert part.sides_differ
    none = part_of(TrainingFeatures(vectors, queries, np.full(5, 4)), rows)
    assert none.queries is None
    assert none.sources is None
    unknown = part_of(TrainingFeatures(vectors, queries), rows)
    np.testing.assert_array_equal(unknown.queries, queries)


def test_first_occurrences():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]], dtype=np.float32)
    assert first_occurrences(rows).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: ProbeData.from_vectors(v[:49]), "at least 50 documents to say anything, and there are 49"),
        (lambda v: ProbeData.from_vectors(v, sample=10), "sample must be at least 50 documents, not 10"),
        (lambda v: ProbeData.from_vectors(v, v[:49]), "only 49 different query vectors .* needs 50"),
        (lambda v: ProbeData.from_vectors(v, v[:, :5]), "queries have 5 dimensions, documents 8"),
        (lambda v: ProbeData.from_vectors(np.ones((60, 3))), "only 0 different documents"),
        (lambda v: ProbeData.from_vectors(np.where(np.eye(400, 8), np.nan, v)), "NaN or infinity in 8"),
    ],
)
def test_unusable_vectors_are_refused_in_one_sentence(vectors, call, message):
    with pytest.raises(InputError, match=message):
        call(vectors)


def test_too_few_texts_or_pseudo_queries(encoder, sentences):
    with pytest.raises(InputError, match="at least 50 documents"):
        ProbeData.from_texts(encoder, Documents.from_texts(sentences[:10]))
    with pytest.raises(InputError, match="only 3 pseudo-queries can be held out"):
        ProbeData.from_texts(encoder, Documents.from_texts(sentences), pseudo_queries=30)
