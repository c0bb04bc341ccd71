from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.evaluation import METRICS, RetrievalTask, evaluate, retrieval
from llmhash.evaluation.rankings import Asymmetric, AsymmetricScan, FloatRanking, HammingRanking
from llmhash.metrics import Judgements, Ranks, ndcg


def signs(task):
    return Codes.from_logits(task.queries), Codes.from_logits(task.documents)


def test_queries_without_a_positive_are_left_out_and_counted(task, embedded):
    assert task.left_out == 1
    assert len(task.queries) == len(embedded.data.query_ids) - 1
    np.testing.assert_array_equal(task.queries[5], embedded.queries[6])
    assert (task.judgements.counts > 0).all()


def test_the_teacher_is_measured_on_all_documents(task, embedded):
    data = embedded.data
    judgements = Judgements.from_qrels(data.qrels, data.query_ids, data.documents.ids)
    dense = ndcg(Ranks.from_scores(embedded.queries @ embedded.documents.T, judgements))
    np.testing.assert_allclose(task.teacher_values["ndcg@10"], np.delete(dense, 5))
    assert tuple(task.teacher_values) == METRICS
    assert task.teacher_values["overlap@10"].mean() > 0.99


def test_evaluating_the_teacher_gives_the_teachers_values(task):
    values, seconds = evaluate(task, FloatRanking(task.queries, task.documents))
    for name in METRICS:
        np.testing.assert_allclose(values[name], task.teacher_values[name])
    assert seconds > 0


@pytest.mark.parametrize("make", [HammingRanking, lambda q, d: Asymmetric(q.to_pm1(np.float32), d, 20)])
def test_values_do_not_depend_on_the_blocks(task, embedded, monkeypatch, make):
    whole, _ = evaluate(task, make(*signs(task)))
    monkeypatch.setattr(retrieval, "_BLOCK_SCORES", 2000)  # Six queries a block.
    small_blocks = embedded.task()
    parts, _ = evaluate(small_blocks, make(*signs(task)))
    for name in METRICS:
        np.testing.assert_allclose(parts[name], whole[name])
        np.testing.assert_allclose(small_blocks.teacher_values[name], task.teacher_values[name])


def test_documents_outside_the_candidates_count_as_not_found(task):
    queries, documents = signs(task)
    logits = queries.to_pm1(np.float32)
    short, _ = evaluate(task, Asymmetric(logits, documents, 10))
    scan, _ = evaluate(task, AsymmetricScan(logits, documents))
    assert short["recall@100"].mean() == pytest.approx(short["recall@10"].mean())
    assert short["recall@100"].mean() < scan["recall@100"].mean()


def test_all_documents_as_candidates_is_the_scan(task):
    _, documents = signs(task)
    every, _ = evaluate(task, Asymmetric(task.queries, documents, len(documents)))
    scan, _ = evaluate(task, AsymmetricScan(task.queries, documents))
    for name in METRICS:
        np.testing.assert_array_equal(every[name], scan[name])


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "float"])
def test_trec_mode_equals_pytrec_eval(embedded, scoring):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    task = embedded.task(ties="trec")
    queries, documents = signs(task)
    ranking = {
        "hamming": HammingRanking(queries, documents),
        "asymmetric": Asymmetric(task.queries, documents, 25),
        "float": FloatRanking(task.queries, task.documents),
    }[scoring]
    block = ranking.block(slice(0, len(task.queries)))
    values = -block.values.astype(float) if scoring == "hamming" else block.values
    rows = block.candidates if block.candidates is not None else np.tile(np.arange(300), (len(values), 1))
    ids = embedded.data.documents.ids
    kept = [query for query in embedded.data.query_ids if query != "q5"]
    run = {
        query: {ids[row]: float(value) for row, value in zip(found, scores, strict=True)}
        for query, found, scores in zip(kept, rows, values, strict=True)
    }
    measures = {"ndcg_cut.10": "ndcg@10", "recall.10": "recall@10", "recall.100": "recall@100", "map": "map"}
    theirs = pytrec_eval.RelevanceEvaluator(embedded.data.qrels, set(measures)).evaluate(run)
    ours, _ = evaluate(task, ranking)
    for measure, name in measures.items():
        expected = [theirs[query][measure.replace(".", "_")] for query in kept]
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-9, err_msg=name)


def test_a_task_from_rows_skips_queries_without_a_source():
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(20, 8)).astype(np.float32)
    task = RetrievalTask.from_rows(
        documents, documents[:4], np.array([[0], [1], [-1], [3]]), data="own", split="held-out", teacher="t"
    )
    assert (len(task.queries), task.left_out) == (3, 1)
    assert task.judgements.rows.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: {"documents": e.documents[:-1]}, "300 documents but 299 embeddings"),
        (lambda e: {"queries": e.queries[1:]}, "41 queries but 40 embeddings"),
        (lambda e: {"queries": e.queries[:, :8]}, "32 dimensions, queries 8"),
        (lambda e: {"documents": np.where(np.eye(300, 32), np.nan, e.documents)}, "NaN or infinity in 32"),
        (lambda e: {"data": replace(e.data, qrels={})}, "no query of synthetic, split 'test', has"),
    ],
)
def test_unusable_input_is_refused_in_one_sentence(embedded, change, message):
    with pytest.raises(InputError, match=message):
        replace(embedded, **change(embedded)).task()


def test_unknown_way_with_ties(embedded):
    with pytest.raises(InputError, match="'expected' or 'trec', not 'random'"):
        embedded.task(ties="random")
