"""Tables that are trained on the ranking, for codes that stay the signs of the logits."""

from dataclasses import replace

import numpy as np
import pytest
from clusters import clustered_corpus, held_out_loss, ranking_settings

from llmhash.heads import codebook_training
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook import Codebook
from llmhash.heads.codebook_training import _bitwise, train_codebook
from llmhash.heads.distill import DistillOptions, fit_distill
from llmhash.heads.projection import fit_itq
from llmhash.heads.ranking import Ranking
from llmhash.index import asymmetric_scores

SETTINGS = ranking_settings(held_out=100)


@pytest.fixture(scope="module")
def corpus():
    return clustered_corpus(500, 400, dim=16, clusters=30, shift=0.5)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    plan = replace(codebook_training._PLAN, steps=60, validate_every=20)
    monkeypatch.setattr(codebook_training, "_PLAN", plan)


def ranked(features, settings=SETTINGS):
    return Ranking(features, settings, seed=0, device="cpu")


def test_it_starts_from_the_head_s_own_asymmetric_score(corpus):
    head = replace(fit_itq(corpus, 16), query_bias=np.linspace(-1, 1, 16, dtype=np.float32))
    tables, offsets = _bitwise(head)
    codes = head.document_codes(corpus.documents)
    start = replace(head, codebook=Codebook(tables, offsets=offsets))
    logits = head.query_logits(corpus.queries)
    np.testing.assert_allclose(
        asymmetric_scores(start.asymmetric_queries(corpus.queries), codes),
        asymmetric_scores(logits, codes) * np.abs(logits).sum(axis=1, keepdims=True),
        atol=1e-4,
    )


def test_it_ranks_held_out_queries_better_by_the_same_codes(corpus):
    head, ranking = fit_itq(corpus, 16), ranked(corpus)
    book = train_codebook(head, ranking)
    assert not book.chooses_codes
    other = replace(head, codebook=book)
    np.testing.assert_array_equal(
        other.document_codes(corpus.documents).packed, head.document_codes(corpus.documents).packed
    )
    assert held_out_loss(other, corpus, ranking) < 0.9 * held_out_loss(head, corpus, ranking)


def test_it_trains_on_sampled_candidates_too(corpus):
    head = fit_itq(corpus, 16)
    ranking = ranked(corpus, replace(SETTINGS, candidates=150))
    other = replace(head, codebook=train_codebook(head, ranking))
    assert held_out_loss(other, corpus, ranking) < held_out_loss(head, corpus, ranking)


def test_the_teacher_s_scale_does_not_matter(corpus):
    larger = TrainingFeatures(corpus.documents * 8, corpus.queries * 8, corpus.sources)
    head = fit_itq(corpus, 16)
    scaled = AffineHead(head.weight / 8, head.bias)
    plain = train_codebook(head, ranked(corpus)).query_tables(corpus.queries)
    other = train_codebook(scaled, ranked(larger)).query_tables(larger.queries)
    np.testing.assert_allclose(plain, other, atol=0.02 * np.abs(plain).max())


def test_the_seed_decides_everything(corpus):
    head, ranking = fit_itq(corpus, 8), ranked(corpus)
    first, same, other = (train_codebook(head, ranking, seed=seed) for seed in (0, 0, 1))
    for name, array in first.tensors().items():
        np.testing.assert_array_equal(same.tensors()[name], array)
    assert np.abs(other.tables - first.tables).max() > 1e-4


@pytest.mark.parametrize("count", [1, 2, 10])
def test_tiny_corpora(count):
    rng = np.random.default_rng(0)
    features = TrainingFeatures(rng.normal(size=(count, 6)).astype(np.float32))
    head = AffineHead(rng.normal(size=(16, 6)).astype(np.float32), np.zeros(16, np.float32))
    book = train_codebook(head, ranked(features))
    assert np.isfinite(book.query_tables(features.documents)).all()


def test_auto_trains_tables_where_chosen_codes_do_not_gain(corpus, monkeypatch):
    def preferring_signs(head, *_):
        if head.codebook is None:
            return 1.0
        return 2.0 if head.codebook.chooses_codes else 0.5

    monkeypatch.setattr("llmhash.heads.distill.asymmetric_loss", preferring_signs)
    head = fit_distill(corpus, 16, options=DistillOptions(steps=10))
    assert head.codebook is not None
    assert not head.codebook.chooses_codes
