"""Anchors that vote for queries' codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clusters import clustered_corpus, ranking_settings

from llmhash.heads import codebook_anchors
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_anchors import _Anchors, _centroids, transplanted, with_anchors
from llmhash.heads.codebook_fit import fit_codebook
from llmhash.heads.overlap import hamming_overlaps
from llmhash.heads.projection import fit_itq
from llmhash.heads.ranking import Ranking

SETTINGS = ranking_settings(held_out=100)


@pytest.fixture(scope="module")
def corpus():
    return clustered_corpus(500, 400, dim=16, clusters=30, shift=0.5)


@pytest.fixture(scope="module")
def head(corpus):
    """Logits of the queries' side that say nothing: what there is to know, anchors must learn."""
    head = fit_itq(corpus, 16)
    head = replace(head, query_weight=head.weight * np.float32(1e-4), query_bias=np.zeros(16, np.float32))
    return replace(head, codebook=fit_codebook(corpus.documents, head, pull=0.05, rounds=3))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    plan = replace(codebook_anchors._PLAN, steps=60, validate_every=20)
    monkeypatch.setattr(codebook_anchors, "_PLAN", plan)
    monkeypatch.setattr("llmhash.heads.codebook_anchors._TRANSPLANTED", 1000)


def ranked(features, settings=SETTINGS):
    return Ranking(features, settings, seed=0, device="cpu")


def anchored(head, features, settings=SETTINGS, seed=0):
    codes = head.document_codes(features.documents)
    return with_anchors(head, codes, ranked(features, settings), seed=seed)


def found(head, codes, ranking):
    return hamming_overlaps(head, codes, ranking).mean()


@pytest.mark.parametrize("candidates", [2000, 150])
def test_held_out_queries_rank_better_by_hamming_and_documents_codes_stay(corpus, head, candidates):
    settings = replace(SETTINGS, candidates=candidates)
    other, codes = anchored(head, corpus, settings), head.document_codes(corpus.documents)
    ranking = ranked(corpus, settings)
    assert other.codebook.anchor_keys.shape == (250, 16)
    np.testing.assert_array_equal(other.document_codes(corpus.documents).packed, codes.packed)
    assert found(other, codes, ranking) > 0.03 + found(head, codes, ranking)


def test_the_stored_anchors_give_the_trained_codes(corpus, head):
    """Training sees queries in units, centred; users do not."""
    larger = TrainingFeatures(corpus.documents * 8, corpus.queries * 8 + 1, corpus.sources, sides_differ=True)
    scaled = AffineHead(head.weight / 8, head.bias, query_bias=head.bias - 0.1)
    book = fit_codebook(larger.documents, scaled, pull=0.05, rounds=3)
    scaled, ranking = replace(scaled, codebook=book), ranked(larger)
    student = _Anchors(scaled, scaled.document_codes(larger.documents), ranking, 40, 0)
    torch.nn.init.normal_(student.offsets)
    torch.nn.init.normal_(student.votes)
    centred = torch.from_numpy(larger.queries / np.float32(ranking.unit)) - ranking.query_mean
    with torch.no_grad():
        logits = student(centred).numpy()
    bits = student.head(scaled, ranking).query_codes(larger.queries).unpack()
    sure = np.abs(logits) > 1e-3
    assert sure.mean() > 0.95
    np.testing.assert_array_equal(bits[sure], (logits > 0)[sure])


def test_transplanted_queries_lie_off_their_documents_as_given_ones_do(corpus):
    ranking = ranked(corpus)
    made = transplanted(ranking, 300, torch.Generator().manual_seed(0))
    given = ranking.training.given
    assert (made.own == -1).all()
    documents = ranking.documents + ranking.document_mean
    # The offsets are unlike in length only because queries are brought back to the length that they had.
    lengths = [float((some.vectors - documents[some.sources]).norm(dim=1).mean()) for some in (made, given)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.2)
    assert len(torch.unique(made.sources)) > 200
    np.testing.assert_allclose(made.vectors.norm(dim=1), 1.0, atol=0.2)


def test_nothing_is_transplanted_where_no_source_is_known(corpus, head):
    unknown = TrainingFeatures(corpus.documents, corpus.queries, np.full(len(corpus.queries), -1))
    assert transplanted(ranked(unknown), 10, torch.Generator()) is None
    assert transplanted(ranked(TrainingFeatures(corpus.documents)), 10, torch.Generator()) is None
    codes, ranking = head.document_codes(corpus.documents), ranked(unknown)
    assert found(anchored(head, unknown), codes, ranking) >= found(head, codes, ranking)


def test_noisy_queries_are_transplanted_with_their_clean_ones(corpus):
    noisy = TrainingFeatures(
        corpus.documents, corpus.queries + np.float32(0.1), corpus.sources, clean_queries=corpus.queries
    )
    made = transplanted(ranked(noisy), 50, torch.Generator().manual_seed(0))
    clean = transplanted(ranked(corpus), 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.clean, clean.vectors)
    assert (made.vectors - made.clean).abs().max() > 0.01


def test_the_seed_decides_everything(corpus, head):
    first, same, other = (anchored(head, corpus, seed=seed).codebook for seed in (0, 0, 1))
    for name, array in first.tensors().items():
        np.testing.assert_array_equal(same.tensors()[name], array)
    assert first.anchor_votes.shape != other.anchor_votes.shape or (
        np.abs(first.anchor_votes - other.anchor_votes).max() > 1e-4
    )


def test_the_head_stays_as_it_is_where_held_out_queries_do_not_gain(corpus, head, monkeypatch):
    monkeypatch.setattr("llmhash.heads.codebook_anchors.hamming_overlaps", lambda *_: np.ones(1))
    assert anchored(head, corpus) is head


def test_a_head_without_a_codebook_and_a_single_document_stay_as_they_are(corpus, head):
    plain = fit_itq(corpus, 16)
    assert anchored(plain, corpus) is plain
    single = TrainingFeatures(corpus.documents[:1])
    assert anchored(head, single) is head


@pytest.mark.filterwarnings("error")
def test_equal_documents_leave_no_empty_anchors():
    documents = torch.eye(3).repeat_interleave(10, dim=0)
    signs = torch.ones(30, 8)
    keys, votes = _centroids(documents, signs, 15, 0)
    assert len(keys) == len(votes) <= 15
    torch.testing.assert_close(votes, torch.ones_like(votes))
    assert np.isin(np.round(keys.numpy(), 5), [0, 1]).all()
