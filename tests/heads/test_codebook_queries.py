"""The map of queries that codes and tables are searched by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clusters import clustered_corpus, held_out_loss, ranking_settings

from llmhash.heads import codebook_queries
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_fit import fit_codebook
from llmhash.heads.codebook_queries import _Map, with_query_map
from llmhash.heads.projection import fit_itq
from llmhash.heads.ranking import Ranking

SETTINGS = ranking_settings(held_out=100)


@pytest.fixture(scope="module")
def corpus():
    return clustered_corpus(500, 400, dim=16, clusters=30, shift=0.5)


@pytest.fixture(scope="module")
def head(corpus):
    head = fit_itq(corpus, 8)
    return replace(head, codebook=fit_codebook(corpus.documents, head, parallel=8.0, pull=0.2))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    plan = replace(codebook_queries._PLAN, steps=60, validate_every=20)
    monkeypatch.setattr(codebook_queries, "_PLAN", plan)


def ranked(features, settings=SETTINGS):
    return Ranking(features, settings, seed=0, device="cpu")


def mapped(head, features, settings=SETTINGS, seed=0):
    ranking = ranked(features, settings)
    return with_query_map(head, head.document_codes(features.documents), ranking, seed=seed)


def test_it_ranks_held_out_queries_better_by_the_same_codes(corpus, head):
    other, ranking = mapped(head, corpus), ranked(corpus)
    np.testing.assert_array_equal(
        other.document_codes(corpus.documents).packed, head.document_codes(corpus.documents).packed
    )
    assert other.codebook.query_map.shape == (16, 16)
    assert held_out_loss(other, corpus, ranking) < 0.98 * held_out_loss(head, corpus, ranking)


def test_it_trains_on_sampled_candidates_too(corpus, head):
    settings = replace(SETTINGS, candidates=150)
    other, ranking = mapped(head, corpus, settings), ranked(corpus, settings)
    assert held_out_loss(other, corpus, ranking) < held_out_loss(head, corpus, ranking)


@pytest.mark.parametrize("unit", [1.0, 8.0])
def test_the_stored_map_scores_as_the_trained_one(corpus, head, unit):
    """Training sees queries in units, centred; users do not."""
    torch.manual_seed(0)
    mean = torch.from_numpy(corpus.queries.mean(axis=0))
    student = _Map(torch.zeros(1, 16), mean)
    torch.nn.init.normal_(student.added)
    student.vectors = torch.from_numpy(head.codebook.decode(head.document_codes(corpus.documents).packed))
    queries = torch.from_numpy(corpus.queries[:5])
    with torch.no_grad():
        trained = (student(queries - mean, None) / student.log_scale.exp()).numpy()
    book = student.codebook(head.codebook, unit)
    asked = (unit * corpus.queries[:5]) @ book.query_map.T + book.query_shift
    np.testing.assert_allclose(asked @ student.vectors.numpy().T, unit * trained, rtol=1e-3, atol=1e-4)


def test_the_teacher_s_scale_does_not_matter(corpus, head):
    larger = TrainingFeatures(corpus.documents * 8, corpus.queries * 8, corpus.sources)
    scaled = AffineHead(head.weight / 8, head.bias)
    book = replace(head.codebook, tables=8 * head.codebook.tables, mean=8 * head.codebook.mean)
    scaled = replace(scaled, codebook=replace(book, weights=book.weights * np.float32([1, 64])))
    plain, other = mapped(head, corpus).codebook, mapped(scaled, larger).codebook
    np.testing.assert_allclose(other.query_map, plain.query_map, atol=0.02)
    np.testing.assert_allclose(other.query_shift, 8 * plain.query_shift, atol=0.16)


def test_the_seed_decides_everything(corpus, head):
    first, same, other = (mapped(head, corpus, seed=seed).codebook for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.query_map, same.query_map)
    assert np.abs(first.query_map - other.query_map).max() > 1e-4


def test_the_head_stays_as_it_is_where_held_out_queries_do_not_gain(corpus, head, monkeypatch):
    plan = replace(codebook_queries._PLAN, learning_rate=1e-12)
    monkeypatch.setattr(codebook_queries, "_PLAN", plan)
    monkeypatch.setattr("llmhash.heads.codebook_queries.asymmetric_loss", lambda *_: 1.0)
    assert mapped(head, corpus) is head


def test_a_head_without_a_codebook_stays_as_it_is(corpus):
    plain = fit_itq(corpus, 8)
    assert mapped(plain, corpus) is plain


def test_documents_serve_where_there_are_no_queries(corpus, head):
    alone = TrainingFeatures(corpus.documents)
    other, ranking = mapped(head, alone), ranked(alone)
    assert held_out_loss(other, alone, ranking) <= held_out_loss(head, alone, ranking)
