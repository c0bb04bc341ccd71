"""`llmhash eval label`, from a folder of labelled texts to tables, JSON and pictures, with a tiny model."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def folder(tmp_path, sentences):
    """A label set of five subjects, as JSON lines."""
    data = tmp_path / "data"
    data.mkdir()
    lines = [json.dumps({"text": text, "labels": [f"subject {i % 5}"]}) for i, text in enumerate(sentences)]
    for name, part in (("train", lines[:140]), ("validation", lines[140:160]), ("test", lines[160:])):
        (data / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    (data / "train.txt").write_text("\n".join(sentences[:140]) + "\n")
    return data


@pytest.fixture
def hashers(run, folder, model):
    """Two hashers of 1 and 8 bits."""
    for bits in (1, 8):
        fitted = run(
            "fit", "--head", "itq", "--teacher", model, "--corpus", folder / "train.txt",
            "--bits", bits, "--output", f"itq{bits}", "--device", "cpu",
        )  # fmt: skip
        assert fitted.code == 0, fitted.err
    return ["itq1", "itq8"]


def test_hashers_stand_side_by_side(run, folder, hashers, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    measured = run(
        "eval", "label", *hashers, "--data", folder, "--k", 20,
        "--json", "out.json", "--plot", "pictures", "--plot-format", "png", "--device", "cpu",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["queries"], report["documents"], report["classes"], report["k"]) == (40, 140, 5, 20)
    assert [(row["method"], row["bits"]) for row in report["rows"]] == [("itq", 1), ("itq", 8)]
    assert len(report["floats"]) == 1
    for row in report["rows"]:
        assert row["trained_on"] == "in-corpus"
        assert f"{row['precision@20']:.3f}" in measured.out
    # One bit makes two codes at most, which no map can be made of.
    assert "itq, 1 bits: a map of codes needs at least three distinct ones" in measured.err
    names = ["codes-itq-8-bits.png", "precision-bits.png", "precision-recall.png"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names
    assert all(f"wrote pictures/{name}" in measured.out for name in names)


def test_the_protocol_the_split_and_equal_names(run, folder, hashers, tmp_path) -> None:
    measured = run(
        "eval", "label", "itq8", "itq8", "--data", folder, "--protocol", "survey", "--split", "validation",
        "--json", "out.json", "--device", "cpu",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["protocol"], report["split"]) == ("survey", "validation")
    assert (report["queries"], report["documents"]) == (20, 160)
    # Two of a name are told apart, and the survey's training part is not what the hasher was fitted on.
    assert {row["method"] for row in report["rows"]} == {"itq (itq8)"}
    assert {row["trained_on"] for row in report["rows"]} == {"general"}
    assert "precision@100" in measured.out


def test_a_missing_set_is_one_sentence(run, tmp_path) -> None:
    failed = run("eval", "label", "nowhere", "--data", tmp_path / "none")
    assert failed.code == 1
    assert "none" in failed.err
    assert "Traceback" not in failed.err


def test_help_names_the_command(run) -> None:
    assert "label" in run("eval", "--help").out
