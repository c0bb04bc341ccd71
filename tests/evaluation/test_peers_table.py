"""The table's driver, on three small sets and an encoder that needs no model."""

from __future__ import annotations

import json
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "eval" / "distill"
TOPICS = 24
DOCUMENTS, QUERIES = 300, 30


class Topics:
    """Texts "TOPIC NUMBER" near the vector of their topic."""

    name, dim, sides_differ, fingerprint = "topics", 32, False, "topics"

    def __init__(self, _name: str = "", *_rest: str) -> None:
        self.encoder = self

    def of(self, _name: str) -> Topics:
        return self

    def at_hand(self, _judged: object) -> None:
        """There are no stored embeddings."""

    def encode(self, texts, side, *, progress=False):
        vectors = np.empty((len(texts), self.dim))
        for row, text in enumerate(texts):
            vectors[row] = _vector(text.split()[0]) + 0.5 * _vector(text)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _vector(text: str) -> np.ndarray:
    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).normal(size=Topics.dim)


@pytest.fixture(scope="module")
def modules():
    """The driver's modules, which find each other as a script's do."""
    pytest.importorskip("faiss")
    sys.path.insert(0, str(FOLDER))
    try:
        import cells
        import sets
        import summary
        import table

        yield {"cells": cells, "sets": sets, "summary": summary, "table": table}
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("cells", "page", "plot", "rows", "sets", "summary", "table"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Sets "a" and "b", measured, and "c", whose documents only distract."""
    folder = tmp_path_factory.mktemp("data")
    for name in "abc":
        (folder / name / "qrels").mkdir(parents=True)
        documents = [{"_id": f"{i}", "text": f"{name}{i % TOPICS} {i}"} for i in range(DOCUMENTS)]
        queries = [{"_id": f"q{i}", "text": f"{name}{i % TOPICS} asked {i}"} for i in range(QUERIES)]
        for file, records in (("corpus", documents), ("queries", queries)):
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (folder / name / f"{file}.jsonl").write_text(lines)
        judged = [(q, d) for q in range(QUERIES) for d in range(q % TOPICS, DOCUMENTS, TOPICS)]
        rows = [f"q{q}\t{d}\t{1 + (d > 100)}" for q, d in judged] + ["q0\t1\t0"]
        (folder / name / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    return folder


@pytest.fixture
def small(modules, monkeypatch):
    """The modules, with the small sets for the real ones."""
    for module in ("sets", "table"):
        monkeypatch.setattr(modules[module], "SETS", ("a", "b"))
        monkeypatch.setattr(modules[module], "Teacher", Topics)
    monkeypatch.setattr(modules["sets"], "DISTRACTORS", ("c",))
    monkeypatch.setattr(modules["sets"], "APART", ())
    return modules


def run(modules, data: Path, output: Path, *more: str) -> None:
    numbers = ["--bits", "16", "--seeds", "2", "--sizes", "100,400", "--pooled-queries", "20"]
    modules["table"].main(["--data", str(data), "--output", str(output), *numbers, *more])


def test_the_pool_holds_every_document_once_and_each_sets_own_judgements(small, data):
    setting = small["sets"].open_pooled(data, Topics(), most_queries=20, sizes=[100, 400])
    assert len(setting.task.documents) == 3 * DOCUMENTS
    assert len(setting.task.queries) == 40
    assert set(setting.parts) == {"a", "b", "a@900", "b@900"}
    assert setting.parts["b"].tolist() == list(range(20, 40))
    for part, first in (("a", 0), ("b", DOCUMENTS)):
        for query in setting.parts[part]:
            rows = setting.task.judgements[slice(int(query), int(query) + 1)].rows
            assert ((rows >= first) & (rows < first + DOCUMENTS)).all()
    # Queries lie near their own topic, which the pool holds.
    assert setting.task.teacher_values["recall@100"].mean() > 0.95


def test_the_curves_databases_grow_around_the_judged_documents(small, data):
    setting = small["sets"].open_pooled(data, Topics(), most_queries=20, sizes=[100, 400])
    assert [point.name for point in setting.points] == ["a@100", "a@400", "b@100", "b@400"]
    less, more = setting.points[2:]
    assert len(less.rows) == 100
    assert len(more.rows) == 400
    assert set(less.rows) < set(more.rows)
    assert len(less.task.queries) == len(more.task.queries) == len(setting.parts["b@900"]) > 0
    for point in (less, more):
        assert (point.task.judgements.rows >= 0).all()
        np.testing.assert_array_equal(point.task.documents, setting.task.documents[point.rows])
        np.testing.assert_array_equal(point.task.queries, setting.task.queries[setting.parts["b@900"]])


def test_stored_embeddings_are_taken_of_sets_that_have_some(modules, data, tmp_path):
    judged, other = (modules["sets"].read_retrieval_set(data / name, "test") for name in "ab")
    rows = np.random.default_rng(0).normal(size=(DOCUMENTS + QUERIES, 5)).astype(np.float16)
    np.savez(tmp_path / "a.npz", corpus=rows[:DOCUMENTS], queries=rows[DOCUMENTS:])
    teacher = modules["sets"].Teacher("minilm", "torch", "float32", stored=tmp_path)
    documents, queries = teacher.at_hand(judged)
    assert documents.dtype == queries.dtype == np.float32
    np.testing.assert_array_equal(documents, rows[:DOCUMENTS])
    np.testing.assert_array_equal(queries, rows[DOCUMENTS:][judged.query_rows])
    assert teacher.at_hand(other) is None


def test_curve_queries_are_those_whose_judged_documents_fit(small, data):
    judged = small["sets"].read_retrieval_set(data / "a", "test")
    chosen, documents = small["sets"].curve_queries(judged, limit=60, seed=0)
    held = {d for position in chosen for d in judged.qrels[judged.query_ids[position]]}
    assert held == set(documents)
    assert 40 < len(documents) <= 60
    assert chosen == sorted(chosen)
    assert small["sets"].curve_queries(judged, limit=0, seed=0) == ([], [])


def test_a_run_goes_on_where_it_stopped_and_makes_rows_again(small, data, tmp_path):
    run(small, data, tmp_path, "--rows", "float,itq,pq", "--ours", "itq")
    folder = tmp_path / "cells"
    cells = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}
    # In each of three settings the teacher once, the others with two seeds.
    assert len(cells) == 3 * (1 + 2 + 2)
    run(small, data, tmp_path, "--rows", "float,itq,pq,pca_sq8", "--again", "pq", "--ours", "itq")
    for path, made in cells.items():
        assert (path.stat().st_mtime_ns > made) == path.name.startswith("pq-")
    assert len(list(folder.glob("*/pca_sq8-16-*.json"))) == 3
    assert not list(folder.glob("*/*.half"))
    with pytest.raises(SystemExit, match="other settings"):
        run(small, data, tmp_path, "--rows", "float", "--teacher", "mpnet")


def test_pages_say_what_the_cells_hold(small, data, tmp_path):
    run(small, data, tmp_path, "--rows", "float,itq,pq", "--ours", "itq")
    page = (tmp_path / "README.md").read_text()
    for heading in ("## Each set alone", "### 2 bytes per document", "## All pooled: 900 documents"):
        assert heading in page
    assert page.count("itq against the best of the others") == 2
    assert "| row | scoring | B/doc | 100 | 400 | 900 |" in page
    assert (tmp_path / "retention.svg").stat().st_size > 1000
    cells = small["cells"].Cells(tmp_path / "cells")
    summary = small["summary"].Summary(cells, ("a", "b"))
    name = small["summary"].Name("itq", 16, "asymmetric_scan")
    values = [cells.values(small["cells"].Key("a", "itq", 16, seed)) for seed in (0, 1)]
    mean = np.mean([each["asymmetric_scan"]["a"]["ndcg@10"] for each in values])
    teacher = cells.values(small["cells"].Key("a", "float", 32 * Topics.dim, 0))["float"]["a"]["ndcg@10"]
    share = summary.retention([("a", "a")], name)
    assert share.value == pytest.approx(mean / teacher.mean())
    assert share.ci95[0] < share.value < share.ci95[1]
    both = summary.retention([("a", "a"), ("b", "b")], name).value
    assert both == pytest.approx(np.mean([summary.retention([(s, s)], name).value for s in "ab"]))
    (rival,) = summary.rivals([("a", "a")], summary.entries["a"][name])
    assert rival.row == "pq"
    lead = summary.lead([("a", "a")], name, rival)
    assert lead.value == pytest.approx(share.value - summary.retention([("a", "a")], rival).value)
    assert lead.ci95[0] <= lead.value <= lead.ci95[1]
