"""What codes keep as a corpus grows: the same queries over nested parts of the sample, and the trend.

A codebook knows the documents that it was fitted to, and the fewer they are the better: measured on parts of
them it would seem to keep as much in any corpus. A head that has one is therefore fitted to each part anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.evaluation.bench import CANDIDATES, Bench
from llmhash.evaluation.bootstrap import bootstrap_means, interval
from llmhash.evaluation.retrieval import HEADLINE, RetrievalTask
from llmhash.features import HeldOut
from llmhash.heads import Head

#: How documents are scored in a probe.
SCORINGS = ("hamming", "asymmetric", "asymmetric_scan")
OVERLAP = "overlap@10"
# Ten documents must be few among the smallest part, and halving goes on no further than to a sixteenth.
_LEAST_PART = 100
_HALVINGS = 4
# Keeps logarithms finite: with some hundred queries a smaller share is none.
_LEAST_SHARE = 1e-3

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A share of the teacher's, at the size of the sample and beyond.

    Attributes:
        value: Over all sampled documents.
        ci95: Its bootstrap interval over queries.
        by_size: At each of the nested sizes, the last being `value`.
        per_doubling: What each doubling of the documents multiplies it by; None where there is one size only.
        expected: Extrapolated to the target size, never upwards; None without several sizes or a target.
        expected_ci95: Interval of `expected` over queries, as if the law were right.
    """

    value: float
    ci95: tuple[float, float]
    by_size: tuple[float, ...]
    per_doubling: float | None
    expected: float | None
    expected_ci95: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Series:
    """What one scoring of one head did, query by query, at every size.

    Attributes:
        ndcg: nDCG@10 of the known items, float64 (sizes, queries).
        overlap: Overlap@10 with the teacher, likewise.
    """

    ndcg: Float64Array
    overlap: Float64Array


class NestedBenches:
    """Benches over nested parts of the documents, all of which hold the queries' own documents.

    Args:
        documents: float32 (n, d).
        held_out: The queries.
        sizes: Documents of each part, rising, from `nested_sizes`.
        seed: Decides which documents join first.
        teacher: The teacher's name.
    """

    def __init__(
        self,
        documents: NDArray[np.float32],
        held_out: HeldOut,
        sizes: Sequence[int],
        *,
        seed: int,
        teacher: str,
    ) -> None:
        order = _nested_order(len(documents), held_out.sources, seed)
        self.sizes = list(sizes)
        self.parts: list[NDArray[np.int64]] = []
        self.benches: list[Bench] = []
        for size in sizes:
            # In their old order: what breaks ties by insertion must not favour the queries' own documents.
            rows = np.sort(order[:size])
            task = RetrievalTask.from_rows(
                documents[rows],
                held_out.queries,
                np.searchsorted(rows, held_out.sources)[:, None],
                data="probe",
                split=f"{size} documents",
                teacher=teacher,
            )
            self.parts.append(rows)
            self.benches.append(Bench(task, SCORINGS, CANDIDATES))

    @property
    def teacher_ndcg(self) -> Float64Array:
        """The teacher's own nDCG@10 of the known items, float64 (sizes, queries)."""
        return np.stack([bench.task.teacher_values[HEADLINE] for bench in self.benches])

    def run(self, heads: Sequence[Head]) -> dict[str, Series]:
        """Measure the head of each size there, by scoring."""
        runs = [bench.run(head, {}).values for head, bench in zip(heads, self.benches, strict=True)]
        return {
            scoring: Series(
                np.stack([values[scoring][HEADLINE] for values in runs]),
                np.stack([values[scoring][OVERLAP] for values in runs]),
            )
            for scoring in SCORINGS
        }


def nested_sizes(documents: int, queries: int) -> list[int]:
    """Halvings of `documents`, rising, down to a sixteenth, while every query's own document fits in."""
    least = max(_LEAST_PART, queries)
    sizes = [documents >> halvings for halvings in range(_HALVINGS, -1, -1)]
    return [size for size in sizes if size >= least or size == documents]


def retention_and_overlap(
    series: Series, teacher_ndcg: Float64Array, sizes: Sequence[int], target: int | None
) -> tuple[Figure, Figure]:
    """The share of the teacher's nDCG@10 that is kept, and the overlap@10.

    Args:
        series: What a scoring did.
        teacher_ndcg: The teacher's nDCG@10, float64 (sizes, queries).
        sizes: Documents at each size.
        target: Documents to extrapolate to, or None.
    """
    means = bootstrap_means(np.vstack([series.ndcg, series.overlap, teacher_ndcg]))
    ndcg, overlap, teacher = np.split(means, 3, axis=1)
    values = series.ndcg.mean(axis=1), series.overlap.mean(axis=1), teacher_ndcg.mean(axis=1)
    return (
        _figure(_ratio(values[0], values[2]), _ratio(ndcg, teacher), sizes, target),
        _figure(values[1], overlap, sizes, target),
    )


def extrapolate(
    sizes: Sequence[int], values: Float64Array, target: int, *, may_rise: bool = False
) -> Float64Array:
    """Continue `values` (..., sizes), positive, from the largest size to `target`.

    Each doubling of the documents multiplies them by the same factor (see `factors`). The curve passes
    through the last value, which is the one that all documents were measured for. A straight line over log2
    of the size would fall too fast: overlaps flatten out.

    Args:
        sizes: Documents at each size.
        values: What was measured there.
        target: Documents to extrapolate to.
        may_rise: Whether a factor above 1 is taken at its word; otherwise it counts as 1.
    """
    factor = factors(sizes, values) if may_rise else np.minimum(factors(sizes, values), 1.0)
    continued: Float64Array = values[..., -1] * factor ** math.log2(target / sizes[-1])
    return continued


def factors(sizes: Sequence[int], values: Float64Array) -> Float64Array:
    """What each doubling multiplies `values` (..., sizes) by: a least-squares line on both logarithms."""
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    slope: Float64Array = np.log2(np.maximum(values, _LEAST_SHARE)) @ x / (x @ x)
    return np.exp2(slope)


def _figure(values: Float64Array, samples: Float64Array, sizes: Sequence[int], target: int | None) -> Figure:
    """The figure of `values` (sizes,) and their resamples (resamples, sizes)."""
    factor = float(factors(sizes, values)) if len(sizes) > 1 else None
    expected = expected_ci95 = None
    if factor is not None and target is not None:
        expected = float(extrapolate(sizes, values, target))
        expected_ci95 = interval(extrapolate(sizes, samples, target))
    return Figure(
        value=float(values[-1]),
        ci95=interval(samples[:, -1]),
        by_size=tuple(float(value) for value in values),
        per_doubling=factor,
        expected=expected,
        expected_ci95=expected_ci95,
    )


def _nested_order(documents: int, sources: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """All rows, those of the queries' own documents first, each kind in random order."""
    own = np.zeros(documents, dtype=bool)
    own[sources] = True
    shuffled = np.random.default_rng((seed, 5)).permutation(documents)
    return np.concatenate([shuffled[own[shuffled]], shuffled[~own[shuffled]]])


def _ratio(numerator: Float64Array, denominator: Float64Array) -> Float64Array:
    out = np.full_like(numerator, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
