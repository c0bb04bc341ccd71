"""The label protocol on a small set: every figure of the report against its metric."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from llmhash.codes import Codes
from llmhash.corpora.labels import Labelled, LabelSet
from llmhash.errors import InputError
from llmhash.evaluation.health import code_health
from llmhash.evaluation.label import Embeddings, LabelledCodes, label_report
from llmhash.evaluation.label_table import print_label_report
from llmhash.hasher import Hasher
from llmhash.metrics import RadiusCounts, float_precision, precision_recall_curve, radius_precision

TOPICS = ("sea", "bread", "law", "star")


@pytest.fixture
def label_set(sentences) -> LabelSet:
    """The sentences by topic, some with a second label; the last query's label is no training document's."""
    labels = [(TOPICS[i % 5],) if i % 5 < 4 else ("goal", "star") for i in range(200)]
    labels[199] = ("unseen",)
    parts = (slice(0, 140), slice(140, 160), slice(160, 200))
    return LabelSet("topics", *(Labelled(sentences[part], labels[part]) for part in parts), "official")


@pytest.fixture
def methods(label_set) -> list[LabelledCodes]:
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(len(label_set.classes), 16))
    features = [
        (label_set.matrix(part) @ prototypes + rng.normal(0, 0.8, (len(part), 16))).astype(np.float32)
        for part in (label_set.test, label_set.train)
    ]
    embeddings = Embeddings("synthetic", "0", *features)
    codes = [Codes.from_logits(part) for part in features]
    short = [Codes.from_logits(part[:, :3]) for part in features]
    return [LabelledCodes("signs", *codes, embeddings), LabelledCodes("few", *short)]


def test_the_report_holds_the_metrics(label_set, methods):
    report = label_report(methods, label_set, k=10)
    labels = label_set.matrix(label_set.test), label_set.matrix(label_set.train)
    assert {name: report[name] for name in ("data", "protocol", "split", "queries", "documents", "k")} == {
        "data": "topics", "protocol": "official", "split": "test", "queries": 40, "documents": 140, "k": 10,
    }  # fmt: skip
    assert (report["classes"], report["queries_without_positives"]) == (6, 1)
    for row, method in zip(report["rows"], methods, strict=True):
        counts = RadiusCounts.from_codes(method.queries, method.database, *labels)
        assert (row["method"], row["bits"]) == (method.name, method.database.bits)
        assert row["precision@10"] == pytest.approx(counts.precision(10).mean(), abs=1e-6)
        assert row["recall@10"] == pytest.approx(np.nanmean(counts.recall(10)), abs=1e-6)
        assert row["map"] == pytest.approx(np.nanmean(counts.average_precision()), abs=1e-6)
        assert row["ci95"][0] < row["precision@10"] < row["ci95"][1]
        for radius, look_up in enumerate(row["radius"]):
            precision = radius_precision(counts, radius)
            empty = np.isnan(precision)
            assert (look_up["radius"], look_up["empty_queries"]) == (radius, empty.sum())
            assert look_up["precision"] == pytest.approx(np.where(empty, 0, precision).mean(), abs=1e-6)
            assert look_up["precision_answered"] == pytest.approx(precision[~empty].mean(), abs=1e-6)
        for average, curve in row["curves"].items():
            whole = precision_recall_curve(counts, average)
            np.testing.assert_allclose(curve["precision"], whole.precision, atol=1e-6)
            np.testing.assert_allclose(curve["recall"], whole.recall, atol=1e-6)
        assert row["health"]["distinct"] == code_health(method.database).distinct
    assert report["rows"][0]["radius"][0]["empty_queries"] > 0


def test_codes_stand_beside_the_float_embeddings_they_came_from(label_set, methods):
    signs, few = methods
    report = label_report([signs, few, signs], label_set, k=10)
    labels = label_set.matrix(label_set.test), label_set.matrix(label_set.train)
    values = float_precision(signs.embeddings.queries, signs.embeddings.database, *labels, [10])
    (row,) = report["floats"]
    assert (row["encoder"], row["dim"]) == ("synthetic", 16)
    assert row["precision@10"] == pytest.approx(values.mean(), abs=1e-6)
    first, second, third = report["rows"]
    assert second["over_float"] is None
    assert first == third
    over = first["over_float"]
    assert over["difference"] == pytest.approx(first["precision@10"] - row["precision@10"], abs=2e-6)
    assert over["ci95"][0] < over["difference"] < over["ci95"][1]
    # Paired draws vary less than the two figures do on their own.
    assert np.diff(over["ci95"]) < np.diff(first["ci95"]) + np.diff(row["ci95"])
    assert over["above"] == (over["ci95"][0] > 0)


def test_validation_documents_can_be_the_queries(label_set):
    rng = np.random.default_rng(1)
    codes = [Codes.pack(rng.integers(0, 2, (len(p), 8))) for p in (label_set.validation, label_set.train)]
    report = label_report([LabelledCodes("random", *codes)], label_set, split="validation")
    assert (report["split"], report["queries"]) == ("validation", 20)
    # K = 100 of 140 documents by random codes: as precise as chance.
    shared = label_set.matrix(label_set.validation) @ label_set.matrix(label_set.train).T
    assert report["rows"][0]["precision@100"] == pytest.approx(shared.mean(), abs=0.05)


def test_one_document_in_every_bucket_or_all_in_one_is_still_json(label_set):
    sizes = len(label_set.test), len(label_set.train)
    same = [Codes.pack(np.ones((size, 4))) for size in sizes]
    far = [same[0], Codes.pack(np.zeros((sizes[1], 4)))]
    report = label_report([LabelledCodes("same", *same), LabelledCodes("far", *far)], label_set)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    first, second = report["rows"]
    assert first["health"]["correlation"] is None
    assert [look_up["empty_queries"] for look_up in second["radius"]] == [40] * 4
    assert second["radius"][0]["precision_answered"] is None
    assert second["radius"][0]["precision"] == 0


def test_a_hasher_codes_the_set(label_set, encoder):
    hasher = Hasher.fit("itq", teacher=encoder, corpus=label_set.train.texts, bits=8)
    method = LabelledCodes.from_hasher(hasher, label_set)
    assert method.name == "itq"
    assert method.trained_on == "in-corpus"
    np.testing.assert_array_equal(method.queries.packed, hasher.encode_documents(label_set.test.texts).packed)
    np.testing.assert_array_equal(
        method.database.packed, hasher.encode_documents(label_set.train.texts).packed
    )
    report = label_report([method], label_set, k=10)
    assert report["floats"][0]["encoder"] == "bag-of-words"
    assert report["rows"][0]["precision@10"] > 0.5
    other = Hasher.fit("itq", teacher=encoder, corpus=label_set.train.texts[:50], bits=8)
    assert LabelledCodes.from_hasher(other, label_set).trained_on == "general"


def test_queries_may_be_encoded_as_queries(label_set, prompted_encoder):
    hasher = Hasher.fit("sign", teacher=prompted_encoder, corpus=label_set.train.texts, bits=24)
    as_queries = LabelledCodes.from_hasher(hasher, label_set, query_side="query", split="validation")
    expected = hasher.encode_query_codes(label_set.validation.texts)
    np.testing.assert_array_equal(as_queries.queries.packed, expected.packed)
    as_documents = LabelledCodes.from_hasher(hasher, label_set, split="validation")
    assert (as_documents.queries.packed != expected.packed).any()


def test_the_tables_show_the_figures(label_set, methods):
    report = label_report(methods, label_set, k=10)
    console = Console(file=io.StringIO(), width=60)
    print_label_report(report, console)
    shown = console.file.getvalue()
    assert "40 queries, 140 documents, 6 labels; queries without a relevant document: 1" in shown
    for row in report["rows"]:
        line = next(line for line in shown.splitlines() if line.split()[:1] == [row["method"]])
        assert f"{row['precision@10']:.3f}" in line
        assert f"{row['map']:.3f}" in line
    assert "synthetic (float)" in shown
    for look_up in report["rows"][0]["radius"]:
        cells = ["signs", "16", str(look_up["radius"]), f"{look_up['precision']:.3f}"]
        line = next(line.split() for line in shown.splitlines() if line.split()[:4] == cells)
        assert line[5] == f"{look_up['empty_queries'] / 40:.1%}"
    assert f"{report['rows'][1]['health']['expected_bucket']:.1f}" in shown


def test_wrong_input_is_refused(label_set, methods):
    with pytest.raises(InputError, match="'test' or 'validation', not 'train'"):
        label_report(methods, label_set, split="train")
    with pytest.raises(InputError, match="labels of 40 queries"):
        label_report(methods, label_set, split="validation")
    nobody = LabelSet("empty", label_set.train, Labelled([], []), label_set.test, "official")
    with pytest.raises(InputError, match="no documents in its split 'validation'"):
        label_report(methods, nobody, split="validation")
