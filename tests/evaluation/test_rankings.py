from __future__ import annotations

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.evaluation.rankings import (
    Asymmetric,
    AsymmetricScan,
    Block,
    FloatRanking,
    HammingRanking,
    Int8Documents,
    Int8Rescored,
    best_rows,
)
from llmhash.index import NormCorrection, TableQueries, asymmetric_scores, asymmetric_search
from llmhash.metrics import Judgements

EVERY = slice(0, 6)


@pytest.fixture(params=[5, 16, 64, 100])
def logits(request):
    """Logits of 6 queries and of 80 documents, many of whose codes are equal."""
    rng = np.random.default_rng(request.param)
    documents = rng.normal(size=(20, request.param))[rng.integers(0, 20, size=80)]
    return rng.normal(size=(6, request.param)).astype(np.float32), documents.astype(np.float32)


def test_hamming_distances(logits):
    queries, documents = logits
    block = HammingRanking(Codes.from_logits(queries), Codes.from_logits(documents)).block(EVERY)
    expected = ((queries > 0)[:, None, :] != (documents > 0)[None, :, :]).sum(axis=-1)
    np.testing.assert_array_equal(block.values, expected)
    assert block.distance_bits == queries.shape[1]


def test_the_scan_is_the_product_with_plus_and_minus_one(logits):
    queries, documents = logits
    values = AsymmetricScan(queries, Codes.from_logits(documents)).block(EVERY).values
    weights = queries / np.abs(queries).sum(axis=1, keepdims=True, dtype=float)
    np.testing.assert_allclose(values, weights @ np.where(documents > 0, 1.0, -1.0).T, rtol=0, atol=1e-6)


def test_equal_codes_tie_exactly_in_the_scan(logits):
    queries, documents = logits
    codes = Codes.from_logits(documents)
    values = AsymmetricScan(queries, codes).block(EVERY).values
    for packed in np.unique(codes.packed, axis=0):
        same = (codes.packed == packed).all(axis=1)
        assert len(np.unique(values[0, same])) == 1


@pytest.mark.parametrize("count", [1, 7, 80, 200])
def test_asymmetric_candidates_are_the_nearest_by_distance_and_insertion(logits, count):
    queries, documents = logits
    codes = Codes.from_logits(documents)
    block = Asymmetric(queries, codes, count).block(EVERY)
    distances = Codes.from_logits(queries).hamming(codes)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(np.sort(block.candidates, axis=1), np.sort(expected, axis=1))
    scan = AsymmetricScan(queries, codes).block(EVERY).values
    np.testing.assert_array_equal(block.values, np.take_along_axis(scan, block.candidates, axis=1))


def test_blocks_are_the_rows_asked_for(logits):
    queries, documents = logits
    codes = Codes.from_logits(documents)
    for ranking in (
        FloatRanking(queries, documents),
        HammingRanking(Codes.from_logits(queries), codes),
        AsymmetricScan(queries, codes),
        Asymmetric(queries, codes, 9),
    ):
        whole, part = ranking.block(EVERY), ranking.block(slice(2, 5))
        np.testing.assert_allclose(part.values, whole.values[2:5], atol=1e-5)


def test_int8_rescoring_is_close_to_float():
    rng = np.random.default_rng(0)
    documents = (rng.normal(size=(90, 24)) * rng.uniform(0.1, 10, size=(90, 1))).astype(np.float32)
    queries = rng.normal(size=(6, 24)).astype(np.float32)
    stored = Int8Documents.encode(documents)
    assert stored.bytes_per_document == 24 + 4
    scan = AsymmetricScan(queries, Codes.from_logits(documents))
    block = Int8Rescored(scan, queries, stored, 30).block(EVERY)
    np.testing.assert_array_equal(block.candidates, best_rows(scan.block(EVERY).values, 30))
    exact = np.take_along_axis(queries @ documents.T, block.candidates, axis=1)
    # Half a quantization step a component.
    bound = np.abs(queries).sum(axis=1, keepdims=True) * np.abs(documents).max() / 254
    assert (np.abs(block.values - exact) <= bound + 1e-4).all()
    assert np.abs(block.values - exact).max() > 0


def test_equal_documents_tie_exactly_after_int8_rescoring():
    rng = np.random.default_rng(0)
    documents = np.repeat(rng.normal(size=(11, 37)).astype(np.float32), 3, axis=0)
    queries = rng.normal(size=(6, 37)).astype(np.float32)
    stored = Int8Documents.encode(documents)
    block = Int8Rescored(AsymmetricScan(queries, Codes.from_logits(documents)), queries, stored, 99).block(
        EVERY
    )
    assert (np.ptp(block.values.reshape(6, 11, 3), axis=2) == 0).all()


