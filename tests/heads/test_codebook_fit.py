"""Fitting a codebook, and whether it is taken."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash.heads import fit_head
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_fit import _bits_alone, _counts, _fit_tables, fit_codebook, membership
from llmhash.heads.distill import DistillOptions, fit_distill


def error(documents, vectors, mean):
    """The mean squared distance of vectors from the centred documents that they stand for."""
    return np.square((documents - mean - vectors).astype(np.float64)).sum(axis=1).mean()


def test_it_lowers_the_error_far_below_that_of_the_bits_alone(corpus, head):
    documents = corpus.documents
    book = fit_codebook(documents, head, pull=0.0, rounds=3)
    signs = head.document_codes(documents).packed
    bits = replace(book, tables=_bits_alone(documents - book.mean, signs)).decode(signs)
    ours = book.decode(book.encode(documents, head.document_logits(documents)))
    assert error(documents, ours, book.mean) < 0.5 * error(documents, bits, book.mean)


def test_many_documents_are_fitted_as_few_are(corpus, head, monkeypatch):
    """Only the arithmetic differs: how often values stand together, or the codes themselves."""
    documents = corpus.documents
    book = fit_codebook(documents, head, pull=0.0, rounds=3)
    x = documents - book.mean
    codes = book.encode(documents, head.document_logits(documents))
    few = _fit_tables(x, codes, book.tables)
    monkeypatch.setattr("llmhash.heads.codebook_fit._FEW", 100)
    many = _fit_tables(x, codes, book.tables)
    np.testing.assert_allclose(many, few, atol=1e-4)


def test_values_that_stand_together_are_counted():
    codes = np.random.default_rng(0).integers(0, 256, (500, 3), dtype=np.uint8)
    chosen = membership(codes.astype(np.int64))
    np.testing.assert_array_equal(_counts(codes), (chosen.T @ chosen).toarray())


def test_it_serves_documents_that_it_was_not_fitted_on(corpus, head):
    fitted, new = corpus.documents[:700], corpus.documents[700:]
    book = fit_codebook(fitted, head, pull=0.0, rounds=3)
    x = fitted - book.mean
    bits = replace(book, tables=_bits_alone(x, head.document_codes(fitted).packed))
    ours = book.decode(book.encode(new, head.document_logits(new)))
    theirs = bits.decode(head.document_codes(new).packed)
    assert error(new, ours, book.mean) < error(new, theirs, book.mean)


def test_pull_trades_the_error_for_the_signs(corpus, head):
    documents, logits = corpus.documents, head.document_logits(corpus.documents)
    agreement, errors = [], []
    for pull in (0.0, 0.15, 100.0):
        book = fit_codebook(documents, head, pull=pull, rounds=3)
        codes = book.encode(documents, logits)
        agreement.append(np.mean(np.unpackbits(codes, axis=1) == (logits > 0)))
        errors.append(error(documents, book.decode(codes), book.mean))
    assert agreement[0] < agreement[1] < agreement[2]
    assert agreement[2] > 0.99
    assert errors[0] < errors[1] < errors[2]


def test_what_pull_means_does_not_hang_on_the_teacher_s_scale(corpus, head):
    scaled = AffineHead(head.weight / 4, head.bias)
    plain = fit_codebook(corpus.documents, head, pull=0.15, rounds=3)
    larger = fit_codebook(corpus.documents * 4, scaled, pull=0.15, rounds=3)
    np.testing.assert_allclose(larger.mean, 4 * plain.mean, rtol=1e-5)
    codes = plain.encode(corpus.documents, head.document_logits(corpus.documents))
    others = larger.encode(corpus.documents * 4, scaled.document_logits(corpus.documents * 4))
    np.testing.assert_array_equal(codes, others)


def test_tables_solve_the_normal_equations(monkeypatch):
    """`(S' S + 1) C = S' x + C_prior`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    codes = rng.integers(0, 6, (60, 2), dtype=np.uint8)
    chosen, prior = membership(codes.astype(np.int64)).toarray().astype(np.float64), _bits_alone(x, codes)
    expected = np.linalg.solve(chosen.T @ chosen + np.eye(512), chosen.T @ x + prior.reshape(-1, 3))
    expected = expected.reshape(2, 256, 3)
    start = np.zeros((2, 256, 3), np.float32)
    few = _fit_tables(x, codes, start)
    monkeypatch.setattr("llmhash.heads.codebook_fit._CG_STEPS", 300)
    many = _fit_tables(x, codes, start)
    np.testing.assert_allclose(many, expected, atol=1e-3)
    assert np.abs(few - expected).max() < 0.1 * np.abs(expected).max()
    # Values that no document takes stand for what their bits do.
    np.testing.assert_allclose(many[:, 200], _bits_alone(x, codes)[:, 200], atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("bits", [8, 24])
def test_tiny_corpora(count, bits):
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(count, 6)).astype(np.float32)
    head = AffineHead(rng.normal(size=(bits, 6)).astype(np.float32), np.zeros(bits, np.float32))
    book = fit_codebook(documents, head, pull=0.15, rounds=3)
    logits = head.document_logits(documents)
    vectors = book.decode(book.encode(documents, logits))
    # No worse than the mean for every document.
    assert error(documents, vectors, book.mean) <= error(documents, 0 * vectors, book.mean) + 1e-6
    assert fit_distill(
        TrainingFeatures(documents), bits, options=DistillOptions(steps=5, codebook="always")
    ).codebook


@pytest.mark.parametrize("kind", ["equal documents", "constant bits", "zeros"])
def test_what_does_not_vary_does_no_harm(kind):
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(50, 6)).astype(np.float32)
    weight, bias = rng.normal(size=(16, 6)).astype(np.float32), np.zeros(16, np.float32)
    if kind == "constant bits":
        weight[4:12], bias[4:8], bias[8:12] = 0, 1, -1
    else:
        documents[:] = documents[0] if kind == "equal documents" else 0
    head = AffineHead(weight, bias)
    book = fit_codebook(documents, head, pull=0.15, rounds=3)
    codes = book.encode(documents, head.document_logits(documents))
    assert np.isfinite(book.decode(codes)).all()
    if kind != "constant bits":
        assert (codes == codes[0]).all()
        np.testing.assert_allclose(book.mean, documents[0], atol=1e-6)


# -- whether it is taken -------------------------------------------------------------------------


def test_never_always_and_auto(corpus):
    fits = {
        use: fit_head("distill", corpus, 16, options={"steps": 10, "codebook": use})
        for use in ("never", "always", "auto")
    }
    assert fits["never"].codebook is None
    assert fits["always"].codebook.mean is not None
    # Of a corpus this small tables know each document.
    np.testing.assert_array_equal(fits["auto"].codebook.tables, fits["always"].codebook.tables)
    for use in ("always", "auto"):
        np.testing.assert_array_equal(fits[use].weight, fits["never"].weight)


@pytest.mark.parametrize("bits", [1, 12, 20])
def test_codes_of_no_whole_bytes_have_none(corpus, bits):
    head = fit_head("distill", corpus, bits, options={"steps": 5, "codebook": "always"})
    assert head.codebook is None
    assert head.document_codes(corpus.documents).bits == bits


def test_unknown_uses_are_refused():
    with pytest.raises(ValueError, match="codebook must be one of auto, always, never, not 'maybe'"):
        DistillOptions(codebook="maybe")
    with pytest.raises(ValueError, match="pull must be at least 0"):
        DistillOptions(pull=-1.0)
