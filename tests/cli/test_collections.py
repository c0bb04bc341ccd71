"""What is done to a collection after it is made: filters, upserts, deletions, upkeep."""

from __future__ import annotations

import json

import numpy as np
import pytest

COUNT = 60


@pytest.fixture
def collection(run, tmp_path):
    """60 documents with a year and a language; beside them query codes of the first three."""
    vectors = np.random.default_rng(0).normal(size=(COUNT, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[:3])
    lines = [
        {"_id": f"d{i}", "text": f"text {i}", "year": 1990 + i % 10, "lang": "en" if i % 3 else "de"}
        for i in range(COUNT)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for command in (
        ["fit", "--head", "pca", "--bits", 16, "--embeddings", "vectors.npy", "--output", "h"],
        ["encode", "h", "queries.npy", "--side", "query", "--output", "codes.npy"],
        [
            *("index", "create", "c", "--hasher", "h", "--field", "year", "--field", "lang"),
            *("--corpus", "corpus.jsonl", "--embeddings", "vectors.npy"),
        ],
    ):
        done = run(*command)
        assert done.code == 0, done.err
    return tmp_path / "c"


def found(run, *arguments) -> list[list[str]]:
    done = run("search", "c", "--codes", "codes.npy", *arguments)
    assert done.code == 0, done.err
    return [json.loads(line)["ids"] for line in done.out.splitlines()]


def test_filters(run, collection) -> None:
    assert [ids[0] for ids in found(run, "-k", 1)] == ["d0", "d1", "d2"]
    where = {"year": {">=": 1995}, "lang": "de"}
    matching = {f"d{i}" for i in range(COUNT) if i % 10 >= 5 and i % 3 == 0}
    for ids in found(run, "-k", COUNT, "--where", json.dumps(where)):
        assert set(ids) == matching
    for wrong, message in [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"year": {"=>": 1}}', "=>"),
        ('{"author": "x"}', "author"),
    ]:
        refused = run("search", "c", "--codes", "codes.npy", "--where", wrong)
        assert refused.code == 1, wrong
        assert message in refused.err


def test_upkeep(run, collection, tmp_path) -> None:
    assert "put 60 documents in place" in (
        run("index", "add", "c", "--corpus", "corpus.jsonl", "--embeddings", "vectors.npy", "--upsert").out
    )
    assert "deleted 1 documents; c holds 59" in run("index", "delete", "c", "--id", "d1").out
    assert "d1" not in found(run, "-k", 1)[1]
    assert "deleted 6 documents; c holds 53" in run("index", "delete", "c", "--where", '{"year": 1990}').out
    unknown = run("index", "delete", "c", "--id", "d2", "--id", "d1")
    assert unknown.code == 1
    assert "'d1'" in unknown.err
    assert json.loads(run("index", "info", "c").out)["deleted"] == 67

    before = found(run, "-k", COUNT)
    assert "fewer than before" in run("index", "compact", "c").out
    assert found(run, "-k", COUNT) == before
    assert "whole: 53 documents" in run("index", "verify", "c").out
    assert run("index", "backup", "c", "copy").code == 0
    assert "whole: 53 documents" in run("index", "verify", "copy").out

    codes = next((tmp_path / "c").glob("codes-*.bin"))
    damaged = bytearray(codes.read_bytes())
    damaged[-1] ^= 1
    codes.write_bytes(damaged)
    refused = run("index", "verify", "c")
    assert refused.code == 1
    assert codes.name in refused.err


@pytest.mark.parametrize("engine", ["flat", "mih", "usearch", "faiss-hnsw", "faiss-ivf"])
def test_recall_of_an_engine(run, collection, engine) -> None:
    pytest.importorskip("faiss" if engine.startswith("faiss") else "numpy")
    done = run("index", "recall", "c", "--engine", engine, "--codes", "codes.npy")
    assert f"recall@10 of {engine} against the exact scan: 1.000" in done.out, done.err
