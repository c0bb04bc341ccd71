from __future__ import annotations

import numpy as np
import pytest

from llmhash.evaluation.bootstrap import bootstrap_means, difference_intervals, interval, retention_intervals


@pytest.fixture
def values():
    return np.random.default_rng(0).uniform(size=400)


def test_the_spread_is_that_of_a_mean(values):
    means = bootstrap_means(values[None])[:, 0]
    assert means.mean() == pytest.approx(values.mean(), abs=3 * means.std() / len(means) ** 0.5)
    assert means.std() == pytest.approx(values.std() / len(values) ** 0.5, rel=0.06)


def test_draws_are_reproducible_and_shared_between_series_and_calls(values):
    together = bootstrap_means(np.stack([values, values[::-1]]), resamples=50)
    np.testing.assert_allclose(together[:, 0], bootstrap_means(values[None], resamples=50)[:, 0], rtol=1e-12)
    assert (bootstrap_means(values[None], resamples=50, seed=1) != together[:, :1]).any()


def test_the_blocks_of_draws_are_one_stream(values, monkeypatch):
    whole = bootstrap_means(values[None], resamples=40)
    monkeypatch.setattr("llmhash.evaluation.bootstrap._DRAWS", 1000)
    np.testing.assert_allclose(bootstrap_means(values[None], resamples=40), whole)


def test_the_interval_holds_the_retention_and_shrinks_with_queries(values):
    rng = np.random.default_rng(1)
    widths = []
    for copies in (1, 16):
        teacher = np.tile(values, copies)
        student = 0.7 * teacher + rng.normal(scale=0.2, size=teacher.shape)
        ((low, high),) = retention_intervals(student[None], teacher)
        assert low < student.mean() / teacher.mean() < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_the_ratio_is_paired(values):
    # A fixed share of every query's value leaves nothing to vary.
    ((low, high),) = retention_intervals(0.8 * values[None], values)
    assert (low, high) == (pytest.approx(0.8), pytest.approx(0.8))


def test_the_difference_is_paired(values):
    intervals = difference_intervals(np.stack([values + 0.01, values]), values)
    assert intervals[0] == (pytest.approx(0.01), pytest.approx(0.01))
    assert intervals[1] == (0.0, 0.0)


def test_a_teacher_that_finds_nothing_leaves_the_ratio_undefined():
    ((low, high),) = retention_intervals(np.zeros((1, 5)), np.zeros(5))
    assert np.isnan([low, high]).all()


def test_resamples_without_a_ratio_do_not_count():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_one_query(values):
    assert retention_intervals(np.array([[0.5]]), np.array([1.0])) == [(0.5, 0.5)]
