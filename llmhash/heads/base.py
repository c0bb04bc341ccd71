"""Heads: features to b real logits, one map per side, a bit being `logit > 0`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import TableQueries

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """What a head is fitted on.

    Attributes:
        documents: float32 (n, d), the teacher's document embeddings.
        queries: float32 (m, d), embeddings of training queries (pseudo-queries cut from the documents, or
            real ones that the user named), or None where there are none.
        sources: int64 (m,), the row of the document each query was cut from, -1 where unknown; or None.
        sides_differ: Whether queries and documents pass through different encoders or prompts, so that
            statistics (means, medians) belong to a side.
        clean_queries: float32 (m, d), the queries row by row as they were before some of their texts were
            corrupted: whose ranking a noisy query should get. None where none was corrupted.
    """

    documents: FloatArray
    queries: FloatArray | None = None
    sources: NDArray[np.int64] | None = None
    sides_differ: bool = False
    clean_queries: FloatArray | None = None

    def __post_init__(self) -> None:
        check_features(self.documents, "documents")
        if len(self.documents) == 0:
            raise InputError("there are no documents to fit a head on.")
        if self.queries is not None:
            check_features(self.queries, "queries")
            if self.queries.shape[1] != self.documents.shape[1]:
                raise InputError(
                    f"queries have {self.queries.shape[1]} dimensions, documents {self.documents.shape[1]}."
                )
        if self.clean_queries is not None:
            check_features(self.clean_queries, "clean queries")
            if self.queries is None or self.clean_queries.shape != self.queries.shape:
                there = "none" if self.queries is None else str(self.queries.shape)
                raise InputError(
                    f"clean queries must match the queries row by row, but have shape "
                    f"{self.clean_queries.shape} where the queries have {there}."
                )

    @property
    def dim(self) -> int:
        """Dimensions of a feature vector."""
        return int(self.documents.shape[1])

    @property
    def query_statistics(self) -> FloatArray | None:
        """The clean query features where their statistics may differ from the documents', else None."""
        queries = self.queries if self.clean_queries is None else self.clean_queries
        return queries if self.sides_differ and queries is not None and len(queries) else None


def check_features(values: FloatArray, what: str = "features") -> FloatArray:
    """Return float32 (n, d) features, or raise `InputError` for another shape, NaN or infinity."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{what} must be numbers of shape (n, d), not {array.dtype} {array.shape}.")
    array = np.ascontiguousarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise InputError(
            f"{what} hold NaN or infinity in {len(bad)} row(s), the first is row {bad[0]}; "
            "remove or embed them again."
        )
    return array


class Head(Protocol):
    """Features (n, d) to logits (n, bits), per side, and to codes and what scores them."""

    @property
    def bits(self) -> int:
        """Bits in a code."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored: weights, biases, tables."""
        ...

    def document_logits(self, features: FloatArray) -> FloatArray:
        """Logits float32 (n, bits) of document features float32 (n, dim)."""
        ...

    def query_logits(self, features: FloatArray) -> FloatArray:
        """Logits float32 (n, bits) of query features float32 (n, dim)."""
        ...

    def document_codes(self, features: FloatArray) -> Codes:
        """Codes of document features float32 (n, dim)."""
        ...

    def asymmetric_queries(self, features: FloatArray) -> FloatArray | TableQueries:
        """What scores documents' codes for query features float32 (n, dim)."""
        ...
