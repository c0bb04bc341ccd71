"""sentence-transformers' own quantization: its codes, its search and its rescoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.evaluation.peers.base import ByteArray, FloatArray, import_faiss
from llmhash.evaluation.rankings import Block

# Documents that a search returns: the deepest metric's. Four times as many are rescored.
_TOP_K = 100
_RESCORE_MULTIPLIER = 4
# Queries searched at a time: rescoring unpacks its candidates to 8 bytes a dimension, twice.
_QUERIES = 64

_Hits = list[list[dict[str, Any]]]


def fit_ubinary(training: FloatArray, size: int, seed: int) -> BinaryEmbeddings:
    """The signs of the first `8 * size` dimensions: there is nothing to fit."""
    del training, seed
    return BinaryEmbeddings(8 * size)


def fit_int8(training: FloatArray, size: int, seed: int) -> Int8Embeddings:
    """A byte a dimension, the ranges being those of the training documents float32 (n, d)."""
    del size, seed
    return Int8Embeddings(np.vstack([training.min(axis=0), training.max(axis=0)]))


@dataclass(frozen=True, eq=False)
class BinaryEmbeddings:
    """`quantize_embeddings(precision="ubinary")` of embeddings truncated to `dims`, as by `truncate_dim`."""

    dims: int
    scoring: str = "asymmetric"
    model_bytes: int = 0

    @property
    def bytes_per_document(self) -> int:
        """A bit a dimension."""
        return -(-self.dims // 8)

    @property
    def settings(self) -> str:
        """What is searched and rescored."""
        return _settings(f"ubinary of {self.dims} dimensions")

    def encode(self, documents: FloatArray) -> ByteArray:
        """Codes of documents float32 (n, d)."""
        from sentence_transformers.util.quantization import quantize_embeddings

        return np.asarray(quantize_embeddings(documents[:, : self.dims], "ubinary"))

    def ranking(self, queries: FloatArray, codes: ByteArray) -> Searched:
        """The best candidates by Hamming distance, rescored with the float query."""
        from sentence_transformers.util.quantization import semantic_search_faiss

        index = import_faiss().IndexBinaryFlat(8 * codes.shape[1])
        index.add(codes)

        def search(part: FloatArray) -> _Hits:
            hits: _Hits
            hits, *_ = semantic_search_faiss(
                part,
                corpus_index=index,
                corpus_precision="ubinary",
                top_k=_TOP_K,
                rescore_multiplier=_RESCORE_MULTIPLIER,
            )
            return hits

        return Searched(queries[:, : self.dims], search)


@dataclass(frozen=True, eq=False)
class Int8Embeddings:
    """`quantize_embeddings(precision="int8")` with ranges float32 (2, d): least values, largest values."""

    ranges: FloatArray
    scoring: str = "asymmetric"

    @property
    def bytes_per_document(self) -> int:
        """A byte a dimension."""
        return int(self.ranges.shape[1])

    @property
    def model_bytes(self) -> int:
        """The ranges."""
        return int(self.ranges.nbytes)

    @property
    def settings(self) -> str:
        """What is searched and rescored."""
        return _settings("int8, ranges of the documents")

    def encode(self, documents: FloatArray) -> ByteArray:
        """Codes of documents float32 (n, d)."""
        from sentence_transformers.util.quantization import quantize_embeddings

        return np.asarray(quantize_embeddings(documents, "int8", ranges=self.ranges)).view(np.uint8)

    def ranking(self, queries: FloatArray, codes: ByteArray) -> Searched:
        """The best candidates by inner product of int8 codes, rescored with the float query."""
        from sentence_transformers.util.quantization import semantic_search_usearch
        from usearch.index import Index

        # The exact search reads no graph, so the graph is made as small as it can be.
        index = Index(ndim=codes.shape[1], metric="ip", dtype="i8", connectivity=2, expansion_add=1)
        index.add(np.arange(len(codes)), codes.view(np.int8), threads=1)

        def search(part: FloatArray) -> _Hits:
            hits: _Hits
            hits, *_ = semantic_search_usearch(
                part,
                corpus_index=index,
                corpus_precision="int8",
                top_k=_TOP_K,
                ranges=self.ranges,
                rescore_multiplier=_RESCORE_MULTIPLIER,
            )
            return hits

        return Searched(queries, search)


@dataclass(frozen=True, eq=False)
class Searched:
    """Hits of a search as a ranking; documents that are none of them are not retrieved.

    Attributes:
        queries: float32 (q, k).
        search: Queries to the hits of each, with `corpus_id` and `score`.
    """

    queries: FloatArray
    search: Callable[[FloatArray], _Hits]

    def block(self, queries: slice) -> Block:
        """Scores of the hits."""
        part = self.queries[queries]
        values = np.full((len(part), _TOP_K), -np.inf)
        candidates: NDArray[np.int64] = np.full((len(part), _TOP_K), -1, dtype=np.int64)
        for start in range(0, len(part), _QUERIES):
            for i, hits in enumerate(self.search(part[start : start + _QUERIES]), start=start):
                values[i, : len(hits)] = [hit["score"] for hit in hits]
                candidates[i, : len(hits)] = [hit["corpus_id"] for hit in hits]
        return Block(values, candidates)


def _settings(codes: str) -> str:
    """What the figures depend on, in words."""
    from sentence_transformers import __version__

    candidates = _TOP_K * _RESCORE_MULTIPLIER
    return f"sentence-transformers {__version__}, {codes}, exact search, {candidates} candidates rescored"
