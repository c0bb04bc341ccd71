"""Where the general hasher is measured, and what is measured there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import Documents, read_retrieval_set
from llmhash.encoders.base import Encoder
from llmhash.evaluation import CANDIDATES, RetrievalTask
from llmhash.evaluation.bench import Bench
from llmhash.evaluation.bootstrap import bootstrap_means, interval
from llmhash.evaluation.retrieval import HEADLINE
from llmhash.features import training_features
from llmhash.heads import Head, TrainingFeatures
from llmhash.recipes import EncoderSettings, Recipe

#: Sets and splits on which settings may be chosen.
DEVELOPMENT = (
    ("cacm", "test"),
    ("cisi", "test"),
    ("lisa", "test"),
    ("climate_fever_sentences", "test"),
    ("nfcorpus", "dev"),
    ("scifact", "train"),
    ("cosqa", "dev"),
)
#: Sets that nothing is chosen on.
TEST = tuple((name, "test") for name in ("scifact", "nfcorpus", "cosqa", "cranfield", "npl", "squad_dev"))
#: How heads are scored; no float store is needed.
SCORINGS = ("asymmetric_scan", "hamming")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """A set with its documents and the queries of one split.

    Attributes:
        name: The set's.
        documents: Its documents.
        encoder: The teacher.
        task: What is measured on.
        stored: Whether its embeddings were stored ones.
    """

    name: str
    documents: Documents
    encoder: Encoder
    task: RetrievalTask
    stored: bool = False
    _training: dict[int, TrainingFeatures] = field(default_factory=dict, init=False, repr=False)

    @property
    def label(self) -> str:
        """The set and its split."""
        return f"{self.name} {self.task.split}"

    @property
    def teacher(self) -> FloatArray:
        """float64 (q,), the teacher's nDCG@10 of each query."""
        return self.task.teacher_values[HEADLINE]

    def training(self, pseudo_queries: int, documents: int | None = None, seed: int = 0) -> TrainingFeatures:
        """What a head is distilled on: the documents, and the pseudo-queries cut from them.

        Args:
            pseudo_queries: How many are cut from all documents at most.
            documents: A seeded sample of so many documents, with the pseudo-queries that were cut from them.
            seed: Of the sample.
        """
        if pseudo_queries not in self._training:
            features, _ = training_features(self.encoder, self.documents, pseudo_queries=pseudo_queries)
            self._training[pseudo_queries] = features
        whole = self._training[pseudo_queries]
        if documents is None or documents >= len(whole.documents):
            return whole
        rows = np.sort(np.random.default_rng(seed).choice(len(whole.documents), documents, replace=False))
        return _part(whole, rows)

    def measure(self, head: Head) -> dict[str, FloatArray]:
        """A head's nDCG@10 of each query, float64 (q,), by scoring."""
        run = Bench(self.task, SCORINGS, CANDIDATES).run(head, {})
        return {scoring: values[HEADLINE] for scoring, values in run.values.items()}


def open_places(data: Path, places: Sequence[tuple[str, str]], stored: Path | None = None) -> list[Place]:
    """Sets with the queries of a split each, embedded by the teacher.

    Args:
        data: Folder of the sets.
        places: Their names and splits.
        stored: Folder of SET.npz with arrays `corpus` and `queries`, rows as in the set's files, to be taken
            instead; None embeds all.
    """
    encoder = Recipe("general", "sign", encoder=EncoderSettings("minilm")).open_encoder()
    return [open_place(data, name, split, encoder, stored) for name, split in places]


def open_place(data: Path, name: str, split: str, encoder: Encoder, stored: Path | None = None) -> Place:
    """A set's documents and one split's queries, embedded."""
    judged = read_retrieval_set(data / name, split)
    if stored is None:
        documents = encoder.encode(judged.documents.texts, "document")
        queries = encoder.encode(judged.queries, "query")
    else:
        with np.load(stored / f"{name}.npz", allow_pickle=False) as arrays:
            documents = arrays["corpus"].astype(np.float32)
            queries = arrays["queries"][judged.query_rows].astype(np.float32)
    task = RetrievalTask.from_set(judged, documents, queries, teacher="minilm")
    return Place(name, judged.documents, encoder, task, stored is not None)


def retention(values: FloatArray, teacher: FloatArray) -> float:
    """The share of the teacher's mean that a mean is."""
    return float(values.mean() / teacher.mean())


@dataclass(frozen=True)
class Share:
    """A retention, or a difference of two, with its 95 % bootstrap interval over queries."""

    value: float
    ci95: tuple[float, float]


def difference(
    ours: Sequence[FloatArray], others: Sequence[FloatArray], teachers: Sequence[FloatArray]
) -> Share:
    """By how much the mean retention over places exceeds another's.

    Queries are drawn anew in each place and alike for both sides.
    """
    gaps, draws = [], []
    for seed, (own, other, teacher) in enumerate(zip(ours, others, teachers, strict=True)):
        gaps.append(retention(own, teacher) - retention(other, teacher))
        means = bootstrap_means(np.stack([teacher, own - other]), seed=seed)
        draws.append(means[:, 1] / means[:, 0])
    return Share(float(np.mean(gaps)), interval(np.mean(draws, axis=0)))


def _part(whole: TrainingFeatures, rows: NDArray[np.int64]) -> TrainingFeatures:
    """Some documents, and the queries that were cut from them."""
    position = np.full(len(whole.documents), -1)
    position[rows] = np.arange(len(rows))
    if whole.queries is None or whole.sources is None:
        return TrainingFeatures(whole.documents[rows], sides_differ=whole.sides_differ)
    sources = position[whole.sources]
    kept = sources >= 0
    return TrainingFeatures(
        whole.documents[rows], whole.queries[kept], sources[kept], sides_differ=whole.sides_differ
    )
