"""From a corpus to what a head is fitted on: documents and training queries through the encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import Documents
from llmhash.corpora.noise import corrupt
from llmhash.corpora.pseudo_queries import cut_pseudo_queries
from llmhash.encoders.base import Encoder, TokenFeatures
from llmhash.errors import InputError
from llmhash.heads.base import AnyFeatures, TrainingFeatures, check_features, feature_arrays, is_sparse

#: Pseudo-queries set aside for measuring what a fitted hasher keeps; never trained or selected on.
HELD_OUT_QUERIES = 300
# At most this share of the pseudo-queries is set aside.
_HELD_OUT_SHARE = 0.1
# What becomes of the training queries that are to be noisy.
_NOISE, _NOISE_RATE = "mixed", 0.2


@dataclass(frozen=True)
class HeldOut:
    """Pseudo-queries that no head was fitted on.

    Attributes:
        queries: float32 (m, d).
        sources: int64 (m,), the row of the document each was cut from.
    """

    queries: AnyFeatures
    sources: NDArray[np.int64]


def training_features(
    encoder: Encoder,
    documents: Documents,
    *,
    pseudo_queries: int,
    queries: Sequence[str] | None = None,
    seed: int = 0,
    noise: float = 0.0,
    words: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> tuple[TrainingFeatures, HeldOut]:
    """Encode a corpus, cut pseudo-queries from it, and set some of those aside.

    With `noise`, some of those to train on are corrupted, so that a head can learn to give a noisy query the
    ranking that the teacher gives the clean one: the self-teaching of Zhuang and Zuccon (2022),
    "CharacterBERT and Self-Teaching for Improving the Robustness of Dense Retrievers on Queries with Typos".
    Named queries and those set aside stay as they are.

    Args:
        encoder: The teacher.
        documents: The corpus.
        pseudo_queries: How many to cut at most; 0 for none.
        queries: Real training queries that the user named, beside the pseudo-queries.
        seed: Decides where the pseudo-queries are cut, and their noise.
        noise: Share of the pseudo-queries to train on that are corrupted ("mixed", a fifth of their words, so
            that some short ones come out as they were), 0 to 1.
        words: Settings of `llmhash.encoders.tfidf.word_counts`, for documents whose words are to be
            reconstructed too; None reads none.
        progress: Show progress bars.

    Raises:
        InputError: A number is out of range.
    """
    if not 0 <= noise <= 1:
        raise InputError(f"noise must be from 0 to 1, not {noise}.")
    features = encoder.encode(documents.texts, "document", progress=progress)
    cut, sources = cut_pseudo_queries(
        documents.bodies or documents.texts, documents.titles, count=pseudo_queries, seed=seed
    )
    aside, rest = _hold_out(cut, seed)
    encoded = encoder.encode(cut, "query", progress=progress)
    held_out = HeldOut(encoded[aside], sources[aside])
    clean, training_sources = encoded[rest], sources[rest]
    noisy = _noisy_texts(cut, aside, rest, noise, seed)
    training = clean
    if noisy:
        # Clean rows first, then noisy ones: each query takes its own.
        rows = np.arange(len(rest))
        rows[list(noisy)] = len(rest) + np.arange(len(noisy))
        training = _stack(clean, encoder.encode(list(noisy.values()), "query", progress=progress))[rows]
    if queries:
        named = encoder.encode(list(queries), "query", progress=progress)
        training, clean = _stack(training, named), _stack(clean, named)
        training_sources = np.concatenate([training_sources, np.full(named.shape[0], -1)])
    some = training.shape[0] > 0
    return (
        TrainingFeatures(
            features,
            training if some else None,
            training_sources if some else None,
            sides_differ=encoder.sides_differ,
            clean_queries=clean if noisy else None,
            words=None if words is None else _words(documents, words),
        ),
        held_out,
    )


def _words(documents: Documents, settings: Mapping[str, Any]) -> Any:
    from llmhash.encoders.tfidf import word_counts

    return word_counts(documents.texts, **settings)


def _stack(first: AnyFeatures, second: AnyFeatures) -> AnyFeatures:
    """Rows of the second behind those of the first, dense or CSR."""
    if isinstance(first, TokenFeatures):
        raise InputError("token features take no queries to train on: set `pseudo_queries` to 0.")
    if not is_sparse(first):
        return np.concatenate([first, second])
    from scipy.sparse import vstack

    return vstack([first, second], format="csr")


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


def _noisy_texts(
    queries: Sequence[str],
    aside: NDArray[np.int64],
    rest: NDArray[np.int64],
    share: float,
    seed: int,
) -> dict[int, str]:
    """The corrupted texts of a share of the queries to train on, by their position in `rest`.

    A text that the noise did not touch, or turned into one that is set aside, is left out.
    """
    held_out = {queries[row] for row in aside}
    count = round(share * len(rest))
    chosen = np.sort(np.random.default_rng((seed, 2)).choice(len(rest), count, replace=False))
    texts = [queries[rest[position]] for position in chosen]
    corrupted = corrupt(texts, _NOISE, rate=_NOISE_RATE, seed=seed)
    return {
        int(position): noisy
        for position, text, noisy in zip(chosen, texts, corrupted, strict=True)
        if noisy != text and noisy not in held_out
    }


def corpus_digest(corpus: Documents | AnyFeatures) -> str:
    """Hexadecimal digest of a corpus's texts, or of its features."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(corpus, Documents):
        for text in corpus.texts:
            digest.update(text.encode(errors="surrogatepass") + b"\0")
        return digest.hexdigest()
    for part in feature_arrays(corpus):
        digest.update(np.ascontiguousarray(part, dtype="<f4").tobytes())
    return digest.hexdigest()
