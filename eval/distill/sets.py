"""What the table is measured on: sets alone, and all of them pooled with a growing number of distractors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import Documents, RetrievalSet, read_retrieval_set
from llmhash.encoders.base import Encoder, Side
from llmhash.evaluation import RetrievalTask
from llmhash.features import training_features
from llmhash.heads import TrainingFeatures
from llmhash.recipes import EncoderSettings, Recipe

#: The six sets of the table. Nothing is chosen on their test queries.
SETS = ("scifact", "nfcorpus", "cosqa", "cranfield", "npl", "squad_dev")
#: Measured in the pool too and shown apart: an easy sample, and titles that look for their own abstract.
APART = ("msmarco_sample", "arxiv_300k")
#: In the pool, documents only.
DISTRACTORS = ("cacm", "cisi", "lisa", "climate_fever_sentences")
#: Sets that the large corpora's encoder embeds, unless others are named.
LARGE = ("arxiv_300k",)
POOLED = "pooled"

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Streams of random numbers that have nothing to do with each other.
_QUERIES, _CURVE, _POOL = 1, 2, 3


@dataclass(frozen=True)
class Teacher:
    """The teacher and how it is run.

    Attributes:
        name: Alias, hub id or folder.
        large_backend: The backend for large sets; all others are embedded by torch in float32.
        large_dtype: What it computes in there.
        large_sets: Which sets count as large: all of them where the teacher is slow.
        stored: Folder of SET.npz with arrays `corpus` and `queries`, rows as in the set's files: embeddings
            that are taken from there. Pseudo-queries are embedded all the same.
    """

    name: str
    large_backend: str
    large_dtype: str
    large_sets: Sequence[str] = LARGE
    stored: Path | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of all sets but the large ones."""
        return _open(name=self.name)

    @cached_property
    def large_encoder(self) -> Encoder:
        """The encoder of the large sets."""
        return _open(name=self.name, backend=self.large_backend, dtype=self.large_dtype)

    def of(self, name: str) -> Encoder:
        """The encoder of a set."""
        return self.large_encoder if name in self.large_sets else self.encoder

    def at_hand(self, judged: RetrievalSet) -> tuple[FloatArray, FloatArray] | None:
        """The stored embeddings of a set's documents and queries; None where there are none."""
        path = None if self.stored is None else self.stored / f"{judged.name}.npz"
        if path is None or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            documents, queries = arrays["corpus"], arrays["queries"][judged.query_rows]
        return documents.astype(np.float32), queries.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Point:
    """A smaller database for some of a set's queries: a point on the curve over size.

    Attributes:
        name: The part's name, `SET@SIZE`.
        rows: int64 (size,), its documents among the pool's.
        task: Those documents and queries.
    """

    name: str
    rows: IntArray
    task: RetrievalTask


@dataclass(frozen=True, eq=False)
class Setting:
    """Documents that rows are fitted on, and what is measured on them.

    Attributes:
        name: A set's name, or `POOLED`.
        documents: The corpus.
        encoder: Of pseudo-queries.
        task: All documents with the queries of all parts, one part after the other.
        parts: The queries of each part, int64 (q,): those of a set, or those of a set that are on the curve.
        points: The curve over size.
        stored: Whether the embeddings were stored ones.
    """

    name: str
    documents: Documents
    encoder: Encoder
    task: RetrievalTask
    parts: dict[str, IntArray]
    points: Sequence[Point] = ()
    stored: bool = False
    _training: dict[int, TrainingFeatures] = field(default_factory=dict, init=False, repr=False)

    def training(self, pseudo_queries: int) -> TrainingFeatures:
        """What a head is fitted on: the documents, and at most so many pseudo-queries cut from them."""
        if pseudo_queries not in self._training:
            embedded = _Embedded(self.encoder, self.task.documents)
            self._training[pseudo_queries], _ = training_features(
                embedded, self.documents, pseudo_queries=pseudo_queries
            )
        return self._training[pseudo_queries]


def open_alone(data: Path, name: str, teacher: Teacher) -> Setting:
    """One set with its own documents and all test queries."""
    judged = read_retrieval_set(data / name, "test")
    encoder = teacher.of(name)
    stored = teacher.at_hand(judged)
    documents, queries = stored or (
        encoder.encode(judged.documents.texts, "document"),
        encoder.encode(judged.queries, "query"),
    )
    task = RetrievalTask.from_set(judged, documents, queries, teacher=teacher.name)
    parts = {name: np.arange(len(task.queries))}
    return Setting(name, judged.documents, encoder, task, parts, stored=stored is not None)


def open_pooled(data: Path, teacher: Teacher, *, most_queries: int, sizes: Sequence[int]) -> Setting:
    """The documents of all sets as one corpus, each set's queries with their own judgements.

    Args:
        data: Folder of the sets.
        teacher: Embeds them.
        most_queries: Queries of a set at most, a seeded sample of those that have a relevant document.
        sizes: Of the curve's smaller databases, ascending.
    """
    members = [
        _thin(read_retrieval_set(data / name, "test"), 0 if name in DISTRACTORS else most_queries)
        for name in (*SETS, *DISTRACTORS, *APART)
    ]
    pool = _merge(members)
    documents, queries, stored = _embed(members, teacher)
    task = RetrievalTask.from_set(pool, documents, queries, teacher=teacher.name)
    parts: dict[str, IntArray] = {}
    points: list[Point] = []
    first = 0
    measured = [member for member in members if member.query_ids]
    for number, member in enumerate(measured):
        parts[member.name] = np.arange(first, first + len(member.query_ids))
        chosen, judged = curve_queries(member, limit=min(sizes, default=0), seed=number)
        if chosen:
            queries = parts[member.name][chosen]
            parts[f"{member.name}@{len(documents)}"] = queries
            points += [
                _point(pool, task, member.name, queries, judged, size)
                for size in sizes
                if size < len(documents)
            ]
        first += len(member.query_ids)
    return Setting(POOLED, pool.documents, teacher.encoder, task, parts, points, stored=stored)


