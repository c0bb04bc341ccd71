from dataclasses import replace

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads import adapt as module
from llmhash.heads.adapt import adapt
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.distill import DistillOptions, fit_distill
from llmhash.heads.projection import fit_itq
from llmhash.heads.rca import fit_rca
from llmhash.index import asymmetric_scores

EACH = 5


def grouped(seed):
    """Documents of small groups, within which they differ in some directions more than in others."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    mixing, groups = fixed.normal(size=(24, 24)), np.repeat(fixed.normal(size=(300, 24)), EACH, axis=0)
    within = rng.normal(size=groups.shape) * np.linspace(0.05, 0.8, 24)
    return ((groups + within) @ mixing + 10).astype(np.float32)


def centred(seed):
    """The same, centred."""
    return grouped(seed) - 10


@pytest.fixture
def elsewhere():
    """A head fitted on one corpus, and the documents of another, which lie to one side of it."""
    first = np.random.default_rng(1).normal(size=(2000, 24)) @ np.random.default_rng(0).normal(size=(24, 24))
    return fit_itq(TrainingFeatures(first.astype(np.float32)), 16), grouped(seed=1)


def found(head, documents, queries):
    """Share of queries that find one of their group first."""
    scores = asymmetric_scores(head.asymmetric_queries(queries), head.document_codes(documents))
    return (scores.argmax(axis=1) // EACH == np.arange(len(queries)) // EACH).mean()


def test_bits_are_balanced_on_the_corpus(elsewhere):
    head, documents = elsewhere
    documents = documents[: module.OWN_DOCUMENTS - 1]
    adapted = adapt(head, documents)
    assert np.abs((head.document_logits(documents) > 0).mean(axis=0) - 0.5).mean() > 0.3
    np.testing.assert_allclose((adapted.document_logits(documents) > 0).mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_array_equal(adapted.weight, head.weight)
    assert adapted.codebook is None


def test_each_step_ranks_better(elsewhere):
    head, documents = elsewhere
    queries = grouped(seed=2)
    alone = found(head, documents, queries)
    centred = found(adapt(head, documents[: module.OWN_DOCUMENTS - 1]), documents, queries)
    own = found(adapt(head, documents, codebook=False), documents, queries)
    whole = found(adapt(head, documents), documents, queries)
    assert alone + 0.1 < centred < own - 0.1 < whole - 0.2


@pytest.mark.parametrize("bits", [16, 32])
def test_where_queries_lie_off_documents_is_read_from_their_thresholds(elsewhere, bits):
    """As far as the projection sees it: all of it where there are as many bits as dimensions."""
    _, documents = elsewhere
    head = fit_distill(TrainingFeatures(documents), bits, options=DistillOptions(steps=1, codebook="never"))
    off = np.random.default_rng(2).normal(size=24).astype(np.float32)
    adapted = adapt(replace(head, query_bias=head.bias - head.weight @ off), documents)
    book = adapted.codebook
    away = -np.linalg.solve(book.query_map, book.query_shift) - documents.mean(axis=0)
    if bits < 24:
        assert 0.2 < np.linalg.norm(away - off) / np.linalg.norm(off) < 0.9
        off, away = head.weight @ off, head.weight @ away
    np.testing.assert_allclose(away, off, atol=0.02 * np.abs(off).max())
    # Thresholds of two projections tell nothing of it.
    apart = replace(head, query_weight=-head.weight, query_bias=head.bias + 1)
    book = adapt(apart, documents).codebook
    np.testing.assert_allclose(
        book.query_shift, -book.query_map @ documents.mean(axis=0), rtol=1e-3, atol=0.1
    )


def test_queries_thresholds_move_as_documents_do(elsewhere):
    head, documents = elsewhere
    other = AffineHead(head.weight, head.bias, query_bias=head.bias + 1)
    adapted = adapt(other, documents, codebook=False)
    np.testing.assert_allclose(adapted.query_bias, adapted.bias + 1, rtol=1e-5)


def test_enough_documents_bring_their_own_projection(elsewhere):
    head, documents = elsewhere
    adapted = adapt(head, documents)
    own = fit_rca(TrainingFeatures(documents), 16, shrinkage=module._SHRINKAGE)
    np.testing.assert_array_equal(adapted.weight, own.weight)
    bare = adapt(head, documents, codebook=False)
    np.testing.assert_array_equal(bare.weight, adapted.weight)


def test_anchors_find_more_by_hamming_than_the_logits(elsewhere):
    """Of embeddings as teachers give them: as long as each other, and about the middle."""
    head, _ = elsewhere
    documents, queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in map(centred, (1, 2)))
    adapted = adapt(head, documents)
    plain = dict.fromkeys(("anchor_keys", "anchor_offsets", "anchor_votes"))
    logits_alone = replace(adapted, codebook=replace(adapted.codebook, **plain))
    codes = adapted.document_codes(documents)
    own = np.arange(len(queries)) // EACH
    shares = []
    for each in (logits_alone, adapted):
        nearest = each.query_codes(queries).hamming(codes).argsort(axis=1, kind="stable")[:, :EACH]
        shares.append((nearest // EACH == own[:, None]).mean())
    assert shares[1] > shares[0] + 0.05


def test_codes_of_many_documents_are_held_less_and_queries_alike(elsewhere, monkeypatch):
    head, documents = elsewhere
    few = adapt(head, documents).codebook
    monkeypatch.setattr("llmhash.heads.distance_codebook._KNOWN", len(documents) - 1)
    told = []
    many = adapt(head, documents, progress=lambda *state: told.append(state)).codebook
    assert 0 < many.pull[0] < few.pull[0] / 2
    np.testing.assert_array_equal(many.query_mean, many.mean)
    assert told[-1] == (8, 8, "codebook")


def test_a_head_that_tells_the_sides_apart_keeps_its_projection(elsewhere):
    head, documents = elsewhere
    adapted = adapt(AffineHead(head.weight, head.bias, query_bias=head.bias + 1), documents)
    np.testing.assert_array_equal(adapted.weight, head.weight)
    np.testing.assert_allclose(adapted.query_bias, adapted.bias + 1, rtol=1e-5)
    assert adapted.codebook.query_mean is None


def test_small_corpora_give_no_codebook_or_nothing(elsewhere):
    head, documents = elsewhere
    assert adapt(head, documents[: module.FEWEST_DOCUMENTS - 1]) is head
    few, enough = documents[: module.OWN_DOCUMENTS - 1], documents[: module.OWN_DOCUMENTS]
    assert adapt(head, few).codebook is None
    assert adapt(head, few).weight is head.weight
    assert adapt(head, enough).codebook is not None
    assert adapt(head, enough, codebook=False).codebook is None
    assert adapt(head.truncated(13), documents).codebook is None


def test_features_of_another_teacher_are_refused(elsewhere):
    head, documents = elsewhere
    for wrong in (documents[:, :5], documents[:0]):
        with pytest.raises(InputError, match=r"features \(n, 24\)"):
            adapt(head, wrong)
