"""Collections by the hasher that is shipped, and the warning of drift."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from llmhash import hasher_files
from llmhash.recipes import load_recipe


@pytest.fixture
def corpora(tmp_path, sentences):
    """A corpus of sentences, and one of nothing but numbers."""
    numbers = [f"{i} {i + 1} {i * i}" for i in range(150)]
    for name, texts in (("words", sentences), ("numbers", numbers)):
        lines = (json.dumps({"_id": str(i), "text": text}) + "\n" for i, text in enumerate(texts))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def shipped(run, corpora, model, tmp_path, monkeypatch):
    """A tiny nested hasher in the place of the shipped ones."""
    options = {"nested": [32, 64, 128], "steps": 5}
    content = load_recipe("distill-nested", bits=256, pseudo_queries=100, options=options).to_dict()
    content["encoder"]["name"] = model
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    trained = run("train", "tiny.yaml", "--corpus", "words.jsonl", "--output", "hashers/minilm")
    assert trained.code == 0, trained.err
    monkeypatch.setattr(hasher_files, "_shipped", lambda: tmp_path / "hashers")
    return tmp_path


def test_a_handful_of_documents_is_nothing_to_adapt_to(run, shipped) -> None:
    few = (shipped / "words.jsonl").read_text().splitlines()[:20]
    (shipped / "few.jsonl").write_text("\n".join(few))
    made = run("index", "create", "c", "--corpus", "few.jsonl")
    assert "as it is, for so few documents" in made.err
    assert "adapted_to" not in json.loads(run("info", "c/hasher").out)["training"]


@pytest.mark.parametrize(("given", "bits"), [([], 128), (["--bits", 64], 64), (["--bits", 256], 256)])
def test_without_a_hasher_the_general_one_serves(run, shipped, given, bits) -> None:
    made = run("index", "create", "c", "--corpus", "words.jsonl", *given)
    assert made.code == 0, made.err
    assert f"the general {bits}-bit hasher for minilm" in made.err
    assert "adapted to these documents" in made.err
    assert "llmhash distill --teacher minilm" in made.err
    stored = json.loads(run("info", "c/hasher").out)
    assert (stored["bits"], stored["training"]["adapted_to"]) == (bits, 200)
    assert json.loads(run("info", "c").out)["bits"] == bits
    assert run("index", "add", "c", "--corpus", "words.jsonl", "--skip-existing").code == 0
    (hit,) = json.loads(run("search", "c", "a question", "-k", 1, "--json").out)
    assert hit["id"]


def test_a_named_nested_hasher_is_cut(run, shipped) -> None:
    made = run("index", "create", "c", "--hasher", "minilm", "--bits", 32, "--corpus", "words.jsonl")
    assert made.code == 0, made.err
    assert "general" not in made.err
    assert json.loads(run("index", "info", "c").out)["bits"] == 32


def test_widths_that_a_hasher_has_not_are_refused(run, shipped) -> None:
    for hasher in ([], ["--hasher", "minilm"]):
        refused = run("index", "create", "c", *hasher, "--bits", 96, "--corpus", "words.jsonl")
        assert refused.code == 1
        assert "32, 64, 128, 256 bits, not of 96" in refused.err
    assert not (shipped / "c").exists()


def test_vectors_need_a_hasher(run, shipped) -> None:
    np.save(shipped / "vectors.npy", np.ones((4, 384), dtype=np.float32))
    refused = run("index", "create", "c", "--embeddings", "vectors.npy")
    assert refused.code == 1
    assert "give --hasher with --embeddings" in refused.err


def test_info_warns_of_documents_unlike_those_of_training(run, shipped) -> None:
    for name in ("words", "numbers"):
        made = run("index", "create", name, "--hasher", "minilm", "--corpus", f"{name}.jsonl")
        assert made.code == 0, made.err
    for command in (("info",), ("index", "info")):
        same, other = run(*command, "words"), run(*command, "numbers")
        balance = json.loads(same.out)["bit_balance"]
        assert balance["drift"] < balance["limit"]
        assert (balance["sample"], balance["drifted"]) == (200, False)
        assert "warning" not in same.err
        balance = json.loads(other.out)["bit_balance"]
        assert balance["drift"] > balance["limit"]
        assert balance["drifted"]
        assert len(other.err.strip().splitlines()) == 1
        assert f"bit balance drift {balance['drift']}," in other.err


def test_a_hasher_adapted_to_a_corpus_drifts_when_others_are_added(run, shipped) -> None:
    assert run("index", "create", "c", "--corpus", "numbers.jsonl").code == 0
    before = json.loads(run("info", "c").out)["bit_balance"]
    assert (before["sample"], before["drifted"]) == (150, False)
    words = (shipped / "words.jsonl").read_text().replace('"_id": "', '"_id": "w')
    (shipped / "more.jsonl").write_text(words)
    assert run("index", "add", "c", "--corpus", "more.jsonl").code == 0
    after = json.loads(run("info", "c").out)["bit_balance"]
    assert (after["sample"], after["drifted"]) == (350, True)


def test_collections_without_a_hasher_s_copy_are_described_as_before(run, shipped) -> None:
    assert run("index", "create", "c", "--corpus", "words.jsonl").code == 0
    shutil.rmtree(shipped / "c" / "hasher")
    assert "bit_balance" not in json.loads(run("info", "c").out)


def test_a_collection_that_outgrew_its_codebook_is_said_to(run, corpora, model) -> None:
    for name, codebook in (("with", "always"), ("without", "never")):
        content = load_recipe(
            "distill", bits=16, pseudo_queries=100, options={"steps": 5, "codebook": codebook}
        )
        recipe = content.to_dict()
        recipe["encoder"]["name"] = model
        (corpora / "tiny.yaml").write_text(yaml.safe_dump(recipe))
        assert run("train", "tiny.yaml", "--corpus", "words.jsonl", "--output", f"h-{name}").code == 0
        assert run("index", "create", name, "--hasher", f"h-{name}", "--corpus", "words.jsonl").code == 0
        assert "codebook" not in run("info", name).err
        more = [json.loads(line) for line in (corpora / "words.jsonl").read_text().splitlines()]
        lines = (json.dumps({"_id": f"more {doc['_id']}", "text": doc["text"] + " too"}) for doc in more)
        (corpora / "more.jsonl").write_text("\n".join(lines))
        assert run("index", "add", name, "--corpus", "more.jsonl").code == 0
        warned = "holds 400 documents but its hasher's codebook was fitted on 200" in run("info", name).err
        assert warned == (codebook == "always")