def curve_queries(judged: RetrievalSet, *, limit: int, seed: int) -> tuple[list[int], list[str]]:
    """Queries, in a seeded order, as long as the judged documents of all of them are at most `limit`.

    The same queries are then measured in a database of every size.

    Returns:
        Positions of the queries, ascending, and the ids of their judged documents.
    """
    chosen: list[int] = []
    kept: dict[str, None] = {}
    for position in np.random.default_rng((_CURVE, seed)).permutation(len(judged.query_ids)):
        new = [d for d in judged.qrels[judged.query_ids[position]] if d not in kept]
        if len(kept) + len(new) <= limit:
            chosen.append(int(position))
            kept.update(dict.fromkeys(new))
    return sorted(chosen), list(kept)


def _point(
    pool: RetrievalSet, task: RetrievalTask, name: str, queries: IntArray, judged: Iterable[str], size: int
) -> Point:
    """The judged documents, and distractors from the pool in one seeded order up to `size`."""
    row_of = {identifier: row for row, identifier in enumerate(pool.documents.ids)}
    own = np.array([row_of[f"{name}/{document}"] for document in judged], dtype=np.int64)
    others = np.random.default_rng(_POOL).permutation(len(row_of))
    others = others[~np.isin(others, own)]
    rows = np.sort(np.concatenate([own, others[: size - len(own)]]))
    ids = [pool.query_ids[query] for query in queries]
    small = RetrievalSet(
        name,
        pool.split,
        Documents([pool.documents.ids[row] for row in rows], [pool.documents.texts[row] for row in rows]),
        ids,
        [pool.queries[query] for query in queries],
        {query: pool.qrels[query] for query in ids},
        queries.tolist(),
        len(pool.queries),
    )
    embedded = RetrievalTask.from_set(
        small, task.documents[rows], task.queries[queries], teacher=task.teacher
    )
    return Point(f"{name}@{size}", rows, embedded)


def _thin(judged: RetrievalSet, most: int) -> RetrievalSet:
    """The set with a seeded sample of those queries that have a relevant document in it."""
    known = set(judged.documents.ids)
    answered = [
        position
        for position, query in enumerate(judged.query_ids)
        if any(grade > 0 for grade in judged.qrels[query].values())
    ]
    if len(answered) > most:
        answered = sorted(np.random.default_rng(_QUERIES).choice(answered, most, replace=False).tolist())
    ids = [judged.query_ids[position] for position in answered]
    qrels = {query: {d: g for d, g in judged.qrels[query].items() if d in known} for query in ids}
    return RetrievalSet(
        judged.name,
        judged.split,
        judged.documents,
        ids,
        [judged.queries[position] for position in answered],
        qrels,
        [judged.query_rows[position] for position in answered],
        judged.queries_in_file,
    )


def _merge(members: Sequence[RetrievalSet]) -> RetrievalSet:
    """All documents and queries as one set, ids preceded by their set's name."""
    ids = [f"{member.name}/{identifier}" for member in members for identifier in member.documents.ids]
    texts = [text for member in members for text in member.documents.texts]
    titles = [title for m in members for title in m.documents.titles or [""] * len(m.documents)]
    bodies = [body for m in members for body in m.documents.bodies or m.documents.texts]
    query_ids = [f"{member.name}/{query}" for member in members for query in member.query_ids]
    queries = [text for member in members for text in member.queries]
    qrels = {
        f"{member.name}/{query}": {f"{member.name}/{d}": grade for d, grade in judgements.items()}
        for member in members
        for query, judgements in member.qrels.items()
    }
    documents = Documents(ids, texts, titles, None, bodies)
    return RetrievalSet(
        POOLED, "test", documents, query_ids, queries, qrels, list(range(len(queries))), len(queries)
    )


def _embed(members: Sequence[RetrievalSet], teacher: Teacher) -> tuple[FloatArray, FloatArray, bool]:
    """Embeddings of all documents, of all queries, set after set, and whether some were stored."""
    documents, queries, some_stored = [], [], False
    for member in members:
        stored = teacher.at_hand(member)
        some_stored = some_stored or stored is not None
        of_documents, of_queries = stored or (
            teacher.of(member.name).encode(member.documents.texts, "document"),
            teacher.of(member.name).encode(member.queries, "query"),
        )
        documents.append(of_documents)
        queries.append(of_queries)
    return np.concatenate(documents), np.concatenate(queries), some_stored


@dataclass(frozen=True, eq=False)
class _Embedded:
    """An encoder whose documents are embedded already."""

    encoder: Encoder
    documents: FloatArray

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray:
        return self.documents if side == "document" else self.encoder.encode(texts, side, progress=progress)


def _open(**settings: str) -> Encoder:
    return Recipe("table", "sign", encoder=EncoderSettings(**settings)).open_encoder()  # type: ignore[arg-type]
