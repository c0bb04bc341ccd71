"""The main path for a user who brings vectors: no model is needed anywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from llmhash.codes import Codes


@pytest.fixture
def vectors(tmp_path) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(120, 16)).astype(np.float32)
    np.save(tmp_path / "docs.npy", values)
    np.save(tmp_path / "queries.npy", values[:3] + 0.01)
    return values


def test_fit_index_encode_and_search(run, vectors, tmp_path) -> None:
    fitted = run("fit", "--head", "itq", "--embeddings", "docs.npy", "--bits", 16, "--output", "hasher")
    assert fitted.code == 0, fitted.err
    assert "saved hasher" in fitted.out
    lines = "".join(
        json.dumps({"_id": f"doc{i}", "text": f"text {i}", "even": i % 2 == 0}) + "\n" for i in range(120)
    )
    (tmp_path / "docs.jsonl").write_text(lines)
    made = run(
        "index", "create", "c", "--hasher", "hasher", "--embeddings", "docs.npy", "--corpus", "docs.jsonl"
    )
    assert made.code == 0, made.err
    assert run("encode", "hasher", "queries.npy", "--side", "query", "--output", "q.npy").code == 0
    found = run("search", "c", "--codes", "q.npy", "-k", 5)
    assert found.code == 0, found.err
    rows = [json.loads(line) for line in found.out.splitlines()]
    reference = Codes.load("q.npy").hamming(Codes.pack(Codes.load("q.npy").unpack()))
    assert reference.shape == (3, 3)
    for i, row in enumerate(rows):
        assert len(row["ids"]) == 5
        assert row["distances"] == sorted(row["distances"])
        assert f"doc{i}" in row["ids"]
    info = json.loads(run("info", "c").out)
    assert (info["kind"], info["documents"], info["bits"]) == ("collection", 120, 16)
    assert json.loads(run("info", "hasher").out)["kind"] == "hasher"
    assert json.loads(run("info", "q.npy").out)["side"] == "query"
    assert json.loads(run("index", "info", "c").out)["documents"] == 120


def test_searching_with_codes_loads_no_torch(run, vectors, tmp_path) -> None:
    run("fit", "--head", "itq", "--embeddings", "docs.npy", "--bits", 16, "--output", "hasher")
    run("index", "create", "c", "--hasher", "hasher", "--embeddings", "docs.npy")
    run("encode", "hasher", "queries.npy", "--side", "query", "--output", "q.npy")
    code = (
        "import sys; sys.argv = ['llmhash', 'search', 'c', '--codes', 'q.npy']\n"
        "import llmhash.cli\ntry: llmhash.cli.main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_train_runs_a_recipe_of_ones_own(run, vectors, tmp_path) -> None:
    assert run("recipe", "cp", "itq", "mine.yaml").code == 0
    assert run("recipe", "cp", "itq", "mine.yaml").err.startswith("error: mine.yaml exists")
    done = run("train", "mine.yaml", "--embeddings", "docs.npy", "--bits", 8, "--output", "mine")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "mine" / "hasher.json").read_text())["recipe"]["head"] == "itq"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--embeddings", "docs.npy", "--bits", 0], "bits must be a whole number from 1 to 4096, not 0"),
        (["--embeddings", "docs.npy", "--bits", 17, "--head", "sign"], "16"),
        (["--embeddings", "docs.npy", "--head", "itt"], "unknown recipe 'itt'; did you mean itq"),
        (["--embeddings", "none.npy"], "none.npy does not exist"),
        (
            ["--embeddings", "docs.npy", "--corpus", "x.txt"],
            "give one of --corpus, --dataset, --embeddings and --data",
        ),
        (["--query-embeddings", "docs.npy"], "goes with --embeddings"),
        (["--embeddings", "docs.npy", "--query-split", "train"], "names a split of the BEIR folder"),
        (["--embeddings", "nan.npy"], "NaN or infinity in 1 row(s), the first is row 1"),
        (["--embeddings", "docs.npy", "--output", "."], "exists and is not a hasher"),
    ],
)
def test_bad_input_is_one_sentence_and_a_failure(run, vectors, tmp_path, arguments, message) -> None:
    np.save(tmp_path / "nan.npy", np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]]))
    result = run("fit", *arguments)
    assert result.code == 1
    assert message in " ".join(result.err.split())
    assert result.err.strip().startswith("error: ")
    assert "Traceback" not in result.err


def test_a_foreign_hasher_is_refused(run, vectors, tmp_path) -> None:
    run("fit", "--embeddings", "docs.npy", "--bits", 16, "--output", "one")
    run("fit", "--head", "lsh", "--embeddings", "docs.npy", "--bits", 16, "--output", "two")
    run("index", "create", "c", "--hasher", "one", "--embeddings", "docs.npy")
    run("encode", "two", "queries.npy", "--side", "query", "--output", "q.npy")
    refused = run("search", "c", "--codes", "q.npy")
    assert refused.code == 1
    assert "was made by another hasher" in refused.err
    (tmp_path / "c" / "hasher" / "hasher.json").write_bytes((tmp_path / "two" / "hasher.json").read_bytes())
    (tmp_path / "c" / "hasher" / "head.safetensors").write_bytes(
        (tmp_path / "two" / "head.safetensors").read_bytes()
    )
    refused = run("search", "c", "a question")
    assert refused.code == 1
    assert "was built by another hasher" in refused.err


def test_a_refused_create_leaves_nothing_behind(run, vectors, tmp_path) -> None:
    run("fit", "--embeddings", "docs.npy", "--bits", 8, "--output", "hasher")
    np.save(tmp_path / "narrow.npy", vectors[:, :5])
    refused = run("index", "create", "c", "--hasher", "hasher", "--embeddings", "narrow.npy")
    assert refused.code == 1
    assert not (tmp_path / "c").exists()
    assert run("index", "create", "c", "--hasher", "hasher", "--embeddings", "docs.npy").code == 0


def test_bad_paths(run, vectors, tmp_path) -> None:
    run("fit", "--embeddings", "docs.npy", "--bits", 8, "--output", "hasher")
    for arguments, message in [
        (["info", "nothing"], "is no hasher, collection or codes file"),
        (["search", "nothing", "a question"], "nothing"),
        (["search", "c"], "give one of: a question, --stdin, or --codes"),
        (["index", "create", "c", "--hasher", "nowhere/at/all", "--embeddings", "docs.npy"], "no folder"),
        (["index", "create", "c", "--hasher", "hasher"], "give --corpus PATH"),
        (["distill", "--dataset", "x/y", "--budget", "ten"], "is no duration"),
    ]:
        result = run(*arguments)
        assert result.code == 1, arguments
        assert message in " ".join(result.err.split()), arguments
