"""Whole comparisons on synthetic vectors: rows, bounds, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.evaluation import METRICS, SCORINGS, compare, evaluate_head, held_out_report, to_json
from llmhash.features import HeldOut
from llmhash.heads import TrainingFeatures, fit_head


@pytest.fixture(scope="module")
def report(task, embedded):
    return compare(
        task, embedded.training, heads=["sign", "lsh", "itq"], bits=[8, 32], seeds=2, candidates=60
    )


def rows_of(report, **wanted):
    return [row for row in report["rows"] if all(row[name] == value for name, value in wanted.items())]


def test_there_is_a_row_for_every_head_width_and_scoring(report):
    found = [(row["head"], row["bits"], row["scoring"]) for row in report["rows"]]
    expected = [
        (head, bits, scoring)
        for head in ("sign", "lsh", "itq")
        for bits in (8, 32)
        for scoring in SCORINGS[1:]
    ]
    assert found == [("teacher", 32 * 32, "float"), *expected]


def test_figures_are_sane(report):
    for row in report["rows"]:
        assert all(0 <= row[name] <= 1 for name in METRICS)
        assert row["ci95"][0] <= row["retention"] <= row["ci95"][1]
    by_bits = [rows_of(report, head="itq", bits=bits, scoring="asymmetric_scan")[0] for bits in (8, 32)]
    assert 0.2 < by_bits[0]["retention"] < by_bits[1]["retention"] <= 1.02
    (hamming,) = rows_of(report, head="itq", bits=32, scoring="hamming")
    (int8,) = rows_of(report, head="itq", bits=32, scoring="int8")
    assert hamming["retention"] < by_bits[1]["retention"] < int8["retention"]
    assert int8["retention"] > 0.97


def test_bytes_seeds_and_candidates_are_stated(report):
    for row in rows_of(report, head="lsh", bits=32):
        assert row["seeds"] == 2
        assert row["bytes_per_document"] == 4 + (32 + 4 if row["scoring"] == "int8" else 0)
        assert row["model_bytes"] == 4 * (32 * 32 + 32)
        assert row.get("candidates") == (60 if row["scoring"] in ("asymmetric", "int8") else None)
        assert set(row["seconds"]) == {"fit", "encode", "search"}
    assert {row["seeds"] for row in rows_of(report, head="sign")} == {1}


def test_a_codebook_counts_among_the_model_s_bytes_and_serves_the_asymmetric_scorings(task, embedded):
    kept, heads = {}, {}
    for use in ("never", "always"):
        options = {"steps": 5, "codebook": use}
        heads[use] = fit_head("distill", embedded.training, 16, options=options)
        rows = compare(
            task, embedded.training, heads=["distill"], bits=[16], seeds=1, options={"distill": options}
        )
        for row in rows_of(rows, head="distill"):
            assert row["model_bytes"] == heads[use].nbytes
            assert row["bytes_per_document"] == 2 + (36 if row["scoring"] == "int8" else 0)
            kept[use, row["scoring"]] = row["overlap@10"]
    assert heads["never"].nbytes == 4 * (32 * 16 + 16)
    assert heads["always"].nbytes >= heads["never"].nbytes + 4 * (2 * 256 * 32 + 32 + 2)
    assert kept["always", "asymmetric_scan"] > kept["never", "asymmetric_scan"] + 0.02
    assert kept["always", "asymmetric"] > kept["always", "hamming"]


def test_the_report_is_json_without_nan(report):
    assert json.loads(to_json(report)) == report


def test_a_mean_over_seeds_lies_between_the_seeds(task, embedded, report):
    single = [
        evaluate_head(
            task, fit_head("lsh", embedded.training, 32, seed=seed), name="lsh", trained_on="in-corpus"
        )
        for seed in (0, 1)
    ]
    values = [rows_of(each, scoring="hamming")[0]["ndcg@10"] for each in single]
    (mean,) = rows_of(report, head="lsh", bits=32, scoring="hamming")
    assert mean["ndcg@10"] == pytest.approx(np.mean(values), abs=1e-6)
    assert values[0] != values[1]


def test_a_width_that_a_head_cannot_do_is_left_out_with_a_note(task, embedded):
    report = compare(task, embedded.training, heads=["sign", "lsh"], bits=[40], seeds=1, scorings=["hamming"])
    assert [row["head"] for row in report["rows"]] == ["lsh"]
    (note,) = report["notes"]
    assert note.startswith("sign at 40 bits left out: ")


def test_peers_stand_beside_heads(task, embedded):
    pytest.importorskip("faiss")
    lines: list[str] = []
    report = compare(
        task,
        embedded.training,
        heads=["lsh"],
        bits=[16],
        seeds=1,
        scorings=["asymmetric_scan"],
        peers=["pq"],
        trained_on="general",
        progress=lines.append,
    )
    assert [(row["head"], row["bytes_per_document"], row["trained_on"]) for row in report["rows"]] == [
        ("lsh", 2, "general"),
        ("pq", 2, "general"),
    ]
    assert lines == ["lsh, 16 bits, seed 0", "pq, 16 bits, seed 0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": ["nonsense"]}, "no head 'nonsense'"),
        ({"heads": ["nonsense"], "bits": [4096]}, "no head 'nonsense'"),
        ({"bits": [0]}, "bits must be a whole number from 1 to 4096"),
        ({"scorings": ["cosine"]}, "unknown scoring 'cosine'; there are float, hamming"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"peers": ["scann"]}, "unknown peer 'scann'"),
    ],
)
def test_unusable_arguments_are_refused_in_one_sentence(task, embedded, changes, message):
    with pytest.raises(InputError, match=message):
        compare(task, embedded.training, **{"heads": ["sign"], "bits": [8], **changes})


def test_training_features_of_another_dimension(task):
    with pytest.raises(InputError, match="16 dimensions, the task's 32"):
        compare(task, TrainingFeatures(np.ones((9, 16), np.float32)), heads=["sign"], bits=[8])


def test_a_head_of_another_teacher(task):
    head = fit_head("sign", TrainingFeatures(np.eye(16, dtype=np.float32)), 8)
    with pytest.raises(InputError, match="takes 16 dimensions but the embeddings have 32"):
        evaluate_head(task, head, name="sign", trained_on="general")


def test_a_fitted_head_alone(task, embedded, report):
    head = fit_head("sign", embedded.training, 32)
    alone = evaluate_head(task, head, name="sign", trained_on="in-corpus", candidates=60)
    assert [row["scoring"] for row in alone["rows"]] == list(SCORINGS)
    for row, same in zip(alone["rows"][1:], rows_of(report, head="sign", bits=32), strict=True):
        assert {**row, "seconds": None} == {**same, "seconds": None}
        assert set(row["seconds"]) == {"encode", "search"}


def test_held_out_pseudo_queries(embedded):
    rng = np.random.default_rng(3)
    sources = rng.choice(300, size=50)
    queries = embedded.documents[sources] + 0.02 * rng.normal(size=(50, 32)).astype(np.float32)
    sources[4] = -1
    head = fit_head("itq", embedded.training, 32)
    report = held_out_report(head, embedded.documents, HeldOut(queries, sources), name="itq", teacher="t")
    assert (report["data"], report["split"], report["queries"]) == ("pseudo-queries", "held-out", 49)
    assert [row["scoring"] for row in report["rows"]] == ["hamming", "asymmetric_scan"]
    assert all(row["head"] == "itq" and row["retention"] > 0.5 for row in report["rows"])


def test_ties_as_trec_breaks_them_reach_every_scoring(embedded):
    task = embedded.task(ties="trec")
    report = compare(task, embedded.training, heads=["sign"], bits=[8])
    assert report["ties"] == "trec"
    expected = compare(replace(task, order=None), embedded.training, heads=["sign"], bits=[8])
    (trec,) = rows_of(report, scoring="hamming")
    (open_ties,) = rows_of(expected, scoring="hamming")
    assert trec["ndcg@10"] != open_ties["ndcg@10"]
    assert trec["ndcg@10"] == pytest.approx(open_ties["ndcg@10"], abs=0.1)
