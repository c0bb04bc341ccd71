"""What codes keep of their teacher when the queries are noisy.

Two questions are kept apart. How much the teacher itself loses is the encoder's matter. What codes lose
beside that is theirs: their retention against the teacher on the same noisy queries, and how it differs,
paired over queries, from the retention on clean ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import RetrievalSet
from llmhash.corpora.noise import NOISES, corrupt
from llmhash.encoders.base import Encoder
from llmhash.errors import InputError
from llmhash.evaluation.bench import CANDIDATES, Bench
from llmhash.evaluation.bootstrap import bootstrap_means, interval
from llmhash.evaluation.retrieval import HEADLINE, RetrievalTask
from llmhash.evaluation.summary import Measurement, Report, TrainedOn, summarize
from llmhash.heads import Head

#: Shares of the words that are touched; 0 is the clean queries, which every kind of noise shares.
RATES = (0.0, 0.1, 0.2, 0.4)
#: What the rows of the clean queries are called.
CLEAN = "none"

_DIGITS = 6
_ROW_COLUMNS = (
    *("noise", "rate", "queries changed", "head", "bits", "scoring", "nDCG@10"),
    *("retention", "95 %", "change", "95 %", "of clean", "95 %"),
)
_DIFFERENCE_COLUMNS = ("noise", "rate", "head", "over", "bits", "scoring", "nDCG@10 difference", "95 %")


@dataclass(frozen=True, eq=False)
class _Condition:
    """The queries under one kind of noise at one rate, measured.

    Attributes:
        noise: The kind, or `CLEAN`.
        rate: Share of the words touched.
        changed: Share of the queries that differ from the clean ones.
        task: The task of these queries.
        measurements: The teacher's, then every head's by scoring.
    """

    noise: str
    rate: float
    changed: float
    task: RetrievalTask
    measurements: list[Measurement]


def noise_report(
    heads: Mapping[str, Sequence[Head]],
    data: RetrievalSet,
    encoder: Encoder,
    *,
    trained_on: TrainedOn,
    kinds: Sequence[str] = NOISES,
    rates: Sequence[float] = RATES,
    scorings: Sequence[str] = ("hamming", "asymmetric_scan"),
    focus: str = "distill",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Measure heads and their teacher on corrupted queries.

    Args:
        heads: By name, the fits of a head. Figures are means over the fits of one width (several seeds).
        data: What to measure on. The documents stay clean.
        encoder: The teacher.
        trained_on: Whether the heads were fitted on the set's documents.
        kinds: Kinds of noise, from `llmhash.corpora.noise.NOISES`.
        rates: Shares of the words touched. The clean queries are measured always, and once.
        scorings: From `SCORINGS`; the teacher's own, "float", is measured always.
        focus: The head whose paired differences to the others are reported.
        seed: Of the noise.
        progress: Called with a line before each condition.

    Returns:
        The report of the clean queries (see `summarize`), its rows and differences followed by those under
        noise. Each says its `noise` and `rate`, and a row also

        - `queries_changed`, the share of the queries that differ from the clean ones;
        - `retention` and `ci95`, against the teacher on the same queries;
        - `retention_of_clean` and `ci95_of_clean`, against the teacher on the clean queries;
        - `retention_change` and `ci95_of_change`: `retention` less that of the clean queries.

    Raises:
        InputError: A head has no fit or takes features of another dimension, or a name or a number is not
            usable.
    """
    for name, fits in heads.items():
        if not fits:
            raise InputError(f"the head {name} comes without a fit; give one at least.")
    queries = {(CLEAN, 0.0): data.queries}
    for kind in kinds:
        for rate in sorted(set(rates) - {0}):
            queries[kind, rate] = corrupt(data.queries, kind, rate=rate, seed=seed)
    documents = encoder.encode(data.documents.texts, "document")
    conditions = []
    for (noise, rate), texts in queries.items():
        if progress is not None:
            progress(f"{data.name}, {noise}, rate {rate:g}")
        changed = np.mean([text != clean for text, clean in zip(texts, data.queries, strict=True)])
        features = encoder.encode(texts, "query")
        task = RetrievalTask.from_set(data, documents, features, teacher=encoder.name)
        measurements = _measurements(task, heads, scorings, trained_on)
        conditions.append(_Condition(noise, rate, float(changed), task, measurements))
    return _report(conditions, focus)


