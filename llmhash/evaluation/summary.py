"""From measurements to the report: rows with means, retention and intervals, as JSON-ready dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmhash.evaluation.bootstrap import difference_intervals, retention_intervals
from llmhash.evaluation.retrieval import HEADLINE, METRICS, PerQuery, RetrievalTask

#: "in-corpus": fitted on the documents it is tested on; "general": it has never seen them.
TrainedOn = Literal["in-corpus", "general"]
Report = dict[str, Any]

_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Measurement:
    """One row before it is summarised.

    Attributes:
        head: Name of the head or peer.
        bits: Bits in a code.
        scoring: How documents were scored.
        trained_on: Whether it has seen the documents it is tested on.
        bytes_per_document: Everything stored for one more document.
        model_bytes: Everything fixed: weights, rotation, codebooks.
        values: Metrics of each query, averaged over the seeds.
        seeds: How many seeds were averaged.
        seconds: Durations by name, averaged over the seeds.
        candidates: Candidates a query, where the scoring rescored some only.
        settings: What else the figures depend on.
    """

    head: str
    bits: int
    scoring: str
    trained_on: TrainedOn
    bytes_per_document: int
    model_bytes: int
    values: PerQuery
    seeds: int
    seconds: dict[str, float]
    candidates: int | None = None
    settings: str | None = None


def average(values: Sequence[PerQuery]) -> PerQuery:
    """Per-query metrics averaged over seeds."""
    return {name: np.mean([each[name] for each in values], axis=0) for name in METRICS}


def mean_seconds(seconds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Durations by name, averaged over seeds."""
    return {name: float(np.mean([each[name] for each in seconds])) for name in seconds[0]}


def teacher_measurement(task: RetrievalTask) -> Measurement:
    """The teacher as a row: float embeddings, all documents scored."""
    return Measurement(
        head="teacher",
        bits=32 * task.dim,
        scoring="float",
        trained_on="general",
        bytes_per_document=4 * task.dim,
        model_bytes=0,
        values=task.teacher_values,
        seeds=1,
        seconds={"search": task.teacher_seconds},
    )


def summarize(
    task: RetrievalTask,
    measurements: Sequence[Measurement],
    *,
    focus: str = "distill",
    notes: Sequence[str] = (),
) -> Report:
    """The report of `eval retrieval` and `eval compare`.

    Args:
        task: What was measured on.
        measurements: The rows, in order.
        focus: The head whose paired differences to all others at equal bytes and scoring are reported.
        notes: What was left out, and why.

    Returns:
        `data`, `split`, `queries`, `queries_without_positives`, `documents`, `ties`, `teacher` (name and
        metrics), `rows`, `differences` and `notes`. A figure that is undefined, as a retention where the
        teacher finds nothing, is None.
    """
    return {
        "data": task.data,
        "split": task.split,
        "queries": len(task.queries),
        "queries_without_positives": task.left_out,
        "documents": len(task.documents),
        "ties": "expected" if task.order is None else "trec",
        "teacher": {"name": task.teacher, "dim": task.dim, **_means(task.teacher_values)},
        "rows": _rows(task, measurements),
        "differences": _differences(measurements, focus),
        "notes": list(notes),
    }


def _rows(task: RetrievalTask, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    if not measurements:
        return []
    teacher = task.teacher_values[HEADLINE]
    headline = np.stack([measurement.values[HEADLINE] for measurement in measurements])
    intervals = retention_intervals(headline, teacher)
    level = float(teacher.mean())
    return [
        _row(measurement, _number(value.mean() / level) if level else None, ci)
        for measurement, value, ci in zip(measurements, headline, intervals, strict=True)
    ]


def _row(measurement: Measurement, retention: float | None, ci: tuple[float, float]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "head": measurement.head,
        "bits": measurement.bits,
        "scoring": measurement.scoring,
        "trained_on": measurement.trained_on,
        "bytes_per_document": measurement.bytes_per_document,
        "model_bytes": measurement.model_bytes,
        **_means(measurement.values),
        "retention": retention,
        "ci95": [_number(bound) for bound in ci],
        "seeds": measurement.seeds,
        "seconds": {name: round(value, 4) for name, value in measurement.seconds.items()},
    }
    if measurement.candidates is not None:
        row["candidates"] = measurement.candidates
    if measurement.settings is not None:
        row["settings"] = measurement.settings
    return row


def _differences(measurements: Sequence[Measurement], focus: str) -> list[dict[str, Any]]:
    """Paired differences of the focus head to the others at equal bytes per document and scoring."""
    pairs = [
        (ours, other)
        for ours in measurements
        for other in measurements
        if ours.head == focus != other.head
        and (ours.bytes_per_document, ours.scoring) == (other.bytes_per_document, other.scoring)
    ]
    if not pairs:
        return []
    values = np.stack([ours.values[HEADLINE] for ours, _ in pairs])
    others = np.stack([other.values[HEADLINE] for _, other in pairs])
    return [
        {
            "head": ours.head,
            "over": other.head,
            "bits": ours.bits,
            "scoring": ours.scoring,
            "difference": _number(difference),
            "ci95": [_number(low), _number(high)],
            "above": bool(low > 0),
        }
        for (ours, other), difference, (low, high) in zip(
            pairs, (values - others).mean(axis=1), difference_intervals(values, others), strict=True
        )
    ]


def _means(values: PerQuery) -> dict[str, float | None]:
    return {name: _number(values[name].mean()) for name in METRICS}


def _number(value: float) -> float | None:
    """A number as JSON can hold it: NaN becomes None."""
    return None if np.isnan(value) else round(float(value), _DIGITS)
