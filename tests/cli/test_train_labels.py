"""`llmhash train RECIPE --data SET`: from labelled texts to a hasher, by words and by a tiny model."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from llmhash import Hasher
from llmhash.recipes import load_recipe


@pytest.fixture
def folder(tmp_path, sentences):
    """A label set of five subjects, as JSON lines."""
    data = tmp_path / "subjects"
    data.mkdir()
    lines = [json.dumps({"text": text, "labels": [f"subject {i % 5}"]}) for i, text in enumerate(sentences)]
    for name, part in (("train", lines[:140]), ("validation", lines[140:160]), ("test", lines[160:])):
        (data / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    return data


@pytest.fixture
def quick(tmp_path):
    """A shipped recipe of a few steps, as a file."""

    def write(name):
        content = load_recipe(name, options={"steps": 20, "validate_every": 10}).to_dict()
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_words_are_trained_on_and_validated(run, folder, quick, tmp_path) -> None:
    trained = run(
        "train", quick("nash"), "--data", folder, "--bits", 8, "--output", "h", "--device", "cpu",
        "--checkpoint", "run",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert "140 documents to train on, 20 to validate on (official protocol)" in trained.err
    printed = float(re.search(r"validation precision@100 (\d\.\d{3}) \(float tfidf: ", trained.out)[1])
    measured = run(
        "eval", "label", "h", "--data", folder, "--split", "validation", "--json", "out.json"
    )  # fmt: skip
    assert measured.code == 0, measured.err
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["precision@100"] == pytest.approx(printed, abs=5e-4)
    assert row["trained_on"] == "in-corpus"
    assert (tmp_path / "run" / "log.jsonl").is_file()
    hasher = Hasher.load(tmp_path / "h")
    assert (hasher.bits, hasher.encoder.name, hasher.recipe["name"]) == (8, "tfidf", "nash")


def test_a_checkpoint_is_gone_on_from(run, folder, quick, tmp_path) -> None:
    command = ("train", quick("nash"), "--data", folder, "--bits", 8)
    command += ("--device", "cpu", "--checkpoint", "run")
    assert run(*command, "--output", "one").code == 0
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert run(*command, "--output", "two").code == 0
    assert (tmp_path / "run" / "log.jsonl").read_text() == log  # it was finished
    one, two = (Hasher.load(tmp_path / name) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    other = run(*command, "--output", "three", "--seed", 1)
    assert other.code == 1
    assert "is of another run (seed differ)" in other.err


def test_the_survey_protocol_pools_and_its_split_has_a_seed(run, folder) -> None:
    command = ("train", "itq", "--data", folder, "--encoder", "tfidf", "--components", 16, "--bits", 8)
    fitted = {}
    for seed in (0, 1):
        trained = run(*command, "--protocol", "survey", "--split-seed", seed, "--output", f"h{seed}")
        assert trained.code == 0, trained.err
        assert "160 documents to train on, 20 to validate on (survey protocol)" in trained.err
        fitted[seed] = Hasher.load(f"h{seed}")
    assert fitted[0].dim == 16
    assert fitted[0].training["corpus"] != fitted[1].training["corpus"]


def test_a_model_takes_the_place_of_words(run, folder, quick, model, tmp_path) -> None:
    trained = run(
        "train", quick("wish"), "--data", folder, "--encoder", model, "--bits", 8, "--device", "cpu"
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert "(float " in trained.out
    (made,) = tmp_path.glob("*-wish-8")
    assert Hasher.load(made, device="cpu").recipe["words"]["preset"] == "survey"


def test_words_are_fitted_on_a_corpus_without_labels_too(run, quick, sentences, tmp_path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(sentences) + "\n")
    command = ("train", quick("nash"), "--corpus", "texts.txt", "--bits", 8, "--output", "h")
    trained = run(*command, "--device", "cpu")
    assert trained.code == 0, trained.err
    assert Hasher.load(tmp_path / "h").training["documents"] == len(sentences)


def test_pairs_of_words_are_trained_on_without_float_figures(run, quick, sentences, tmp_path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(sentences) + "\n")
    trained = run(
        "train", quick("bpr"), "--encoder", "tfidf", "--corpus", "texts.txt", "--bits", 8, "--output", "h",
        "--components", 12, "--pseudo-queries", 100, "--device", "cpu",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert Hasher.load(tmp_path / "h").training["queries"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("itq", "--corpus", "a.txt"), "give one of --corpus, --dataset, --embeddings and --data"),
        (("itq", "--queries", "a.txt"), "training queries go with --corpus, not with a label set"),
        (("dhim", "--encoder", "tfidf"), "the recipe dhim takes tokens, which tfidf does not give"),
        (("itq", "--checkpoint", "run"), "the recipe itq leaves no checkpoints"),
        (("nahs",), "unknown recipe 'nahs'; did you mean nash"),
        (("lsh", "--encoder", "tfidf", "--components", "500"), "components, not 500"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(run, folder, arguments, message) -> None:
    failed = run("train", *arguments, "--data", folder)
    assert failed.code == 1
    assert message in " ".join(failed.err.split())
    assert "Traceback" not in failed.err


@pytest.mark.parametrize("name", ["nash", "sth-joined"])
def test_words_without_a_corpus_are_one_sentence(run, name) -> None:
    failed = run("train", name)
    assert failed.code == 1
    assert "words are fitted on the corpus: give it as --corpus or --data" in " ".join(failed.err.split())
