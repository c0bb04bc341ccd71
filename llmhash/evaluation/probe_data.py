"""What a probe looks at: sampled documents, queries to fit with, to choose by and to confirm on.

The three sets of queries are disjoint. Heads are fitted with the first, tables and rules read the second, and
what is recommended is measured again on the third, which had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import Documents
from llmhash.encoders.base import Encoder
from llmhash.errors import InputError
from llmhash.features import HELD_OUT_QUERIES, HeldOut, training_features, vector_features
from llmhash.heads.base import TrainingFeatures, check_features

#: Documents looked at by default; more change the figures less than their intervals are wide.
SAMPLE = 20_000
#: Fewer documents than this say nothing about a corpus.
LEAST_DOCUMENTS = 50
#: Pseudo-queries cut from the sample by default: enough that 300 are held out twice.
PSEUDO_QUERIES = 3_000
# Fewer queries give intervals that hold everything.
_LEAST_QUERIES = 10
# Of the vectors at hand, this share at most goes into each of the two sets that are measured on.
_SHARE_MEASURED = 5

FloatArray = NDArray[np.float32]
QueryKind = Literal["pseudo-queries", "query vectors", "documents"]


@dataclass(frozen=True, eq=False)
class ProbeData:
    """What a probe looks at.

    Attributes:
        teacher: The teacher's name.
        corpus_size: Documents of the whole corpus.
        training: The documents that are searched, and the queries that heads may be fitted with.
        choosing: Queries that the tables and the rules are made on; never fitted on.
        confirming: Queries that the recommendation is measured on; neither fitted nor chosen on.
        queries: What the queries are. Documents that serve as queries are not searched.
        known_items: Whether each query's `sources` entry is the document it was cut from; otherwise it is the
            document that the teacher finds first.
        duplicates: Sampled documents whose vector equals that of an earlier one.
    """

    teacher: str
    corpus_size: int
    training: TrainingFeatures
    choosing: HeldOut
    confirming: HeldOut
    queries: QueryKind
    known_items: bool
    duplicates: int

    @property
    def documents(self) -> FloatArray:
        """The documents that are searched, float32 (n, d)."""
        return self.training.documents

    @property
    def query_features(self) -> FloatArray | None:
        """All queries, float32 (m, d); None where documents stand in for them."""
        if self.queries == "documents":
            return None
        parts = [self.choosing.queries, self.confirming.queries]
        if self.training.queries is not None:
            parts.append(self.training.queries)
        return np.concatenate(parts)

    @classmethod
    def from_texts(
        cls,
        encoder: Encoder,
        corpus: Documents,
        *,
        sample: int = SAMPLE,
        pseudo_queries: int = PSEUDO_QUERIES,
        seed: int = 0,
        progress: bool = False,
    ) -> ProbeData:
        """Sample a corpus, cut pseudo-queries from the sample, and encode both.

        Args:
            encoder: The teacher.
            corpus: The corpus.
            sample: Documents to look at; a smaller corpus is looked at whole.
            pseudo_queries: How many to cut at most.
            seed: Decides the sample and the pseudo-queries.
            progress: Show progress bars while encoding.

        Raises:
            InputError: There are too few documents, or too few pseudo-queries come of them.
        """
        rows = _sampled_rows(len(corpus), sample, seed)
        training, confirming = training_features(
            encoder,
            _subset(corpus, rows),
            pseudo_queries=pseudo_queries,
            seed=seed,
            progress=progress,
        )
        if len(confirming.queries) < _LEAST_QUERIES:
            raise InputError(
                f"only {len(confirming.queries)} pseudo-queries can be held out, and a probe needs "
                f"{_LEAST_QUERIES}: cut more of them, or give documents with more words."
            )
        training, choosing = _set_aside(training, len(confirming.queries), seed)
        return cls(
            teacher=encoder.name,
            corpus_size=len(corpus),
            training=training,
            choosing=choosing,
            confirming=confirming,
            queries="pseudo-queries",
            known_items=True,
            duplicates=int(np.count_nonzero(~first_occurrences(training.documents))),
        )

    @classmethod
    def from_vectors(
        cls,
        documents: NDArray[Any],
        queries: NDArray[Any] | None = None,
        *,
        teacher: str = "vectors",
        sample: int = SAMPLE,
        seed: int = 0,
    ) -> ProbeData:
        """Sample vectors that the user holds.

        Without query vectors, some documents are set aside as queries and are not searched, so that none
        finds itself.

        Args:
            documents: float (n, d).
            queries: float (m, d), or None.
            teacher: What the vectors' model is called.
            sample: Documents to look at; fewer are looked at whole.
            seed: Decides the sample and which vectors are measured on.

        Raises:
            InputError: There are too few vectors, they do not fit each other, or they hold NaN.
        """
        rows = _sampled_rows(len(documents), sample, seed)
        sampled = check_features(np.asarray(documents)[rows], "the document vectors")
        first = first_occurrences(sampled)
        duplicates = int(np.count_nonzero(~first))
        rng = np.random.default_rng((seed, 2))
        kind: QueryKind
        if queries is None:
            kind, pool, usable = "documents", sampled, np.flatnonzero(_unique(sampled))
        else:
            pool = check_features(queries, "the query vectors")
            kind, usable = "query vectors", np.flatnonzero(first_occurrences(pool))
        each = min(HELD_OUT_QUERIES, len(usable) // _SHARE_MEASURED)
        if each < _LEAST_QUERIES:
            raise InputError(
                f"there are only {len(usable)} different {kind} to measure with, and a probe needs "
                f"{_LEAST_QUERIES * _SHARE_MEASURED}."
            )
        drawn = rng.permutation(usable)
        measured, rest = np.sort(drawn[: 2 * each].reshape(2, each), axis=1), drawn[2 * each :]
        if queries is None:
            training = vector_features(np.delete(sampled, measured.ravel(), axis=0))
        else:
            training = vector_features(sampled, pool[np.sort(rest)])
        choosing, confirming = (_first_hits(training.documents, pool[part]) for part in measured)
        return cls(
            teacher=teacher,
            corpus_size=len(documents),
            training=training,
            choosing=choosing,
            confirming=confirming,
            queries=kind,
            known_items=False,
            duplicates=duplicates,
        )


def part_of(training: TrainingFeatures, rows: NDArray[np.int64]) -> TrainingFeatures:
    """What a head of some of the documents is fitted on.

    Args:
        training: Dense features.
        rows: int64 (n,), the documents, ascending. Queries that were cut from others are left out.
    """
    documents, queries, sources = training.documents[rows], training.queries, training.sources
    if queries is None or sources is None:
        return replace(training, documents=documents)
    places = np.full(len(training.documents), -1)
    places[rows] = np.arange(len(rows))
    kept = (sources < 0) | (places[sources] >= 0)
    if not kept.any():
        return replace(training, documents=documents, queries=None, sources=None)
    placed = np.where(sources[kept] < 0, -1, places[sources[kept]])
    return replace(training, documents=documents, queries=queries[kept], sources=placed)


def first_occurrences(rows: FloatArray) -> NDArray[np.bool_]:
    """Whether no earlier row of `rows` (n, d) is equal, byte by byte: bool (n,)."""
    seen: set[bytes] = set()
    first = np.zeros(len(rows), dtype=bool)
    for position, row in enumerate(rows):
        key = row.tobytes()
        first[position] = key not in seen
        seen.add(key)
    return first


def _unique(rows: FloatArray) -> NDArray[np.bool_]:
    """Whether no other row is equal: bool (n,)."""
    return first_occurrences(rows) & first_occurrences(rows[::-1])[::-1]


def _sampled_rows(count: int, sample: int, seed: int) -> NDArray[np.int64]:
    if count < LEAST_DOCUMENTS:
        raise InputError(
            f"a probe needs at least {LEAST_DOCUMENTS} documents to say anything, and there are {count}."
        )
    if sample < LEAST_DOCUMENTS:
        raise InputError(f"the sample must be at least {LEAST_DOCUMENTS} documents, not {sample}.")
    if count <= sample:
        return np.arange(count)
    return np.sort(np.random.default_rng((seed, 3)).choice(count, sample, replace=False))


def _subset(corpus: Documents, rows: NDArray[np.int64]) -> Documents:
    if len(rows) == len(corpus):
        return corpus

    def pick(values: Sequence[Any] | None) -> Any:
        return None if values is None else [values[row] for row in rows]

    changes = {name: pick(getattr(corpus, name)) for name in ("ids", "texts", "titles", "metadata", "bodies")}
    return replace(corpus, **changes)


def _set_aside(training: TrainingFeatures, count: int, seed: int) -> tuple[TrainingFeatures, HeldOut]:
    """Move `count` queries, and all that equal them, from the training queries to a set of their own."""
    if training.queries is None or training.sources is None:
        raise InputError("no pseudo-queries are left to fit with: cut more of them.")
    firsts = np.flatnonzero(first_occurrences(training.queries))
    rows = np.sort(np.random.default_rng((seed, 4)).choice(firsts, min(count, len(firsts)), replace=False))
    taken = {training.queries[row].tobytes() for row in rows}
    rest = np.array([query.tobytes() not in taken for query in training.queries], dtype=bool)
    aside = HeldOut(training.queries[rows], training.sources[rows])
    left = bool(rest.any())
    return (
        replace(
            training,
            queries=training.queries[rest] if left else None,
            sources=training.sources[rest] if left else None,
        ),
        aside,
    )


def _first_hits(documents: FloatArray, queries: FloatArray) -> HeldOut:
    """Queries with the row of the document that the teacher finds first."""
    step = max(1, (1 << 24) // len(documents))
    parts = [
        (queries[start : start + step] @ documents.T).argmax(axis=1) for start in range(0, len(queries), step)
    ]
    return HeldOut(queries, np.concatenate(parts).astype(np.int64))
