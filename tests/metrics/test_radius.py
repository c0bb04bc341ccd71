"""Counts by Hamming distance, and what they tell, against the definitions and all ways to break ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.metrics import (
    Judgements,
    RadiusCounts,
    Ranks,
    average_precision,
    precision,
    precision_recall_curve,
    radius,
    radius_precision,
    recall,
)


def make_case(seed, *, bits=5, queries=4, documents=7, labels=3):
    """Random codes and labels, several labels a document; every query has a relevant document."""
    rng = np.random.default_rng(seed)
    query_codes = Codes.pack(rng.integers(0, 2, (queries, bits)))
    codes = Codes.pack(rng.integers(0, 2, (documents, bits)))
    query_labels = rng.random((queries, labels)) < 0.4
    database_labels = rng.random((documents, labels)) < 0.4
    query_labels[:, 0] = database_labels[0, 0] = True
    return query_codes, codes, query_labels, database_labels


def brute_distances(queries, codes):
    return (queries.unpack()[:, None] != codes.unpack()[None]).sum(axis=2)


def brute_relevant(query_labels, database_labels):
    return (query_labels[:, None] & database_labels[None]).any(axis=2)


@pytest.mark.parametrize("bits", [1, 8, 17, 64, 130])
@pytest.mark.parametrize("block", [1, 30, 1 << 20])
def test_counts_are_those_of_all_pairs(bits, block, monkeypatch):
    monkeypatch.setattr(radius, "_BLOCK_PAIRS", block)
    case = make_case(bits, bits=bits, queries=11, documents=13)
    counts = RadiusCounts.from_codes(*case)
    distances, relevant = brute_distances(*case[:2]), brute_relevant(*case[2:])
    for distance in range(bits + 1):
        at = distances == distance
        assert counts.found[:, distance].tolist() == at.sum(axis=1).tolist()
        assert counts.relevant[:, distance].tolist() == (at & relevant).sum(axis=1).tolist()
    assert (len(counts), counts.bits) == (11, bits)
    assert counts.found.dtype == counts.relevant.dtype == np.int64
    assert counts.positives.tolist() == relevant.sum(axis=1).tolist()


def test_the_widest_codes_fit_the_bins():
    zeros, ones = Codes.pack(np.zeros((1, 4096))), Codes.pack(np.ones((2, 4096)))
    counts = RadiusCounts.from_codes(zeros, ones, np.array([[True]]), np.array([[True], [False]]))
    assert (counts.found[0, -1], counts.relevant[0, -1], counts.found.sum()) == (2, 1, 2)


def test_an_empty_database_has_nothing_at_any_distance():
    _, codes, _, labels = make_case(0)
    counts = RadiusCounts.from_codes(codes, codes[:0], labels, labels[:0])
    assert counts.found.sum() == 0
    assert counts.precision(3).tolist() == [0.0] * len(codes)
    assert np.isnan(counts.average_precision()).all()


def strict_precision(k):
    return lambda ranked, positive: sum(grade > 0 for grade in ranked[:k]) / k


def strict_recall(k):
    return lambda ranked, positive: sum(grade > 0 for grade in ranked[:k]) / len(positive)


def strict_average_precision(ranked, positive):
    places = [place for place, grade in enumerate(ranked, start=1) if grade > 0]
    return sum(found / place for found, place in enumerate(places, start=1)) / len(positive)


@pytest.mark.parametrize(
    ("metric", "strict"),
    [
        *[(lambda counts, k=k: counts.precision(k), strict_precision(k)) for k in (1, 2, 4, 20)],
        *[(lambda counts, k=k: counts.recall(k), strict_recall(k)) for k in (1, 2, 4, 20)],
        (RadiusCounts.average_precision, strict_average_precision),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_mean_over_all_ways_to_break_ties(metric, strict, seed, enumerate_ties):
    case = make_case(seed, bits=1 + seed % 3)
    scores = -brute_distances(*case[:2]).astype(np.float32)
    grades = [dict.fromkeys(np.flatnonzero(own), 1.0) for own in brute_relevant(*case[2:])]
    expected = [enumerate_ties(strict, row, graded) for row, graded in zip(scores, grades, strict=True)]
    np.testing.assert_allclose(metric(RadiusCounts.from_codes(*case)), expected, rtol=0, atol=1e-12)


def test_agrees_with_the_metrics_of_single_documents():
    case = make_case(3, bits=12, queries=40, documents=300, labels=5)
    counts = RadiusCounts.from_codes(*case)
    relevant = brute_relevant(*case[2:])
    rows = np.where(relevant, np.arange(300), -1)
    ranks = Ranks.from_distances(brute_distances(*case[:2]), Judgements.from_rows(rows), 12)
    np.testing.assert_allclose(counts.precision(100), precision(ranks, 100), rtol=1e-12)
    np.testing.assert_allclose(counts.recall(100), recall(ranks, 100), rtol=1e-12)
    np.testing.assert_allclose(counts.average_precision(), average_precision(ranks), rtol=1e-12)


def test_by_hand():
    # At distance 0 two documents, one relevant; at distance 2 three, all relevant.
    counts = RadiusCounts(np.array([[2, 0, 3]]), np.array([[1, 0, 3]]))
    assert counts.precision(1) == pytest.approx(1 / 2)
    assert counts.precision(3) == pytest.approx(2 / 3)
    assert counts.precision(10) == pytest.approx(4 / 10)
    assert counts.recall(3) == pytest.approx(2 / 4)
    first = (1 + 1 / 2) / 2
    assert counts.average_precision() == pytest.approx((first + 2 / 3 + 3 / 4 + 4 / 5) / 4)


def test_a_query_without_a_relevant_document_counts_in_precision_alone():
    counts = RadiusCounts(np.array([[1, 1], [1, 1]]), np.array([[0, 0], [1, 0]]))
    assert counts.precision(1).tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(counts.recall(1), [np.nan, 1.0])
    np.testing.assert_array_equal(counts.average_precision(), [np.nan, 1.0])


def test_radius_precision_tells_what_lies_within():
    counts = RadiusCounts(np.array([[0, 4, 0, 6], [1, 0, 0, 2]]), np.array([[0, 1, 0, 5], [1, 0, 0, 0]]))
    np.testing.assert_array_equal(radius_precision(counts, 0), [np.nan, 1.0])
    np.testing.assert_array_equal(radius_precision(counts, 2), [1 / 4, 1.0])
    np.testing.assert_array_equal(radius_precision(counts, 3), [6 / 10, 1 / 3])
    np.testing.assert_array_equal(radius_precision(counts, 99), radius_precision(counts, 3))


@pytest.mark.parametrize("seed", range(4))
def test_precision_recall_curve_over_the_radius(seed):
    case = make_case(seed, bits=6, queries=9, documents=8)
    case[2][0] = False  # A query to which nothing is relevant.
    distances, relevant = brute_distances(*case[:2]), brute_relevant(*case[2:])
    micro, macro = (
        precision_recall_curve(RadiusCounts.from_codes(*case), average) for average in ("micro", "macro")
    )
    radii = [limit for limit in range(7) if (distances <= limit).any()]
    assert micro.radius.tolist() == macro.radius.tolist() == radii
    for place, within in enumerate(distances <= limit for limit in radii):
        hits = within & relevant
        assert micro.precision[place] == pytest.approx(hits.sum() / within.sum())
        assert micro.recall[place] == pytest.approx(hits.sum() / relevant.sum())
        answered, judged = within.any(axis=1), relevant.any(axis=1)
        own = hits.sum(axis=1)[answered] / within.sum(axis=1)[answered]
        assert macro.precision[place] == pytest.approx(own.mean())
        own = hits.sum(axis=1)[judged] / relevant.sum(axis=1)[judged]
        assert macro.recall[place] == pytest.approx(own.mean())
    assert micro.recall[-1] == macro.recall[-1] == pytest.approx(1.0)


def test_a_curve_without_relevant_documents_has_no_recall():
    counts = RadiusCounts(np.array([[1, 1]]), np.array([[0, 0]]))
    for average in ("micro", "macro"):
        curve = precision_recall_curve(counts, average)
        assert curve.precision.tolist() == [0.0, 0.0]
        assert np.isnan(curve.recall).all()


def test_a_large_tied_group_stays_exact():
    # A million documents in one bucket, a tenth of them relevant.
    counts = RadiusCounts(np.array([[1_000_000]]), np.array([[100_000]]))
    h = math.fsum(1 / place for place in range(1, 1_000_001))
    expected = (h + 99_999 / 999_999 * (1_000_000 - h)) / 1_000_000
    assert counts.average_precision() == pytest.approx(expected, rel=1e-9)
    assert counts.precision(100) == pytest.approx(0.1)


def test_wrong_input_is_refused():
    queries, codes, query_labels, labels = make_case(0)
    with pytest.raises(InputError, match=r"labels of 7 documents are a matrix \(7, labels\)"):
        RadiusCounts.from_codes(queries, codes, query_labels, labels[:-1])
    with pytest.raises(InputError, match="queries have 2 labels and documents 3"):
        RadiusCounts.from_codes(queries, codes, query_labels[:, :2], labels)
    with pytest.raises(InputError, match="5 and 9 bits"):
        RadiusCounts.from_codes(queries, Codes.pack(np.ones((7, 9))), query_labels, labels)
    counts = RadiusCounts.from_codes(queries, codes, query_labels, labels)
    with pytest.raises(InputError, match="k must be at least 1"):
        counts.precision(0)
    with pytest.raises(InputError, match="radius is at least 0"):
        radius_precision(counts, -1)
    with pytest.raises(InputError, match="'micro' or 'macro'"):
        precision_recall_curve(counts, "mean")
