"""The precision-recall curve over the Hamming radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.metrics.radius import RadiusCounts
from llmhash.metrics.ranks import ratio

Average = Literal["micro", "macro"]


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall of looking up all documents within a growing radius.

    Attributes:
        average: "micro" or "macro".
        radius: int64 (r,), ascending up to b; radii at which no query finds anything are left out.
        precision: float64 (r,).
        recall: float64 (r,), never falling.
    """

    average: Average
    radius: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def precision_recall_curve(counts: RadiusCounts, average: Average = "micro") -> PrecisionRecallCurve:
    """The curve of all queries together.

    "micro" divides sums over all queries: each found document counts alike, so that queries with full
    buckets weigh more. "macro" is the mean of the queries' own values: of precision over the queries that
    find something within the radius, of recall over those that have a relevant document.

    Raises:
        InputError: The average has another name.
    """
    if average not in ("micro", "macro"):
        raise InputError(f"a precision-recall curve averages 'micro' or 'macro', not {average!r}.")
    found = np.cumsum(counts.found, axis=1)
    relevant = np.cumsum(counts.relevant, axis=1)
    radius = np.flatnonzero(found.any(axis=0))
    found, relevant = found[:, radius], relevant[:, radius]
    if average == "micro":
        hits = relevant.sum(axis=0)
        positives = np.full(len(radius), counts.positives.sum())
        return PrecisionRecallCurve(average, radius, ratio(hits, found.sum(axis=0)), ratio(hits, positives))
    answered, judged = found > 0, counts.positives > 0
    shares = np.where(answered, relevant / np.maximum(found, 1), 0.0)
    recalls = relevant[judged] / counts.positives[judged, None]
    return PrecisionRecallCurve(
        average,
        radius,
        ratio(shares.sum(axis=0), answered.sum(axis=0)),
        ratio(recalls.sum(axis=0), np.full(len(radius), judged.sum())),
    )
