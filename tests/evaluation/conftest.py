"""A small retrieval set with real structure: clustered documents, queries that are noisy documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from llmhash.corpora import Documents, RetrievalSet
from llmhash.evaluation import RetrievalTask
from llmhash.heads.base import TrainingFeatures


@dataclass(frozen=True)
class Embedded:
    data: RetrievalSet
    documents: np.ndarray
    queries: np.ndarray

    def task(self, **options) -> RetrievalTask:
        return RetrievalTask.from_set(self.data, self.documents, self.queries, teacher="synthetic", **options)

    @property
    def training(self) -> TrainingFeatures:
        return TrainingFeatures(self.documents)


@pytest.fixture(scope="session")
def embedded() -> Embedded:
    """300 documents of 32 dimensions, two of them equal; 41 queries, one without a relevant one."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(30, 32))
    cluster = np.repeat(np.arange(30), 10)
    documents = _normalized(centres[cluster] + 0.8 * rng.normal(size=(300, 32)))
    documents[299] = documents[0]
    sources = rng.choice(299, size=41, replace=False)
    queries = _normalized(documents[sources] + 0.08 * rng.normal(size=(41, 32)))
    # Ids are shuffled, so that no order of theirs agrees with the rows.
    ids = [f"d{number}" for number in rng.permutation(300)]
    qrels: dict[str, dict[str, int]] = {}
    for i, source in enumerate(sources):
        mates = rng.choice(np.flatnonzero(cluster == cluster[source]), size=3, replace=False)
        qrels[f"q{i}"] = {**{ids[mate]: int(rng.integers(0, 2)) for mate in mates}, ids[source]: 3}
    qrels["q5"] = {ids[0]: 0}
    texts = [f"text {identifier}" for identifier in ids]
    data = RetrievalSet(
        "synthetic",
        "test",
        Documents(ids, texts),
        query_ids=list(qrels),
        queries=[f"query {query}" for query in qrels],
        qrels=qrels,
        query_rows=list(range(41)),
        queries_in_file=41,
    )
    return Embedded(data, documents, queries)


@pytest.fixture(scope="session")
def task(embedded) -> RetrievalTask:
    return embedded.task()


def _normalized(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
