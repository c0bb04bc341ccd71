"""Measuring rankings on a retrieval task: per-query metrics, block by block, ties counted fairly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import RetrievalSet
from llmhash.errors import InputError
from llmhash.evaluation.rankings import Block, FloatRanking, Ranking, best_rows
from llmhash.heads.base import AnyFeatures, check_features
from llmhash.metrics import Judgements, Ranks, average_precision, id_order, mrr, ndcg, recall

#: Metric names in the order of tables and files.
METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map", "overlap@10")
#: The metric whose share of the teacher's is the retention.
HEADLINE = "ndcg@10"

#: Metric name -> one value a query, float64 (q,).
PerQuery = dict[str, NDArray[np.float64]]
Ties = Literal["expected", "trec"]

_OVERLAP = 10
# Scores in memory at a time: 64 MB of float32, and a few times that while ranks are counted.
_BLOCK_SCORES = 1 << 24
_BLOCK_QUERIES = 1024


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """Documents, queries and judgements as the teacher embeds them, and how the teacher itself does.

    Make one with `from_set` or `from_rows`. Queries without a relevant document are left out.

    Attributes:
        data: Name of the data.
        split: Name of the split.
        teacher: Name of the teacher.
        documents: float32 (n, d).
        queries: float32 (q, d).
        judgements: Relevant documents of the q queries.
        left_out: Queries that have no relevant document.
        order: int64 (n,) where ties are broken as trec_eval does, else None.
        teacher_values: The teacher's metrics.
        teacher_best: The teacher's ten best documents of each query, as judgements.
        teacher_seconds: What scoring all documents took the teacher.
    """

    data: str
    split: str
    teacher: str
    documents: NDArray[np.float32]
    queries: NDArray[np.float32]
    judgements: Judgements
    left_out: int
    order: NDArray[np.int64] | None
    teacher_values: PerQuery
    teacher_best: Judgements
    teacher_seconds: float

    @classmethod
    def from_set(
        cls,
        data: RetrievalSet,
        documents: AnyFeatures,
        queries: AnyFeatures,
        *,
        teacher: str,
        ties: Ties = "expected",
    ) -> RetrievalTask:
        """The task of a retrieval set.

        Args:
            data: The set.
            documents: float32 (n, d), embeddings of `data.documents` in their order.
            queries: float32 (m, d), embeddings of `data.queries` in their order.
            teacher: The teacher's name.
            ties: "expected" for the expectation over random tie-breaking; "trec" to break ties by document id
                as trec_eval, pytrec_eval and mteb do.

        Raises:
            InputError: The arrays do not fit the set or hold NaN, or no query has a relevant document.
        """
        if ties not in ("expected", "trec"):
            raise InputError(f"ties must be 'expected' or 'trec', not {ties!r}.")
        _check_rows(documents, len(data.documents.ids), "documents")
        _check_rows(queries, len(data.query_ids), "queries")
        judgements = Judgements.from_qrels(data.qrels, data.query_ids, data.documents.ids)
        order = id_order(data.documents.ids) if ties == "trec" else None
        return _task(data.name, data.split, teacher, documents, queries, judgements, order)

    @classmethod
    def from_rows(
        cls,
        documents: NDArray[np.float32],
        queries: NDArray[np.float32],
        relevant: NDArray[np.int64],
        *,
        data: str,
        split: str,
        teacher: str,
    ) -> RetrievalTask:
        """The task of finding, for each query, its documents `relevant`, int64 (m, k) with -1 for none.

        Raises:
            InputError: The arrays do not fit each other or hold NaN, or no query has a relevant document.
        """
        _check_rows(queries, len(relevant), "queries")
        return _task(data, split, teacher, documents, queries, Judgements.from_rows(relevant), None)

    @property
    def dim(self) -> int:
        """Dimensions of the embeddings."""
        return int(self.documents.shape[1])


def evaluate(task: RetrievalTask, ranking: Ranking) -> tuple[PerQuery, float]:
    """Measure a ranking of the task's documents.

    Returns:
        The metrics of each query, and the seconds that scoring took (counting ranks is not part of it).
    """
    judged: list[Ranks] = []
    shared: list[Ranks] = []
    seconds = 0.0
    for queries, block, elapsed in _blocks(ranking, len(task.queries), len(task.documents)):
        seconds += elapsed
        judged.append(block.ranks(task.judgements[queries], task.order))
        shared.append(block.ranks(task.teacher_best[queries], task.order))
    return _metrics(judged, shared), seconds


def _task(
    data: str,
    split: str,
    teacher: str,
    documents: NDArray[np.float32],
    queries: NDArray[np.float32],
    judgements: Judgements,
    order: NDArray[np.int64] | None,
) -> RetrievalTask:
    """Leave out queries without a relevant document and measure the teacher on the others."""
    documents = check_features(documents, "the document embeddings")
    queries = check_features(queries, "the query embeddings")
    if documents.shape[1] != queries.shape[1]:
        raise InputError(f"documents have {documents.shape[1]} dimensions, queries {queries.shape[1]}.")
    kept = np.flatnonzero(judgements.counts)
    if not len(kept):
        raise InputError(
            f"no query of {data}, split {split!r}, has a relevant document: nothing can be measured."
        )
    left_out = len(judgements) - len(kept)
    queries, judgements = queries[kept], judgements.take(kept)

    ranking = FloatRanking(queries, documents)
    judged: list[Ranks] = []
    shared: list[Ranks] = []
    best: list[NDArray[np.int64]] = []
    seconds = 0.0
    # Its best documents are found in the same pass: the product is the longest part on a large corpus.
    for part, block, elapsed in _blocks(ranking, len(queries), len(documents)):
        seconds += elapsed
        best.append(best_rows(block.values, _OVERLAP))
        judged.append(block.ranks(judgements[part], order))
        shared.append(block.ranks(Judgements.from_rows(best[-1]), order))
    return RetrievalTask(
        data=data,
        split=split,
        teacher=teacher,
        documents=documents,
        queries=queries,
        judgements=judgements,
        left_out=left_out,
        order=order,
        teacher_values=_metrics(judged, shared),
        teacher_best=Judgements.from_rows(np.concatenate(best)),
        teacher_seconds=seconds,
    )


def _blocks(ranking: Ranking, queries: int, documents: int) -> Iterator[tuple[slice, Block, float]]:
    """Blocks of queries, what the ranking says of them, and the seconds that took."""
    step = min(_BLOCK_QUERIES, max(1, _BLOCK_SCORES // documents))
    ranking.block(slice(0, 1))  # Kernels compile on first use, which is not a search's time.
    for start in range(0, queries, step):
        part = slice(start, min(start + step, queries))
        began = time.perf_counter()
        block = ranking.block(part)
        yield part, block, time.perf_counter() - began


def _metrics(judged: list[Ranks], shared: list[Ranks]) -> PerQuery:
    """All metrics from the ranks of the relevant documents and of the teacher's best."""
    ranks = Ranks.concatenate(judged)
    return {
        "ndcg@10": ndcg(ranks, 10),
        "mrr@10": mrr(ranks, 10),
        "recall@10": recall(ranks, 10),
        "recall@100": recall(ranks, 100),
        "map": average_precision(ranks),
        "overlap@10": recall(Ranks.concatenate(shared), _OVERLAP),
    }


def _check_rows(values: NDArray[np.float32], expected: int, what: str) -> None:
    if len(values) != expected:
        raise InputError(
            f"there are {expected} {what} but {len(values)} embeddings of {what}; embed them again."
        )