@pytest.fixture
def corrected():
    """Six queries with tables and a correction, and 90 documents' codes."""
    rng = np.random.default_rng(0)
    vectors, points = rng.normal(size=(4, 256, 8)), rng.normal(size=(6, 8))
    tables = np.einsum("qd,mad->qma", points, vectors).astype(np.float32)
    correction = NormCorrection(vectors.astype(np.float32), np.zeros((4, 256), np.float32))
    own = Codes(rng.integers(0, 256, (6, 4), dtype=np.uint8), 32)
    return TableQueries(own, tables, correction), Codes(rng.integers(0, 256, (90, 4), dtype=np.uint8), 32)


@pytest.mark.parametrize("most", [20, 1000])
def test_a_corrected_scan_is_what_a_search_returns(corrected, most, monkeypatch):
    monkeypatch.setattr("llmhash.index.asymmetric.CORRECTED", most)
    monkeypatch.setattr("llmhash.evaluation.rankings.CORRECTED", most)
    queries, documents = corrected
    block = AsymmetricScan(queries, documents).block(EVERY)
    scores, rows = asymmetric_search(queries, documents, 10)
    assert block.candidates.shape == (6, min(most, 90))
    np.testing.assert_array_equal(block.candidates[:, :10], rows)
    np.testing.assert_array_equal(block.values[:, :10], scores)
    everywhere = np.argsort(-asymmetric_scores(queries, documents), axis=1)[:, :10]
    assert (rows == everywhere).all() == (most == 1000)


def test_the_best_of_a_scan_are_rows_of_the_corpus(corrected):
    queries, documents = corrected
    plain = TableQueries(queries.codes, queries.tables)
    for asked in (queries, plain):
        best = AsymmetricScan(asked, documents).best(slice(1, 4), 7)
        expected = np.argsort(-asymmetric_scores(asked, documents)[1:4], axis=1)[:, :7]
        np.testing.assert_array_equal(np.sort(best, axis=1), np.sort(expected, axis=1))
    rng = np.random.default_rng(1)
    stored = Int8Documents.encode(rng.normal(size=(90, 24)).astype(np.float32))
    floats = rng.normal(size=(6, 24)).astype(np.float32)
    rescored = Int8Rescored(AsymmetricScan(queries, documents), floats, stored, 7).block(slice(1, 4))
    expected = np.argsort(-asymmetric_scores(queries, documents)[1:4], axis=1)[:, :7]
    np.testing.assert_array_equal(np.sort(rescored.candidates, axis=1), np.sort(expected, axis=1))


def test_as_many_candidates_as_asked_for_are_corrected(corrected, monkeypatch):
    monkeypatch.setattr("llmhash.index.asymmetric.CORRECTED", 5)
    monkeypatch.setattr("llmhash.evaluation.rankings.CORRECTED", 5)
    queries, documents = corrected
    best = AsymmetricScan(queries, documents).best(slice(0, 6), 7)
    _, rows = asymmetric_search(queries, documents, 7)
    np.testing.assert_array_equal(np.sort(best, axis=1), np.sort(rows, axis=1))


def test_distances_rank_alike_whether_ties_are_open_or_ordered():
    distances = np.array([[3, 1, 3, 0]], dtype=np.uint16)
    judgements = Judgements.from_rows(np.array([[0, 3]]))
    block = Block(distances, distance_bits=4)
    open_ties = block.ranks(judgements)
    assert (open_ties.above.tolist(), open_ties.tied.tolist()) == ([2, 0], [2, 1])
    ordered = block.ranks(judgements, np.array([3, 2, 1, 0]))
    assert (ordered.above.tolist(), ordered.tied.tolist()) == ([3, 0], [1, 1])


def test_candidates_rank_among_themselves():
    block = Block(np.array([[2.0, 1.0, -np.inf]]), candidates=np.array([[5, 0, -1]]))
    ranks = block.ranks(Judgements.from_rows(np.array([[0, 3]])))
    assert (ranks.above.tolist(), ranks.tied.tolist()) == ([1, 0], [1, 0])
    ordered = block.ranks(Judgements.from_rows(np.array([[0, 3]])), np.arange(6))
    assert (ordered.above.tolist(), ordered.tied.tolist()) == ([1, 0], [1, 0])


def test_best_rows_takes_lower_rows_among_equals():
    scores = np.array([[1, 3, 2, 3, 2, 2], [0, 0, 0, 0, 0, 0]], dtype=np.float32)
    assert best_rows(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert best_rows(scores, 9).tolist() == [[0, 1, 2, 3, 4, 5]] * 2
