"""What a large corpus gets, and the judge of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clusters import ranking_settings

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_choice import Judge, best_of_large
from llmhash.heads.distance_codebook import fit_held_codebook
from llmhash.heads.distill import DistillOptions, fit_distill
from llmhash.heads.overlap import asymmetric_overlaps, hamming_overlaps
from llmhash.heads.query_space import QuerySpace
from llmhash.heads.ranking import Ranking
from llmhash.index import asymmetric_scores

SETTINGS = replace(ranking_settings(held_out=200), source_share=0.4)


@pytest.fixture(scope="module")
def ranking(corpus):
    return ranked(corpus)


def ranked(features, settings=SETTINGS):
    return Ranking(features, settings, seed=0, device="cpu")


def overlaps(head, features, ranking):
    codes = head.document_codes(features.documents)
    return tuple(each(head, codes, ranking).mean() for each in (asymmetric_overlaps, hamming_overlaps))


def with_codebook(head, features):
    space = QuerySpace.fit(features, head.bits)
    book = fit_held_codebook(space, features.documents, head, pull=0.0)
    return replace(head, codebook=book)


@pytest.mark.parametrize("given", [True, False])
def test_the_overlap_is_that_of_the_first_ten_documents(corpus, given):
    # Of many bits, so that asymmetric scores do not tie.
    weight = np.random.default_rng(0).normal(size=(256, corpus.dim)).astype(np.float32)
    head = AffineHead(weight, -weight @ corpus.documents.mean(axis=0))
    features = corpus if given else TrainingFeatures(corpus.documents)
    ranking = ranked(features)
    held_out = ranking.held_out.given
    assert (held_out.own.numpy() >= 0).all() != given
    wanted = ranking.whole(held_out, torch.arange(len(held_out))).targets.numpy()
    queries, own = held_out.vectors.numpy() * np.float32(ranking.unit), held_out.own.numpy()
    codes = head.document_codes(corpus.documents)
    scores = asymmetric_scores(head.asymmetric_queries(queries), codes)
    shares = []
    for row, targets, itself in zip(scores, wanted, own, strict=True):
        order = [document for document in np.argsort(-row, kind="stable") if document != itself][:10]
        shares.append(len(set(order) & set(np.argsort(-targets)[:10])) / 10)
    asymmetric = asymmetric_overlaps(head, codes, ranking)
    assert asymmetric.mean() == pytest.approx(np.mean(shares), abs=1e-3)
    # Almost all of them: matrix products of another size round elsewhere.
    assert (np.abs(asymmetric - shares) < 1e-3).mean() > 0.98
    # Codes of queries know less than their logits.
    hamming = hamming_overlaps(head, codes, ranking)
    assert hamming.shape == asymmetric.shape
    assert 0.5 * np.mean(shares) < hamming.mean() < 0.95 * np.mean(shares)


def test_the_overlap_is_of_order_alone_and_tells_a_codebook_that_ranks_at_random(corpus, head, ranking):
    plain = overlaps(head, corpus, ranking)
    scaled = AffineHead(7 * head.weight, 7 * head.bias)
    assert overlaps(scaled, corpus, ranking) == pytest.approx(plain, abs=1e-3)
    coded = with_codebook(head, corpus)
    assert overlaps(coded, corpus, ranking)[0] > plain[0] + 0.03
    # Codes stay what they were, and are read wrongly.
    shuffled = coded.codebook.tables[:, np.random.default_rng(0).permutation(256)]
    noise = replace(coded, codebook=replace(coded.codebook, tables=shuffled))
    codes = coded.document_codes(corpus.documents)
    assert asymmetric_overlaps(noise, codes, ranking).mean() < plain[0] - 0.05


def test_each_score_counts_by_its_weight(corpus, head, ranking):
    codes = head.document_codes(corpus.documents)
    asymmetric, hamming = (each(head, codes, ranking) for each in (asymmetric_overlaps, hamming_overlaps))
    np.testing.assert_allclose(Judge(ranking, 2.0, 0.5).values(head, codes), 2 * asymmetric + 0.5 * hamming)


def kind(head):
    if head.codebook is None:
        return "none"
    return "signs" if head.codebook.query_mean is None else "alike"


def prefer(preferred, monkeypatch):
    """Held-out queries find all by heads of one kind, and nothing by others."""

    def values(head):
        return np.full(20, float(kind(head) == preferred), np.float32)

    monkeypatch.setattr(Judge, "values", lambda _self, head, _codes: values(head))
    monkeypatch.setattr(
        "llmhash.heads.codebook_choice.hamming_overlaps", lambda head, _codes, _ranking: values(head)
    )


@pytest.mark.parametrize("preferred", ["none", "signs", "alike"])
def test_the_judge_has_its_way(corpus, head, ranking, monkeypatch, preferred):
    prefer(preferred, monkeypatch)
    assert kind(best_of_large(head, corpus, Judge(ranking, 1.0, 0.3))) == preferred
    always = best_of_large(head, corpus, Judge(ranking, 1.0, 0.3), always=True)
    assert kind(always) == (preferred if preferred != "none" else "signs")


@pytest.mark.parametrize(
    ("ahead", "trained"),
    [
        (np.ones(100), True),
        (np.zeros(100), False),
        # Of a mean ahead of .1, a standard error of .1 and one of .04.
        (np.tile([1.1, -0.9], 50), False),
        (np.tile([0.5, -0.3], 50), True),
    ],
)
def test_what_is_trained_has_to_find_more_than_the_closed_form_beyond_chance(
    corpus, head, ranking, monkeypatch, ahead, trained
):
    def values(_judge, judged, _codes):
        if judged.codebook is not None:
            return np.full(len(ahead), -1.0)
        return ahead if np.array_equal(judged.weight, head.weight) else np.zeros(len(ahead))

    monkeypatch.setattr(Judge, "values", values)
    best = best_of_large(head, corpus, Judge(ranking, 1.0, 0.3))
    assert best.codebook is None
    assert np.array_equal(best.weight, head.weight) == trained


def test_more_bits_than_dimensions_have_the_trained_projection_alone(corpus, ranking):
    wide = fit_distill(corpus, 40, options=DistillOptions(steps=1, codebook="never"))
    assert np.array_equal(best_of_large(wide, corpus, Judge(ranking, 1.0, 0.3)).weight, wide.weight)


def test_held_out_queries_have_no_part_in_what_they_judge(corpus, head, ranking, monkeypatch):
    rows = ranking.held_out_rows
    assert 0 < len(rows) < len(corpus.queries)
    held_out = ranking.held_out.given.vectors.numpy()
    np.testing.assert_allclose(
        np.sort(held_out[:, 0] * ranking.unit), np.sort(corpus.queries[rows, 0]), rtol=1e-5
    )
    others = corpus.queries.copy()
    others[rows] = np.random.default_rng(0).normal(size=(len(rows), corpus.dim))
    moved = replace(corpus, queries=others)
    prefer("alike", monkeypatch)
    first, second = (
        best_of_large(head, features, Judge(ranked(features), 1.0, 0.3)).tensors()
        for features in (corpus, moved)
    )
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


def test_features_without_some_queries(corpus):
    clean = replace(corpus, clean_queries=corpus.queries + np.float32(1))
    kept = clean.without_queries(np.array([0, 2]))
    np.testing.assert_array_equal(kept.queries, np.delete(corpus.queries, [0, 2], axis=0))
    np.testing.assert_array_equal(kept.clean_queries, kept.queries + np.float32(1))
    np.testing.assert_array_equal(kept.sources, np.delete(corpus.sources, [0, 2]))
    none = clean.without_queries(np.arange(len(corpus.queries)))
    assert none.queries is none.sources is none.clean_queries is None
    assert none.documents is corpus.documents
    alone = TrainingFeatures(corpus.documents)
    assert alone.without_queries(np.array([0])) is alone


def test_a_large_corpus_is_judged_and_gets_a_lighter_pull_and_no_anchors(corpus, monkeypatch):
    def pull(head):
        """How strongly codes are held, whatever the scale of the projection's logits."""
        return head.codebook.pull[0] * head.document_logits(corpus.documents).std()

    options = DistillOptions(steps=10, max_queries=300)
    small = fit_distill(corpus, 16, options=options)
    assert small.codebook.anchor_keys is not None
    monkeypatch.setattr("llmhash.heads.distance_codebook._KNOWN", 999)
    prefer("alike", monkeypatch)
    large = fit_distill(corpus, 16, options=options)
    assert large.codebook.anchor_keys is None
    assert 0 < pull(large) < 0.5 * pull(small)
    monkeypatch.setattr("llmhash.heads.distance_codebook._ALIKE", 999)
    local = fit_distill(corpus, 16, options=options)
    assert local.codebook.local is not None
    assert 0 < pull(local) < pull(large)
    # Wide codes are worth no local maps, unless one asks for them.
    with monkeypatch.context() as patch:
        patch.setattr("llmhash.heads.codebook_choice._MOST_LOCAL_BITS", 15)
        assert fit_distill(corpus, 16, options=options).codebook is None
        assert fit_distill(corpus, 16, options=replace(options, codebook="always")).codebook is not None
    asked = fit_distill(corpus, 16, options=replace(options, pull=0.3))
    assert pull(asked) > pull(small)
    prefer("none", monkeypatch)
    assert fit_distill(corpus, 16, options=options).codebook is None
    assert fit_distill(corpus, 16, options=replace(options, codebook="always")).codebook is not None


@pytest.mark.parametrize("local", [False, True])
def test_a_large_corpus_s_codes_serve_both_searches(corpus, monkeypatch, local):
    monkeypatch.setattr("llmhash.heads.distance_codebook._KNOWN", 999)
    if local:
        monkeypatch.setattr("llmhash.heads.distance_codebook._ALIKE", 999)
    head = fit_distill(corpus, 16, options=DistillOptions(steps=40, codebook="always"))
    codes = head.document_codes(corpus.documents)
    distances = head.query_codes(corpus.queries).hamming(codes)
    own = distances[np.arange(len(corpus.queries)), corpus.sources]
    assert own.mean() < 0.5 * distances.mean()
    scores = asymmetric_scores(head.asymmetric_queries(corpus.queries), Codes(codes.packed, 16))
    best = scores.argmax(axis=1)
    near = (corpus.documents[best] * corpus.queries).sum(axis=1)
    assert near.mean() > 0.9 * (corpus.documents[corpus.sources] * corpus.queries).sum(axis=1).mean()
