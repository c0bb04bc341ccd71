"""The rca head: relevant component analysis, then ITQ."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads import fit_head
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.rca import fit_rca
from llmhash.index import asymmetric_scores

DIM, DOCUMENTS = 24, 3000
# Queries are far off their documents where documents differ most.
SPREAD = np.where(np.arange(DIM) % 2, 2.5, 0.2).astype(np.float32)
SCALE = np.where(np.arange(DIM) % 2, 1.5, 1.0).astype(np.float32)
SHIFT = np.linspace(-1.5, 1.5, DIM).astype(np.float32)


def near(rows, seed):
    return rows + SPREAD * np.random.default_rng(seed).normal(size=rows.shape).astype(np.float32)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    rows = (SCALE * rng.normal(size=(DOCUMENTS, DIM))).astype(np.float32)
    sources = rng.integers(DOCUMENTS, size=2000)
    return TrainingFeatures(rows, near(rows[sources], 1), sources)


def found(head, queries, documents, *, hamming=False):
    """Mean reciprocal rank of each query's own document, the first ones."""
    codes = head.document_codes(documents)
    if hamming:
        values = -head.query_codes(queries).hamming(codes).astype(np.float32)
    else:
        values = asymmetric_scores(head.asymmetric_queries(queries), codes)
    own = values.diagonal()[:, None]
    return float((1 / (1 + (values > own).sum(axis=1) + ((values == own).sum(axis=1) - 1) / 2)).mean())


@pytest.mark.parametrize("hamming", [False, True])
def test_new_queries_find_their_documents_better_than_by_itq(features, hamming):
    queries = near(features.documents[:400], 5)
    ours, theirs = (
        found(fit_head(name, features, 12), queries, features.documents, hamming=hamming)
        for name in ("rca", "itq")
    )
    assert ours > 1.5 * theirs


def test_queries_have_their_own_mean(features):
    moved = replace(features, queries=features.queries + SHIFT)
    head = fit_rca(moved, 12)
    assert not head.shared
    queries = near(features.documents[:400], 5)
    with_it = found(head, queries + SHIFT, features.documents, hamming=True)
    without = found(replace(head, query_bias=None), queries + SHIFT, features.documents, hamming=True)
    assert with_it == pytest.approx(
        found(fit_rca(features, 12), queries, features.documents, hamming=True), abs=0.01
    )
    assert with_it > 1.1 * without


def test_without_queries_both_sides_are_alike_and_near_documents_tell():
    rng = np.random.default_rng(3)
    centres = np.repeat(SCALE * rng.normal(size=(DOCUMENTS // 4, DIM)), 4, axis=0)
    documents = (centres + SPREAD / 4 * rng.normal(size=centres.shape)).astype(np.float32)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    alone = TrainingFeatures(documents)

    def together(head):
        """How far documents of one centre are apart, over how far any two are."""
        bits = head.document_logits(documents)[::4] > 0
        return (bits != (head.document_logits(documents)[1::4] > 0)).mean() / (bits != bits[::-1]).mean()

    assert fit_rca(alone, 12).shared
    assert together(fit_rca(alone, 12)) < 0.8 * together(fit_head("itq", alone, 12))


def test_bits_are_balanced_on_the_corpus(features):
    bits = fit_rca(features, 24).document_logits(features.documents) > 0
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.05)


def test_the_same_seed_gives_the_same_head_and_it_is_stored(features):
    head = fit_rca(features, 12)
    np.testing.assert_array_equal(fit_rca(features, 12).weight, head.weight)
    assert (fit_rca(features, 12, seed=1).weight != head.weight).any()
    loaded = AffineHead.from_tensors(head.tensors())
    np.testing.assert_array_equal(loaded.query_logits(features.queries), head.query_logits(features.queries))


def test_documents_that_are_all_alike_are_no_error():
    same = np.ones((300, DIM), np.float32)
    assert len(fit_rca(TrainingFeatures(same), 8).document_codes(same)) == 300


def test_all_of_the_identity_is_itq(features):
    alone = TrainingFeatures(features.documents)
    ours = fit_rca(alone, 12, shrinkage=1.0).document_logits(features.documents) > 0
    theirs = fit_head("itq", alone, 12).document_logits(features.documents) > 0
    assert (ours == theirs).mean() > 0.99


def test_shrinkage_is_a_share(features):
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="shrinkage must be above 0 and at most 1"):
            fit_head("rca", features, 12, options={"shrinkage": wrong})
    with pytest.raises(InputError, match="shrinkage must be a number, not 'half'"):
        fit_head("rca", features, 12, options={"shrinkage": "half"})


def test_no_more_bits_than_dimensions(features):
    with pytest.raises(InputError, match="24"):
        fit_rca(features, 25)
