"""How documents are scored for a query: by the teacher, by codes, and by codes with rescoring.

A `Ranking` scores blocks of queries, so that the scores of all queries never exist at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.collection.sidecar import encode_vectors, row_dtype
from llmhash.index import FlatIndex, TableQueries, asymmetric_scores, asymmetric_search, rescore
from llmhash.index.asymmetric import CORRECTED
from llmhash.index.asymmetric_queries import own_codes
from llmhash.metrics import Judgements, Ranks

FloatArray = NDArray[np.float32]

# Components of int8 candidates that are rescored at a time.
_GATHERED = 1 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """What a ranking says of a block of q queries.

    Attributes:
        values: (q, c) float scores, higher is better, -inf for "not retrieved"; or, where `distance_bits` is
            set, integer Hamming distances.
        candidates: int64 (q, c), the row that each value belongs to, -1 for none; None where the values are
            those of the whole corpus in its order.
        distance_bits: Bits of the codes that the distances are of.
    """

    values: NDArray[Any]
    candidates: NDArray[np.int64] | None = None
    distance_bits: int | None = None

    def ranks(self, judgements: Judgements, order: NDArray[np.int64] | None = None) -> Ranks:
        """Where these queries' relevant documents stand; `order` breaks ties (see `Ranks.from_scores`)."""
        if self.candidates is not None:
            placed = None if order is None else order[self.candidates]
            return Ranks.from_scores(self.values, judgements.locate(self.candidates), order=placed)
        if self.distance_bits is None:
            return Ranks.from_scores(self.values, judgements, order=order)
        if order is None:
            return Ranks.from_distances(self.values, judgements, self.distance_bits)
        return Ranks.from_scores(-self.values.astype(np.float32), judgements, order=order)


class Ranking(Protocol):
    """Scores documents for blocks of queries."""

    def block(self, queries: slice) -> Block:
        """Score the documents for a contiguous range of queries."""
        ...


@dataclass(frozen=True, eq=False)
class FloatRanking:
    """Inner products of float embeddings: the teacher.

    Attributes:
        queries: float32 (q, d).
        documents: float32 (n, d).
    """

    queries: FloatArray
    documents: FloatArray

    def block(self, queries: slice) -> Block:
        """Inner products with all documents."""
        return Block(self.queries[queries] @ self.documents.T)


@dataclass(frozen=True, eq=False)
class HammingRanking:
    """Hamming distances of all codes."""

    queries: Codes
    documents: Codes

    def block(self, queries: slice) -> Block:
        """Distances to all codes."""
        distances = self.queries[queries].hamming(self.documents)
        return Block(distances, distance_bits=self.documents.bits)


@dataclass(frozen=True, eq=False)
class AsymmetricScan:
    """Query logits against the plus and minus ones of all codes, or a codebook's tables against their bytes.

    Where tables come with a correction, a search corrects the scores of its best documents alone, and so does
    this: others are not retrieved.

    Attributes:
        queries: Logits float32 (q, bits), or tables.
        documents: n codes.
    """

    queries: FloatArray | TableQueries
    documents: Codes

    def block(self, queries: slice) -> Block:
        """Scores of all codes, or of those that are corrected; equal codes get equal scores."""
        return self._block(queries, CORRECTED)

    def best(self, queries: slice, count: int) -> NDArray[np.int64]:
        """The rows of the `count` best codes, int64 (q, count), lower ones first among equal scores."""
        block = self._block(queries, max(count, CORRECTED))
        places = best_rows(block.values, count)
        return places if block.candidates is None else np.take_along_axis(block.candidates, places, axis=1)

    def _block(self, queries: slice, corrected: int) -> Block:
        """Scores of all codes, or of so many where they are corrected."""
        asked = self.queries[queries]
        if not isinstance(asked, TableQueries) or asked.correction is None:
            return Block(asymmetric_scores(asked, self.documents.packed))
        return Block(*asymmetric_search(asked, self.documents, min(corrected, len(self.documents))))


@dataclass(frozen=True, eq=False)
class Asymmetric:
    """The nearest codes by (Hamming distance, insertion), rescored with the query's logits or tables.

    Attributes:
        queries: Logits float32 (q, bits), or tables.
        documents: n codes.
        count: Candidates a query; documents that are none of them are not retrieved.
    """

    queries: FloatArray | TableQueries
    documents: Codes
    count: int
    _index: FlatIndex = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = FlatIndex(bits=self.documents.bits)
        index.add(self.documents)
        object.__setattr__(self, "_index", index)

    def block(self, queries: slice) -> Block:
        """Scores of the candidates."""
        asked = self.queries[queries]
        count = min(self.count, len(self.documents))
        _, candidates = self._index.search(own_codes(asked), count)
        return Block(rescore(asked, self.documents.packed, candidates), candidates)


@dataclass(frozen=True, eq=False)
class Int8Documents:
    """Document embeddings as the int8 sidecar stores them.

    Attributes:
        values: int8 (n, d).
        scale: float32 (n,), what a row's values are multiplied by.
    """

    values: NDArray[np.int8]
    scale: FloatArray

    @classmethod
    def encode(cls, documents: FloatArray) -> Int8Documents:
        """Quantize float32 (n, d)."""
        stored = encode_vectors("int8", documents).view(row_dtype("int8", documents.shape[1]))[:, 0]
        return cls(np.ascontiguousarray(stored["values"]), np.ascontiguousarray(stored["scale"]))

    @property
    def bytes_per_document(self) -> int:
        """Bytes that the sidecar holds for a document."""
        return row_dtype("int8", self.values.shape[1]).itemsize

    def scores(self, queries: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
        """Inner products float32 (q, c) of queries (q, d) with their own candidates, int64 (q, c)."""
        out = np.empty(rows.shape, dtype=np.float32)
        # The gathered vectors are the largest thing here: as many queries at a time as the cache holds.
        step = max(1, _GATHERED // (rows.shape[1] * self.values.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            floats = self.values.take(rows[part], axis=0).astype(np.float32)
            # einsum sums each row alike, so that equal documents tie; a blocked product may not.
            out[part] = np.einsum("qd,qcd->qc", queries[part], floats)
        out *= self.scale[rows]
        return out


@dataclass(frozen=True, eq=False)
class Int8Rescored:
    """The best codes of an asymmetric scan, rescored with int8 document embeddings.

    Attributes:
        scan: What picks the candidates, lower rows first among equal scores.
        queries: float32 (q, d).
        documents: The sidecar.
        count: Candidates a query; documents that are none of them are not retrieved.
    """

    scan: AsymmetricScan
    queries: FloatArray
    documents: Int8Documents
    count: int

    def block(self, queries: slice) -> Block:
        """Scores of the candidates."""
        candidates = self.scan.best(queries, self.count)
        return Block(self.documents.scores(self.queries[queries], candidates), candidates)


def best_rows(scores: FloatArray, count: int) -> NDArray[np.int64]:
    """The `count` best documents of each query, lower rows first among equal scores.

    Args:
        scores: float32 (q, n), higher is better.
        count: How many; all n where there are fewer.

    Returns:
        int64 (q, min(count, n)), in ascending order of row.
    """
    queries, documents = scores.shape
    if count >= documents:
        return np.tile(np.arange(documents), (queries, 1))
    best = np.empty((queries, count), dtype=np.int64)
    for i, row in enumerate(scores):
        last = np.partition(row, documents - count)[documents - count]
        better = np.flatnonzero(row > last)
        equal = np.flatnonzero(row == last)[: count - len(better)]
        best[i] = np.sort(np.concatenate([better, equal]))
    return best
