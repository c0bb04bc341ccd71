"""`llmhash probe`, end to end: a tiny corpus with a tiny model, and vectors without one."""

from __future__ import annotations

import json

import numpy as np
import pytest


@pytest.fixture
def corpus(tmp_path, sentences):
    lines = (json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(sentences))
    (tmp_path / "corpus.jsonl").write_text("".join(lines))
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def vectors(tmp_path):
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(300, 16)).astype(np.float32)
    np.save(tmp_path / "docs.npy", documents)
    np.save(tmp_path / "queries.npy", documents[:100] + 0.2 * rng.normal(size=(100, 16)))
    np.save(tmp_path / "few.npy", documents[:20])
    np.save(tmp_path / "narrow.npy", documents[:, :5])


def test_texts_with_a_model(run, corpus, model, tmp_path) -> None:
    done = run(
        "probe", "--teacher", model, "--corpus", corpus, "--heads", "sign,itq", "--bits", "8,16,32",
        "--sample", 150, "--pseudo-queries", 600, "--target-size", 5000, "--device", "cpu",
        "--json", "p.json", "--markdown", "p.md",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "Sign at zero is" in done.out
    assert "probing" in done.err
    assert "itq, 16 bits" in done.err
    report = json.loads((tmp_path / "p.json").read_text())
    assert (report["corpus_size"], report["documents"], report["target_size"]) == (200, 150, 5000)
    assert (report["queries"], report["known_items"]) == ("pseudo-queries", True)
    assert {(row["head"], row["bits"]) for row in report["kept"]} == {
        (head, bits) for head in ("sign", "itq") for bits in (8, 16)
    }
    assert len([line for line in report["notes"] if "at 32 bits left out" in line]) == 2
    assert (tmp_path / "p.md").read_text().startswith(f"# How {model} binarizes")


def test_vectors_without_a_model(run, vectors, tmp_path) -> None:
    arguments = ("probe", "--embeddings", "docs.npy", "--heads", "sign,median", "--json", "p.json")
    alone = run(*arguments)
    assert alone.code == 0, alone.err
    assert "stand in for queries, as there are no query vectors" in alone.out
    both = run(*arguments, "--query-embeddings", "queries.npy")
    assert both.code == 0, both.err
    report = json.loads((tmp_path / "p.json").read_text())
    assert (report["teacher"], report["queries"], report["known_items"]) == (
        "vectors",
        "query vectors",
        False,
    )
    assert {row["bits"] for row in report["kept"]} == {16}  # the vectors' dimension
    again = run(*arguments, "--query-embeddings", "queries.npy", "--seed", 0)
    assert again.out == both.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--embeddings", "few.npy"], "at least 50 documents to say anything, and there are 20"),
        (["--embeddings", "docs.npy", "--heads", "sgin"], "unknown recipe 'sgin'; did you mean sign"),
        (["--embeddings", "docs.npy", "--heads", "itq,itq"], "two of --heads fit the head 'itq'"),
        (["--embeddings", "docs.npy", "--heads", "wish"], "the recipe wish needs words; fit it by itself"),
        (["--embeddings", "docs.npy", "--bits", "8,x"], "--bits takes whole numbers by commas, not 'x'"),
        (["--embeddings", "docs.npy", "--bits", "64"], "teacher's 16 dimensions"),
        (["--embeddings", "docs.npy", "--keep", "90"], "--keep must be a share"),
        (["--embeddings", "docs.npy", "--teacher", "minilm"], "give --teacher or --embeddings, not both"),
        (
            ["--embeddings", "docs.npy", "--corpus", "x.txt"],
            "give one of --corpus, --dataset, --embeddings and --data",
        ),
        (["--embeddings", "docs.npy", "--query-embeddings", "narrow.npy"], "5 dimensions"),
        (["--query-embeddings", "queries.npy"], "goes with --embeddings"),
        (["--corpus", "none.jsonl"], "none.jsonl does not exist"),
        (["--corpus", "empty.jsonl"], "holds no text"),
        (["--corpus", "short.txt"], "at least 50 documents to say anything, and there are 3"),
    ],
)
def test_bad_input_is_one_sentence_and_a_failure(run, vectors, model, tmp_path, arguments, message) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "short.txt").write_text("one text\nanother text\na third text\n")
    if "--corpus" in arguments and "--embeddings" not in arguments:
        arguments = [*arguments, "--teacher", model, "--device", "cpu"]
    result = run("probe", *arguments)
    assert result.code == 1
    assert message in " ".join(result.err.split())
    assert "Traceback" not in result.err


def test_help_names_it(run) -> None:
    assert "probe" in run("--help").out
