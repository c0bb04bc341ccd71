from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmhash.evaluation import METRICS
from llmhash.evaluation.summary import Measurement, average, mean_seconds, summarize, teacher_measurement

ROW_KEYS = [
    *("head", "bits", "scoring", "trained_on", "bytes_per_document", "model_bytes"),
    *("ndcg@10", "mrr@10", "recall@10", "recall@100", "map", "overlap@10"),
    *("retention", "ci95", "seeds", "seconds"),
]


@pytest.fixture
def measure(task):
    """A measurement whose every query keeps a share of the teacher's value."""

    def make(head: str, share: float, **changes) -> Measurement:
        noise = np.random.default_rng(len(head)).uniform(0.8, 1.2, size=len(task.queries))
        values = {name: share * noise * task.teacher_values[name] for name in METRICS}
        measurement = Measurement(
            head,
            64,
            "hamming",
            "in-corpus",
            8,
            1000,
            values,
            seeds=3,
            seconds={"fit": 1.0, "search": 0.123456},
        )
        return replace(measurement, **changes)

    return make


def test_keys_and_their_order(task, measure):
    report = summarize(task, [measure("itq", 0.5), measure("itq", 0.5, candidates=100, settings="x")])
    assert list(report) == [
        *("data", "split", "queries", "queries_without_positives", "documents", "ties"),
        *("teacher", "rows", "differences", "notes"),
    ]
    assert (report["data"], report["split"], report["queries"], report["queries_without_positives"]) == (
        "synthetic",
        "test",
        40,
        1,
    )
    assert list(report["teacher"]) == ["name", "dim", *METRICS]
    assert list(report["rows"][0]) == ROW_KEYS
    assert list(report["rows"][1]) == [*ROW_KEYS, "candidates", "settings"]
    assert report["rows"][0]["seconds"] == {"fit": 1.0, "search": 0.1235}


def test_retention_is_the_ratio_of_means_inside_its_interval(task, measure):
    measurement = measure("itq", 0.5)
    (row,) = summarize(task, [measurement])["rows"]
    ratio = measurement.values["ndcg@10"].mean() / task.teacher_values["ndcg@10"].mean()
    assert row["retention"] == pytest.approx(ratio, abs=1e-6)
    low, high = row["ci95"]
    assert low < row["retention"] < high
    assert high - low < 0.2


def test_the_teacher_keeps_everything(task):
    (row,) = summarize(task, [teacher_measurement(task)])["rows"]
    assert (row["scoring"], row["retention"], row["ci95"]) == ("float", 1.0, [1.0, 1.0])
    assert row["bytes_per_document"] == 4 * task.dim


def test_differences_are_taken_at_equal_bytes_and_scoring(task, measure):
    report = summarize(
        task,
        [
            measure("distill", 0.8),
            measure("itq", 0.5),
            measure("lsh", 0.95),
            measure("itq", 0.5, scoring="asymmetric_scan"),
            measure("itq", 0.5, bytes_per_document=16),
        ],
    )
    over = {each["over"]: each for each in report["differences"]}
    assert len(report["differences"]) == len(over) == 2
    assert over["itq"]["above"] is True
    assert over["itq"]["ci95"][0] > 0
    assert over["lsh"]["above"] is False
    assert over["lsh"]["ci95"][1] < 0
    assert over["itq"]["difference"] == pytest.approx(
        report["rows"][0]["ndcg@10"] - report["rows"][1]["ndcg@10"], abs=2e-6
    )


def test_an_equal_head_is_not_above(task, measure):
    report = summarize(
        task, [measure("distill", 0.8), measure("itq", 0.8, values=measure("distill", 0.8).values)]
    )
    assert report["differences"][0]["above"] is False


def test_a_teacher_that_finds_nothing_leaves_the_retention_undefined(task, measure):
    nothing = replace(task, teacher_values={name: np.zeros(len(task.queries)) for name in METRICS})
    (row,) = summarize(nothing, [measure("itq", 0.5)])["rows"]
    assert row["retention"] is None
    assert row["ci95"] == [None, None]


def test_seeds_are_averaged_query_by_query(task):
    values = [
        {name: np.array([0.0, 1.0]) for name in METRICS},
        {name: np.array([1.0, 1.0]) for name in METRICS},
    ]
    assert average(values)["map"].tolist() == [0.5, 1.0]
    assert mean_seconds([{"fit": 1.0}, {"fit": 2.0}]) == {"fit": 1.5}
