"""Bootstrap intervals over queries.

All series are resampled together, so that a query drawn for one is drawn for all: ratios to the teacher and
differences between methods are paired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

# Draws in memory at a time.
_DRAWS = 1 << 21


def bootstrap_means(
    values: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Means over queries drawn with replacement.

    The draws depend on the number of queries, `resamples` and `seed` alone: separate calls are paired too.

    Args:
        values: float64 (m, q), m series of one value a query.
        resamples: How many times q queries are drawn.
        seed: Of the draws.

    Returns:
        float64 (resamples, m).
    """
    queries = values.shape[1]
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, len(values)))
    step = max(1, _DRAWS // queries)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(queries, size=(rows, queries))
        drawn += (np.arange(rows) * queries)[:, None]
        # How often each query was drawn turns the resampled means into one product.
        times = np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries)
        means[start : start + rows] = times @ values.T / queries
    return means


def interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The central percentile interval of samples (resamples,); NaN samples do not count."""
    kept = samples[~np.isnan(samples)]
    if not len(kept):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)


def retention_intervals(
    values: NDArray[np.float64],
    teacher: NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Intervals of mean(values) / mean(teacher), both over the same drawn queries.

    Args:
        values: float64 (m, q), m methods (each averaged over its seeds).
        teacher: float64 (q,).
        resamples: How many times q queries are drawn.
        seed: Of the draws.

    Returns:
        (low, high) of each method.
    """
    means = bootstrap_means(np.vstack([teacher, values]), resamples=resamples, seed=seed)
    ratios = np.full_like(means[:, 1:], np.nan)
    np.divide(means[:, 1:], means[:, :1], out=ratios, where=means[:, :1] > 0)
    return [interval(column) for column in ratios.T]


def difference_intervals(
    values: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Intervals of mean(values) - mean(other), values float64 (m, q) and other float64 (m, q) or (q,)."""
    means = bootstrap_means(np.atleast_2d(values - other), resamples=resamples, seed=seed)
    return [interval(column) for column in means.T]
