from __future__ import annotations

import numpy as np
import pytest

from llmhash.evaluation.probe_geometry import measure_geometry, measure_side


def gaussian(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def test_isotropic_features_lie_around_zero_in_all_dimensions():
    side = measure_side(gaussian(4000, 32))
    assert side.shift < 0.03
    assert abs(side.anisotropy) < 0.001
    assert side.effective_dimension == pytest.approx(32, rel=0.02)
    assert side.positive[0] > 0.45
    assert side.positive[-1] < 0.55
    assert (side.imbalanced, side.nearly_constant) == (0, 0)


def test_a_shift_is_told_by_its_length_and_by_the_dimensions_it_freezes():
    rows = gaussian(2000, 8)
    rows[:, :2] += 5.0  # one sign always
    rows[:, 2] -= 1.8  # the negative sign in 96 %
    side = measure_side(rows)
    assert (side.imbalanced, side.nearly_constant) == (3, 2)
    mean = rows.mean(axis=0)
    assert side.shift == pytest.approx(np.linalg.norm(mean) / np.linalg.norm(rows, axis=1).mean(), rel=1e-5)
    assert side.positive[0] == pytest.approx((rows[:, 2] > 0).mean())
    assert side.positive[-1] == 1.0


def test_the_effective_dimension_is_the_participation_ratio_of_the_spectrum():
    rows = gaussian(3000, 12) * np.array([4, 2, *[0.1] * 10], dtype=np.float32) + 3
    spectrum = np.linalg.eigvalsh(np.cov(rows.T))
    expected = spectrum.sum() ** 2 / np.square(spectrum).sum()
    assert measure_side(rows).effective_dimension == pytest.approx(expected, rel=1e-5)
    assert measure_side(gaussian(1, 1) * np.ones((50, 6), np.float32)).effective_dimension < 1e-6


def test_anisotropy_is_the_mean_cosine_of_all_pairs():
    rows = gaussian(60, 5) + 0.7
    rows[3] = 0  # no direction, so no pair
    units = np.delete(rows, 3, axis=0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    pairs = (units @ units.T)[np.triu_indices(len(units), 1)]
    assert measure_side(rows).anisotropy == pytest.approx(pairs.mean(), abs=1e-6)


def test_the_shift_between_the_sides():
    documents = gaussian(500, 6)
    queries = documents + np.array([3, 4, 0, 0, 0, 0], dtype=np.float32)
    found = measure_geometry(documents, queries, sides_differ=True, duplicates=2)
    assert found.between_sides == pytest.approx(5 / np.linalg.norm(documents, axis=1).mean(), rel=1e-5)
    assert (found.dim, found.duplicates, found.sides_differ) == (6, 2, True)
    alone = measure_geometry(documents, None, sides_differ=False, duplicates=0)
    assert alone.queries is None
    assert alone.between_sides is None
