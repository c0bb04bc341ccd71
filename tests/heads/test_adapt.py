import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads import adapt as module
from llmhash.heads.adapt import adapt
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import fit_itq
from llmhash.heads.rca import fit_rca


@pytest.fixture
def elsewhere():
    """A head fitted on one corpus, and the documents of another, which lie to one side of it."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(24, 24))
    first = (rng.normal(size=(2000, 24)) @ mixing).astype(np.float32)
    other = (rng.normal(size=(1500, 24)) * np.linspace(0.2, 1.5, 24) @ mixing + 8).astype(np.float32)
    return fit_itq(TrainingFeatures(first), 16), other


def kept(head, documents, queries, k=10):
    """Share of the teacher's top k that the asymmetric score finds."""
    scores = head.asymmetric_queries(queries)
    codes = head.document_codes(documents)
    if isinstance(scores, np.ndarray):
        found = scores @ codes.to_pm1(np.float32).T
    else:
        tables = head.codebook.query_tables(queries)
        found = sum(tables[:, byte, codes.packed[:, byte]] for byte in range(codes.packed.shape[1]))
    teacher = np.argsort(-(queries @ documents.T), axis=1)[:, :k]
    ranked = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(teacher, ranked, strict=True)])


def test_bits_are_balanced_on_the_corpus(elsewhere):
    head, documents = elsewhere
    documents = documents[: module.OWN_DOCUMENTS - 1]
    adapted = adapt(head, documents)
    assert np.abs((head.document_logits(documents) > 0).mean(axis=0) - 0.5).mean() > 0.3
    np.testing.assert_allclose((adapted.document_logits(documents) > 0).mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_array_equal(adapted.weight, head.weight)
    assert adapted.codebook is None


def test_each_step_ranks_closer_to_the_teacher(elsewhere):
    head, documents = elsewhere
    queries = documents[:200] + np.random.default_rng(1).normal(0, 0.5, (200, 24)).astype(np.float32)
    alone = kept(head, documents, queries)
    centred = kept(adapt(head, documents[: module.OWN_DOCUMENTS - 1]), documents, queries)
    own = kept(adapt(head, documents, codebook=False), documents, queries)
    whole = kept(adapt(head, documents), documents, queries)
    assert centred > alone + 0.03
    assert whole > centred + 0.1
    assert own > centred
    assert whole > own + 0.05


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
    np.testing.assert_array_equal(adapted.codebook.query_mean, adapted.codebook.mean)
    bare = adapt(head, documents, codebook=False)
    np.testing.assert_array_equal(bare.weight, adapted.weight)


def test_wide_codes_of_queries_are_the_signs(elsewhere, monkeypatch):
    monkeypatch.setattr(module, "_CHOSEN_QUERY_BITS", 8)
    head, documents = elsewhere
    assert adapt(head, documents).codebook.query_mean is None


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