def noise_markdown(report: Report) -> str:
    """A noise report as a Markdown section: heading, table, paired differences."""
    lines = [
        f"### {report['data']} ({report['split']}), teacher {report['teacher']['name']}",
        "",
        f"{report['queries']:,} queries, {report['documents']:,} documents.",
        "",
        *_table(_ROW_COLUMNS, [_row_cells(row) for row in report["rows"]]),
    ]
    if report["differences"]:
        cells = [_difference_cells(difference) for difference in report["differences"]]
        lines += ["", *_table(_DIFFERENCE_COLUMNS, cells)]
    return "\n".join(lines) + "\n"


def _measurements(
    task: RetrievalTask, heads: Mapping[str, Sequence[Head]], scorings: Sequence[str], trained_on: TrainedOn
) -> list[Measurement]:
    bench = Bench(task, ["float", *scorings], CANDIDATES)
    measurements = bench.teacher()
    for name, fits in heads.items():
        for bits in sorted({fit.bits for fit in fits}):
            runs = [bench.run(fit, {}) for fit in fits if fit.bits == bits]
            measurements += bench.measurements(name, runs, trained_on)
    return measurements


def _report(conditions: Sequence[_Condition], focus: str) -> Report:
    """One report of all conditions, the first of which is the clean one."""
    clean = conditions[0]
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for condition in conditions:
        labels = {"noise": condition.noise, "rate": condition.rate}
        own = summarize(condition.task, condition.measurements, focus=focus)
        # The same queries have relevant documents, so the clean teacher's values stand beside the noisy ones.
        beside_clean = summarize(clean.task, condition.measurements)
        changes = _changes(condition, clean)
        for row, of_clean, change in zip(own["rows"], beside_clean["rows"], changes, strict=True):
            rows.append(
                {
                    **labels,
                    "queries_changed": round(condition.changed, _DIGITS),
                    **row,
                    "retention_of_clean": of_clean["retention"],
                    "ci95_of_clean": of_clean["ci95"],
                    "retention_change": change[0],
                    "ci95_of_change": change[1:],
                }
            )
        differences += [{**labels, **difference} for difference in own["differences"]]
    report = summarize(clean.task, [])
    return {**report, "rows": rows, "differences": differences}


def _changes(noisy: _Condition, clean: _Condition) -> list[list[float | None]]:
    """What noise does to each measurement's retention: the change and its interval, paired over queries."""
    values = np.stack([_headlines(noisy), _headlines(clean)])
    changes = _retention_change(values.mean(axis=2)[None])[0]
    measurements, queries = values.shape[1:]
    means = bootstrap_means(values.reshape(-1, queries)).reshape(-1, 2, measurements)
    return [
        [_number(number) for number in (change, *interval(samples))]
        for change, samples in zip(changes, _retention_change(means).T, strict=True)
    ]


def _headlines(condition: _Condition) -> NDArray[np.float64]:
    return np.stack([measurement.values[HEADLINE] for measurement in condition.measurements])


def _retention_change(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Retention (r, m) under noise less that without, of means (r, 2, m): noisy and clean, teacher first.

    NaN where a teacher finds nothing.
    """
    teacher = means[:, :, :1]
    retention = np.full_like(means, np.nan)
    np.divide(means, teacher, out=retention, where=teacher > 0)
    change: NDArray[np.float64] = retention[:, 0] - retention[:, 1]
    return change


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), _DIGITS)


def _row_cells(row: Mapping[str, Any]) -> Sequence[str]:
    return (
        row["noise"],
        f"{row['rate']:g}",
        _share(row["queries_changed"]),
        row["head"],
        str(row["bits"]),
        row["scoring"],
        _share(row[HEADLINE]),
        _share(row["retention"]),
        _span(row["ci95"]),
        _share(row["retention_change"], "+"),
        _span(row["ci95_of_change"], "+"),
        _share(row["retention_of_clean"]),
        _span(row["ci95_of_clean"]),
    )


def _difference_cells(difference: Mapping[str, Any]) -> Sequence[str]:
    return (
        difference["noise"],
        f"{difference['rate']:g}",
        difference["head"],
        difference["over"],
        str(difference["bits"]),
        difference["scoring"],
        _share(difference["difference"], "+"),
        _span(difference["ci95"], "+"),
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (columns, ["---"] * len(columns), *rows)]


def _share(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _span(bounds: Sequence[float | None], sign: str = "") -> str:
    return " to ".join(_share(bound, sign) for bound in bounds)
