from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from llmhash.corpora import Documents, RetrievalSet
from llmhash.corpora.noise import corrupt
from llmhash.errors import InputError
from llmhash.evaluation import METRICS, RetrievalTask, evaluate_head, to_json
from llmhash.evaluation.noise import noise_markdown, noise_report
from llmhash.heads import TrainingFeatures, fit_head

KINDS = ("typos", "dropped_words")


@pytest.fixture
def data(sentences) -> RetrievalSet:
    """A sentence's first part is a query for it; one query has no relevant document."""
    queries = [" ".join(text.split()[:9]) for text in sentences[:60]]
    qrels = {f"q{i}": {f"d{i}": 1} for i in range(60)}
    qrels["q3"] = {"d3": 0}
    documents = Documents([f"d{i}" for i in range(len(sentences))], sentences)
    return RetrievalSet("sentences", "dev", documents, list(qrels), queries, qrels, list(range(60)), 60)


@pytest.fixture
def heads(encoder, sentences):
    features = TrainingFeatures(encoder.encode(sentences, "document"))
    return {
        "lsh": [fit_head("lsh", features, 16, seed=seed) for seed in range(3)],
        "itq": [fit_head("itq", features, 16), fit_head("itq", features, 8)],
    }


@pytest.fixture
def report(heads, data, encoder):
    return noise_report(
        heads, data, encoder, trained_on="in-corpus", kinds=KINDS, rates=(0, 0.4, 0.2), focus="itq", seed=5
    )


def rows(report, **labels):
    return [row for row in report["rows"] if all(row[name] == value for name, value in labels.items())]


def test_every_condition_has_the_teacher_and_every_head(report):
    conditions = list(dict.fromkeys((row["noise"], row["rate"]) for row in report["rows"]))
    assert conditions == [("none", 0.0), *((kind, rate) for kind in KINDS for rate in (0.2, 0.4))]
    for kind, rate in conditions:
        named = [(row["head"], row["bits"], row["scoring"]) for row in rows(report, noise=kind, rate=rate)]
        assert named == [
            ("teacher", 32 * 24, "float"),
            *(("lsh", 16, scoring) for scoring in ("hamming", "asymmetric_scan")),
            *(("itq", bits, scoring) for bits in (8, 16) for scoring in ("hamming", "asymmetric_scan")),
        ]
    assert {row["seeds"] for row in rows(report, head="lsh")} == {3}
    assert (report["queries"], report["queries_without_positives"]) == (59, 1)


def test_clean_rows_are_those_of_the_plain_evaluation(report, heads, data, encoder):
    task = RetrievalTask.from_set(
        data,
        encoder.encode(data.documents.texts, "document"),
        encoder.encode(data.queries, "query"),
        teacher=encoder.name,
    )
    plain = evaluate_head(
        task, heads["itq"][1], name="itq", trained_on="in-corpus", scorings=("hamming", "asymmetric_scan")
    )
    ours = rows(report, noise="none", head="itq", bits=8)
    for row, expected in zip(ours, plain["rows"], strict=True):
        same = [*METRICS, "retention", "ci95", "bytes_per_document", "trained_on"]
        assert {key: row[key] for key in same} == {key: expected[key] for key in same}
        assert (row["retention_of_clean"], row["ci95_of_clean"]) == (row["retention"], row["ci95"])
        assert (row["retention_change"], row["ci95_of_change"]) == (0, [0, 0])
        assert row["queries_changed"] == 0


def test_noise_is_measured_on_the_corrupted_queries_and_clean_documents(report, data, encoder):
    noisy = corrupt(data.queries, "typos", rate=0.4, seed=5)
    task = RetrievalTask.from_set(
        data,
        encoder.encode(data.documents.texts, "document"),
        encoder.encode(noisy, "query"),
        teacher=encoder.name,
    )
    clean = report["teacher"]["ndcg@10"]
    (teacher,) = rows(report, noise="typos", rate=0.4, head="teacher")
    assert teacher["ndcg@10"] == pytest.approx(task.teacher_values["ndcg@10"].mean(), abs=1e-6)
    assert teacher["retention"] == 1
    assert teacher["retention_of_clean"] == pytest.approx(teacher["ndcg@10"] / clean, abs=1e-5)
    assert teacher["retention_of_clean"] < 0.9
    changed = np.mean([a != b for a, b in zip(noisy, data.queries, strict=True)])
    assert teacher["queries_changed"] == pytest.approx(changed, abs=1e-6)


