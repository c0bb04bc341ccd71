from __future__ import annotations

import numpy as np
import pytest

from llmhash.evaluation.probe_growth import (
    NestedBenches,
    Series,
    extrapolate,
    nested_sizes,
    retention_and_overlap,
)
from llmhash.features import HeldOut
from llmhash.heads import TrainingFeatures, fit_head


@pytest.mark.parametrize(
    ("documents", "queries", "sizes"),
    [
        (8000, 300, [500, 1000, 2000, 4000, 8000]),
        (3204, 300, [400, 801, 1602, 3204]),
        (3204, 1000, [1602, 3204]),
        (150, 15, [150]),
        (60, 30, [60]),
    ],
)
def test_sizes_are_halvings_that_hold_all_queries_documents(documents, queries, sizes):
    assert nested_sizes(documents, queries) == sizes


@pytest.fixture
def nested():
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(400, 24)).astype(np.float32)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    sources = rng.choice(400, 40)
    queries = documents[sources] + 0.15 * rng.normal(size=(40, 24)).astype(np.float32)
    return NestedBenches(
        documents, HeldOut(queries, sources), [100, 200, 400], seed=0, teacher="t"
    ), documents


def test_parts_are_nested_and_hold_every_querys_document(nested):
    benches, documents = nested
    small, middle, whole = benches.parts
    assert set(small) < set(middle) < set(whole)
    np.testing.assert_array_equal(whole, np.arange(400))
    for rows, bench in zip(benches.parts, benches.benches, strict=True):
        np.testing.assert_array_equal(bench.task.documents, documents[rows])
        # Each query was made of its relevant document.
        found = bench.task.documents[bench.task.judgements.rows]
        assert np.linalg.norm(found - bench.task.queries, axis=1).max() < 1.1
        assert (np.diff(rows) > 0).all()


def test_codes_keep_less_of_more_documents_and_a_finer_scoring_keeps_more(nested):
    benches, documents = nested
    found = benches.run([fit_head("itq", TrainingFeatures(documents), 16)] * 3)
    for scoring in ("hamming", "asymmetric_scan"):
        ndcg = found[scoring].ndcg.mean(axis=1)
        assert ndcg.shape == (3,)
        assert ndcg[0] > ndcg[2]
    assert found["asymmetric_scan"].overlap[-1].mean() > found["hamming"].overlap[-1].mean()


def test_each_size_is_measured_by_its_own_head(nested):
    benches, documents = nested
    wide, narrow = (fit_head("itq", TrainingFeatures(documents), bits) for bits in (16, 4))
    both = benches.run([narrow, wide, wide])["hamming"].ndcg
    alone = [benches.run([head] * 3)["hamming"].ndcg for head in (narrow, wide)]
    np.testing.assert_array_equal(both, np.stack([alone[0][0], *alone[1][1:]]))


def test_a_constant_factor_is_continued_exactly():
    sizes = [250, 500, 1000]
    values = 0.8 * 0.9 ** np.array([-2, -1, 0])
    assert extrapolate(sizes, values, 8000) == pytest.approx(0.8 * 0.9**3)
    assert extrapolate(sizes, values, 500) == pytest.approx(0.8 / 0.9)
    assert extrapolate(sizes, values, 1000) == values[-1]
    both = extrapolate(sizes, np.stack([values, np.ones(3)]), 2000)
    assert both == pytest.approx([0.72, 1.0])


def test_only_what_may_rise_is_continued_upwards():
    sizes, values = [500, 1000], np.array([100.0, 150.0])
    assert extrapolate(sizes, values, 4000) == 150.0
    assert extrapolate(sizes, values, 4000, may_rise=True) == pytest.approx(150 * 1.5**2)


def test_figures_are_ratios_of_means_with_paired_intervals():
    rng = np.random.default_rng(1)
    teacher = rng.uniform(0.2, 1.0, size=(3, 200))
    # A fixed share of every query's value leaves nothing to vary, at any size.
    shares = np.array([[0.9], [0.72], [0.576]])
    falling = rng.uniform(size=(3, 200)) * [[1.0], [0.8], [0.6]]
    series = Series(teacher * shares, falling)
    retention, overlap = retention_and_overlap(series, teacher, [250, 500, 1000], 4000)
    assert retention.by_size == pytest.approx((0.9, 0.72, 0.576))
    assert retention.ci95 == pytest.approx((0.576, 0.576))
    assert retention.per_doubling == pytest.approx(0.8)
    assert retention.expected == pytest.approx(0.576 * 0.64)
    assert retention.expected_ci95 == pytest.approx((0.576 * 0.64, 0.576 * 0.64))
    assert overlap.value == pytest.approx(falling[-1].mean())
    assert overlap.ci95[0] < overlap.value < overlap.ci95[1]
    assert overlap.expected_ci95[0] < overlap.expected < overlap.expected_ci95[1]
    spread, measured = np.ptp(overlap.expected_ci95), np.ptp(overlap.ci95)
    assert spread / overlap.expected > measured / overlap.value  # what is extrapolated is known less well


def test_codes_that_find_nothing_stay_at_nothing():
    values = np.zeros((2, 20))
    retention, overlap = retention_and_overlap(Series(values, values), np.ones((2, 20)), [100, 200], 10_000)
    assert retention.expected == overlap.expected == 0.0
    assert retention.expected_ci95 == (0.0, 0.0)


def test_one_size_has_no_trend():
    values = np.full((1, 20), 0.5)
    retention, _ = retention_and_overlap(Series(values, values), np.ones((1, 20)), [80], 1000)
    assert (retention.value, retention.per_doubling, retention.expected) == (0.5, None, None)


def test_a_teacher_that_finds_nothing_leaves_the_retention_undefined():
    values = np.zeros((2, 20))
    retention, overlap = retention_and_overlap(Series(values, values), values, [100, 200], None)
    assert np.isnan(retention.value)
    assert overlap.value == 0.0
