"""The main path for texts, end to end: train, index, search, evaluate, export, with a tiny model."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from llmhash import Hasher
from llmhash.recipes import load_recipe


@pytest.fixture
def folder(tmp_path, sentences):
    """A BEIR folder of the sentences; each query is the beginning of one."""
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "title": f"Number {i}", "text": text} for i, text in enumerate(sentences)]
    queries = [{"_id": f"q{i}", "text": " ".join(sentences[i].split()[:6])} for i in range(0, 60, 3)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"{q['_id']}\td{q['_id'][1:]}\t1\n" for q in queries)
    (tmp_path / "data" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path, model):
    """The distill recipe with the tiny model and a few steps."""
    content = load_recipe("distill", bits=16, pseudo_queries=200, options={"steps": 20}).to_dict()
    content["encoder"]["name"] = model
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_main_path(run, folder, recipe, tmp_path, monkeypatch) -> None:
    trained = run("train", recipe, "--corpus", folder, "--output", "hasher", "--device", "cpu")
    assert trained.code == 0, trained.err
    assert "asymmetric_scan" in trained.out  # what it keeps on held-out pseudo-queries
    assert "| pseudo-queries | held-out | hamming |" in (tmp_path / "hasher" / "README.md").read_text()

    made = run("index", "create", "c", "--hasher", "hasher", "--corpus", folder, "--engine", "usearch")
    assert made.code == 0, made.err
    assert "recall@10 of usearch" in made.err
    question = " ".join(json.loads((folder / "queries.jsonl").read_text().splitlines()[0])["text"].split())
    hits = json.loads(run("search", "c", question, "-k", 3, "--json").out)
    assert len(hits) == 3
    assert set(hits[0]) == {"id", "score", "text", "metadata"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("first question\n\nsecond question\n"))
    many = [json.loads(line) for line in run("search", "c", "--stdin", "--json", "-k", 2).out.splitlines()]
    assert [line["query"] for line in many] == ["first question", "second question"]
    assert question in run("search", "c", question, "-k", 1).out

    measured = run("eval", "retrieval", "hasher", "--data", folder, "--json", "out.json", "--card")
    assert measured.code == 0, measured.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["queries"], report["documents"]) == (20, 200)
    assert {row["scoring"] for row in report["rows"]} >= {"hamming", "asymmetric", "asymmetric_scan", "float"}
    assert {row["trained_on"] for row in report["rows"] if row["head"] == "distill"} == {"in-corpus"}
    assert "| data | test | hamming |" in (tmp_path / "hasher" / "README.md").read_text()

    exported = run("export", "hasher", "--output", "plain")
    assert exported.code == 0, exported.err
    assert (tmp_path / "plain" / "modules.json").is_file()

    again = run("index", "add", "c", "--corpus", folder, "--skip-existing")
    assert "added 0 documents" in again.out, again.err

    for arguments, message in [
        (["index", "add", "c", "--corpus", folder], "already holds"),
        (["search", "c", " "], "empty"),
        (["eval", "retrieval", "hasher", "--data", folder, "--split", "dev"], "no judgements qrels/dev.tsv"),
        (["train", recipe, "--corpus", folder, "--queries", folder / "queries.jsonl"], "for training"),
        (["train", recipe, "--corpus", folder, "--query-split", "test"], "are for measuring"),
        (["export", "hasher", "--output", "plain"], "not empty"),
    ]:
        refused = run(*arguments)
        assert refused.code == 1, arguments
        assert message in " ".join(refused.err.split()), arguments


def test_compare_writes_one_table(run, folder, model, tmp_path) -> None:
    done = run(
        "eval", "compare", "--teacher", model, "--heads", "sign,itq", "--bits", "8,32", "--data", folder,
        "--seeds", 2, "--json", "t.json", "--csv", "t.csv", "--markdown", "t.md", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "t.json").read_text())
    assert {(row["head"], row["bits"]) for row in report["rows"]} >= {("sign", 8), ("itq", 8)}
    assert any("32 bits left out" in line for line in report["notes"])  # the model has 16 dimensions
    assert (tmp_path / "t.csv").read_text().startswith("data,split")
    assert "| itq | 8 | hamming |" in (tmp_path / "t.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "sgin"], "unknown recipe 'sgin'; did you mean sign"),
        (["--bits", "8,many"], "takes whole numbers by commas, not 'many'"),
        (["--bits", "0"], "from 1 to 4096, not 0"),
        (["--peers", "foss"], "foss"),
        (["--embeddings", "x.npy"], "give both --embeddings and --query-embeddings"),
        (["--heads", "itq,itq"], "two of --heads fit the head 'itq'"),
        (["--heads", "itq,nash"], "the recipe nash needs words; fit it by itself (llmhash train nash)"),
        (["--heads", "dhim"], "the recipe dhim needs tokens"),
    ],
)
def test_compare_refuses(run, folder, model, arguments, message) -> None:
    refused = run(
        "eval", "compare", "--data", folder, "--heads", "sign", "--bits", "8", "--teacher", model, *arguments
    )
    assert refused.code == 1
    assert message in " ".join(refused.err.split())


def test_compare_cuts_the_pairs_that_a_recipe_learns_from(run, folder, model, tmp_path) -> None:
    path = tmp_path / "pairs.yaml"
    training = "training: {hidden: [], steps: 2, device: cpu}"
    path.write_text(f"head: network\npseudo_queries: 100\nobjectives: {{ranking_hinge: }}\n{training}\n")
    options = ("--data", folder, "--teacher", model, "--bits", "8", "--seeds", "1", "--json", "c.json")
    compared = run("eval", "compare", *options, "--heads", path)
    assert compared.code == 0, compared.err
    assert "network" in {row["head"] for row in json.loads((tmp_path / "c.json").read_text())["rows"]}


def test_words_are_not_measured_by_judged_queries(run, folder, sentences, tmp_path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("head: sth\nencoder: {name: tfidf, preset: plain}\nbits: 8\n")
    Hasher.fit(str(path), corpus=sentences).save(tmp_path / "h")
    refused = run("eval", "retrieval", "h", "--data", folder)
    assert refused.code == 1
    assert "measure it on labels (llmhash eval label)" in " ".join(refused.err.split())


def test_teachers_cache_and_recipes(run) -> None:
    assert {"minilm", "bge-m3"} <= {teacher["alias"] for teacher in json.loads(run("teachers", "--json").out)}
    assert "minilm" in run("teachers").out
    assert json.loads(run("cache", "info").out)["entries"] == 0
    assert "removed 0" in run("cache", "clear").out
    assert "distill" in run("recipe", "ls").out
    assert yaml.safe_load(run("recipe", "show", "itq").out)["head"] == "itq"
    assert json.loads(run("info").out)["packages"]["numpy"]