def test_retentions_are_told_apart_and_their_change_is_paired(report):
    clean = {(row["head"], row["bits"], row["scoring"]): row for row in rows(report, noise="none")}
    level = report["teacher"]["ndcg@10"]
    for row in report["rows"]:
        beside = clean[row["head"], row["bits"], row["scoring"]]
        assert row["retention_of_clean"] == pytest.approx(row["ndcg@10"] / level, abs=1e-5)
        assert row["retention_change"] == pytest.approx(row["retention"] - beside["retention"], abs=1e-5)
        low, high = row["ci95_of_change"]
        assert low <= row["retention_change"] <= high
        if row["head"] == "teacher":
            assert (low, high) == (0, 0)
    # The interval is of one ratio less another over the same queries: narrower than their sum.
    row = rows(report, noise="dropped_words", rate=0.2, head="lsh")[0]
    width = row["ci95_of_change"][1] - row["ci95_of_change"][0]
    assert 0 < width < row["ci95"][1] - row["ci95"][0] + beside["ci95"][1] - beside["ci95"][0]


def test_differences_are_those_of_the_focus_in_every_condition(report):
    assert {(each["head"], each["over"], each["bits"]) for each in report["differences"]} == {
        ("itq", "lsh", 16)
    }
    for each in report["differences"]:
        values = {
            row["head"]: row["ndcg@10"]
            for row in rows(report, noise=each["noise"], rate=each["rate"], bits=16, scoring=each["scoring"])
        }
        assert each["difference"] == pytest.approx(values["itq"] - values["lsh"], abs=2e-6)
    assert len(report["differences"]) == 5 * 2


def test_an_undefined_retention_has_no_change(heads, data):
    class LostEncoder:
        """Finds the last ten documents, which answer nothing, for every query."""

        name = "lost"

        def encode(self, texts: Sequence[str], side: str, *, progress: bool = False) -> np.ndarray:
            features = np.zeros((len(texts), 24), dtype=np.float32)
            features[:, 0] = 1
            if side == "document":
                features[-10:, 0] = 2
            return features

    lost = noise_report(heads, data, LostEncoder(), trained_on="general", kinds=["typos"], rates=[0.2])
    assert lost["teacher"]["ndcg@10"] == 0
    assert {row["retention_change"] for row in lost["rows"]} == {None}
    assert "| - | - to - |" in noise_markdown(lost)
    to_json(lost)


def test_the_markdown_has_a_line_for_every_row_and_difference(report):
    text = noise_markdown(report)
    assert text.startswith("### sentences (dev), teacher bag-of-words\n\n59 queries, 200 documents.\n")
    tables = text.split("\n\n")[2:]
    assert [len(table.strip().splitlines()) - 2 for table in tables] == [
        len(report["rows"]),
        len(report["differences"]),
    ]
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1
    row = rows(report, noise="typos", rate=0.2, head="itq", bits=8)[0]
    assert (
        f"| typos | 0.2 | {row['queries_changed']:.3f} | itq | 8 | hamming | {row['ndcg@10']:.3f} |" in text
    )
    assert f"| {row['retention_change']:+.3f} |" in text
    assert json.loads(to_json(report)) == report


def test_without_other_heads_there_is_one_table(heads, data, encoder):
    seen: list[str] = []
    report = noise_report(
        {"lsh": heads["lsh"]},
        data,
        encoder,
        trained_on="general",
        kinds=["mixed"],
        rates=[0.1],
        scorings=["hamming"],
        progress=seen.append,
    )
    assert noise_markdown(report).count("| noise |") == 1
    assert seen == ["sentences, none, rate 0", "sentences, mixed, rate 0.1"]
    assert {row["scoring"] for row in report["rows"]} == {"float", "hamming"}


def test_unusable_input_is_refused(heads, data, encoder):
    for change, message in (
        ({"kinds": ["typo"]}, "unknown noise 'typo'"),
        ({"rates": [2]}, "from 0 to 1, not 2"),
        ({"heads": {"lsh": []}}, "the head lsh comes without a fit"),
    ):
        with pytest.raises(InputError, match=message):
            noise_report(
                **{"heads": heads, "data": data, "encoder": encoder, "trained_on": "general", **change}
            )
    with pytest.raises(InputError, match="unknown scoring 'cosine'"):
        noise_report(heads, data, encoder, trained_on="general", scorings=["cosine"])
