"""The space that queries see, and codebooks of it."""

from dataclasses import replace

import numpy as np
import pytest
from clusters import clustered_corpus

from llmhash.codes import Codes
from llmhash.heads import fit_head
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import fit_itq
from llmhash.heads.query_space import QuerySpace, additive, with_offsets
from llmhash.index import asymmetric_scores

DIM = 16


@pytest.fixture(scope="module")
def corpus():
    return clustered_corpus(500, 400, dim=DIM, clusters=30, shift=0.5)


@pytest.fixture(scope="module")
def space(corpus):
    return QuerySpace.fit(corpus, 16)


def agreement(codes, head, documents):
    return float((codes.unpack() == (head.document_logits(documents) > 0)).mean())


def chosen(space, corpus, pull, bits=16):
    """ITQ there with a codebook, and its codes of the documents."""
    points = space.documents(corpus.documents)
    start = fit_itq(TrainingFeatures(points), bits)
    head = space.head(start)
    book = space.fit_book(points, start, pull=pull, rounds=2)
    codes = book.encode(corpus.documents, head.document_logits(corpus.documents))
    return replace(head, codebook=with_offsets(book, codes)), Codes(codes, bits)


def test_queries_lie_off_their_documents_evenly_there(corpus, space):
    asked = (corpus.queries - space.query_mean) @ space.query_map.T
    off = asked - space.documents(corpus.documents)[corpus.sources]
    before = corpus.queries - corpus.documents[corpus.sources]
    spread, spread_before = (np.linalg.eigvalsh(np.cov(rows.T)) for rows in (off, before))
    assert spread[-1] / spread[0] < spread_before[-1] / spread_before[0]


def test_a_head_of_points_is_one_of_features_and_back(corpus, space):
    points = space.documents(corpus.documents)
    start = fit_itq(TrainingFeatures(points), 16)
    head = space.head(start)
    logits = start.document_logits(points)
    np.testing.assert_allclose(head.document_logits(corpus.documents), logits, atol=1e-3)
    again = space.of_points(head)
    np.testing.assert_allclose(again.weight, start.weight, atol=1e-4)
    np.testing.assert_allclose(again.document_logits(points), logits, atol=1e-3)


def test_queries_have_their_own_thresholds_where_their_mean_is_known(corpus, space):
    start = fit_itq(TrainingFeatures(space.documents(corpus.documents)), 16)
    moved = replace(corpus, queries=corpus.queries + np.float32(3))
    there = QuerySpace.fit(moved, 16).head(start).query_logits(moved.queries)
    np.testing.assert_allclose(there, space.head(start).query_logits(corpus.queries), atol=0.02)
    unknown = QuerySpace.fit(TrainingFeatures(corpus.documents), 16)
    assert not unknown.sides_differ
    assert unknown.head(start).query_bias is None


def test_a_pull_keeps_codes_near_the_signs_and_distances_searchable(corpus, space):
    free, free_codes = chosen(space, corpus, 0.0)
    held, held_codes = chosen(space, corpus, 0.1)
    assert free.codebook.scan_only
    assert not held.codebook.scan_only
    assert held.codebook.use == "codes"
    near = [agreement(codes, held, corpus.documents) for codes in (free_codes, held_codes)]
    assert near[0] < 0.9 < near[1]


def test_scores_are_distances_whether_or_not_there_is_a_pull(corpus, space):
    for pull in (0.0, 0.1):
        head, codes = chosen(space, corpus, pull)
        asked = (corpus.queries[:20] - space.query_mean) @ space.query_map.T
        distances = np.square(asked[:, None] - head.codebook.decode(codes.packed)[None]).sum(axis=2)
        scores = asymmetric_scores(head.asymmetric_queries(corpus.queries[:20]), codes)
        expected = (np.square(asked).sum(axis=1)[:, None] - distances) / 2
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-2)


def test_points_off_the_middle_of_all_are_coded_where_they_are(corpus, space):
    """Tables are fitted about the mean of their sample, which need not be the corpus's."""
    points = space.documents(corpus.documents)
    some = points[points[:, 0] > np.median(points[:, 0])]
    start = fit_itq(TrainingFeatures(points), 16)
    book = space.fit_book(some, start, pull=0.0, rounds=3)
    features = corpus.documents[points[:, 0] > np.median(points[:, 0])]
    left = some - book.decode(book.encode(features, np.zeros((len(some), 16), np.float32)))
    assert np.abs(left.mean(axis=0)).max() < 0.1 * points.std()
    assert np.square(left).sum() < 0.5 * np.square(some - some.mean(axis=0)).sum()


def test_the_teacher_s_scale_does_not_matter(corpus):
    larger = TrainingFeatures(corpus.documents * 8, corpus.queries * 8, corpus.sources)
    codes = [chosen(QuerySpace.fit(features, 16), features, 0.1)[1] for features in (corpus, larger)]
    assert (codes[0].unpack() == codes[1].unpack()).mean() > 0.98


def test_a_distilled_codebook_chooses_codes_there_that_hamming_distance_ranks(corpus, space):
    options = {"steps": 40, "codebook": "always"}
    head = fit_head("distill", corpus, 16, options=options)
    np.testing.assert_allclose(head.codebook.query_map, space.query_map, atol=1e-5)
    assert not head.codebook.scan_only
    codes = head.document_codes(corpus.documents)
    assert agreement(codes, head, corpus.documents) > 0.8
    own = head.query_codes(corpus.queries).hamming(codes)[np.arange(400), corpus.sources]
    other = head.query_codes(corpus.queries).hamming(codes).mean(axis=1)
    assert own.mean() < 0.4 * other.mean()


def test_offsets_that_are_a_sum_over_bytes_are_found():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (20_000, 3), dtype=np.uint8)
    terms = rng.normal(size=(3, 256)).astype(np.float32)
    targets = terms[np.arange(3), codes].sum(axis=1)
    found = additive(targets, codes)
    assert found.shape == (3, 256)
    np.testing.assert_allclose(found[np.arange(3), codes].sum(axis=1), targets, atol=0.3)
    assert np.abs(found[np.arange(3), codes].sum(axis=1) - targets).mean() < 0.05
