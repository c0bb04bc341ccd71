"""From a corpus to what a head is fitted on: documents and training queries through the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import Documents
from llmhash.corpora.pseudo_queries import cut_pseudo_queries
from llmhash.encoders.base import Encoder
from llmhash.heads.base import TrainingFeatures, check_features

#: Pseudo-queries set aside for measuring what a fitted hasher keeps; never trained or selected on.
HELD_OUT_QUERIES = 300
# At most this share of the pseudo-queries is set aside.
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class HeldOut:
    """Pseudo-queries that no head was fitted on.

    Attributes:
        queries: float32 (m, d).
        sources: int64 (m,), the row of the document each was cut from.
    """

    queries: NDArray[np.float32]
    sources: NDArray[np.int64]


def training_features(
    encoder: Encoder,
    documents: Documents,
    *,
    pseudo_queries: int,
    queries: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[TrainingFeatures, HeldOut]:
    """Encode a corpus, cut pseudo-queries from it, and set some of those aside.

    Args:
        encoder: The teacher.
        documents: The corpus.
        pseudo_queries: How many to cut at most; 0 for none.
        queries: Real training queries that the user named, beside the pseudo-queries.
        seed: Decides where the pseudo-queries are cut.
        progress: Show progress bars.
    """
    features = encoder.encode(documents.texts, "document", progress=progress)
    cut, sources = cut_pseudo_queries(
        documents.bodies or documents.texts, documents.titles, count=pseudo_queries, seed=seed
    )
    aside, rest = _hold_out(cut, seed)
    encoded = encoder.encode(cut, "query", progress=progress)
    held_out = HeldOut(encoded[aside], sources[aside])
    training, training_sources = encoded[rest], sources[rest]
    if queries:
        named = encoder.encode(list(queries), "query", progress=progress)
        training = np.concatenate([training, named])
        training_sources = np.concatenate([training_sources, np.full(len(named), -1)])
    return (
        TrainingFeatures(
            features,
            training if len(training) else None,
            training_sources if len(training) else None,
            sides_differ=encoder.sides_differ,
        ),
        held_out,
    )


def vector_features(
    documents: NDArray[np.float32], queries: NDArray[np.float32] | None = None
) -> TrainingFeatures:
    """Features of vectors that the user already holds; `queries` are training queries, if there are any."""
    return TrainingFeatures(
        check_features(documents, "the document vectors"),
        None if queries is None else check_features(queries, "the query vectors"),
        sides_differ=queries is not None,
    )


def _hold_out(queries: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the pseudo-queries set aside, each of its text's rows the first, and rows to train on.

    A text that is set aside is trained on nowhere.
    """
    first: dict[str, int] = {}
    for row, query in enumerate(queries):
        first.setdefault(query, row)
    count = min(HELD_OUT_QUERIES, int(_HELD_OUT_SHARE * len(first)))
    aside = np.random.default_rng((seed, 1)).choice(list(first.values()), count, replace=False)
    texts = {queries[row] for row in aside}
    rest = [row for row, query in enumerate(queries) if query not in texts]
    return np.sort(aside).astype(np.int64), np.array(rest, dtype=np.int64)
