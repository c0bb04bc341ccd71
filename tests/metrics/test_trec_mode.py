"""In `trec` mode the metrics are pytrec_eval's, ties and all."""

from __future__ import annotations

import numpy as np
import pytest

from llmhash.metrics import Judgements, Ranks, average_precision, id_order, mrr, ndcg, precision, recall

pytrec_eval = pytest.importorskip("pytrec_eval")

CUTOFFS = (1, 3, 10, 100)


@pytest.fixture(params=range(6))
def run(request):
    """Ids, scores and judgements: ties, differences that float32 drops, absent documents, negative grades."""
    rng = np.random.default_rng(request.param)
    documents, queries = int(rng.integers(5, 150)), 8
    ids = [f"{prefix}{number}" for number, prefix in enumerate(rng.choice(["", "d", "é", "𝛼"], documents))]
    scores = rng.integers(0, rng.integers(2, 40), size=(queries, documents)) + rng.normal(
        scale=1e-9, size=(queries, documents)
    )
    qrels = {}
    for i in range(queries):
        judged = rng.choice([*ids, "absent"], size=rng.integers(1, documents + 1), replace=False)
        qrels[f"q{i}"] = {str(document): int(rng.integers(-1, 4)) for document in judged}
        qrels[f"q{i}"][str(judged[0])] = 1
    return ids, scores, qrels


def test_values_equal_pytrec_eval(run):
    ids, scores, qrels = run
    measures = {f"{name}.{','.join(map(str, CUTOFFS))}" for name in ("ndcg_cut", "recall", "P")}
    results = pytrec_eval.RelevanceEvaluator(qrels, {*measures, "map", "recip_rank"}).evaluate(
        {query: dict(zip(ids, row.tolist(), strict=True)) for query, row in zip(qrels, scores, strict=True)}
    )

    judgements = Judgements.from_qrels(qrels, list(qrels), ids)
    ranks = Ranks.from_scores(scores, judgements, order=id_order(ids))
    ours = {"map": average_precision(ranks), "recip_rank": mrr(ranks, None)}
    for k in CUTOFFS:
        ours |= {
            f"ndcg_cut_{k}": ndcg(ranks, k),
            f"recall_{k}": recall(ranks, k),
            f"P_{k}": precision(ranks, k),
        }
    for name, values in ours.items():
        theirs = [results[query][name] for query in qrels]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-9, err_msg=name)


def test_a_truncated_run_equals_pytrec_eval(run):
    ids, scores, qrels = run
    depth = max(1, len(ids) // 3)
    candidates = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    chosen = np.take_along_axis(scores, candidates, axis=1)
    results = pytrec_eval.RelevanceEvaluator(qrels, {"map", "ndcg_cut.10"}).evaluate(
        {
            query: {ids[row]: score for row, score in zip(rows.tolist(), values.tolist(), strict=True)}
            for query, rows, values in zip(qrels, candidates, chosen, strict=True)
        }
    )

    judgements = Judgements.from_qrels(qrels, list(qrels), ids).locate(candidates)
    ranks = Ranks.from_scores(chosen, judgements, order=id_order(ids)[candidates])
    np.testing.assert_allclose(
        average_precision(ranks), [results[q]["map"] for q in qrels], rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(ndcg(ranks, 10), [results[q]["ndcg_cut_10"] for q in qrels], rtol=0, atol=1e-9)
