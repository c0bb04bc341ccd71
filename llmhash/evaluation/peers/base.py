"""What all peers share: codes that decode to vectors, seeded samples to fit on, FAISS itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import MissingExtraError
from llmhash.evaluation.rankings import Block, Ranking

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

#: Centroids of a codebook of 8 bits, and so the fewest documents to fit one on.
CENTROIDS = 256
#: Documents that a codebook is fitted on at most: what FAISS's own k-means samples for 256 centroids.
SAMPLE = 256 * CENTROIDS

# Documents encoded at a time: a beam of 16 residuals of 384 dimensions then takes 400 MB.
_ENCODE_ROWS = 1 << 14


class Peer(Protocol):
    """A fitted peer."""

    @property
    def bytes_per_document(self) -> int:
        """Bytes of a code, factors included."""
        ...

    @property
    def model_bytes(self) -> int:
        """Bytes of everything fixed: codebooks, projections, ranges."""
        ...

    @property
    def scoring(self) -> str:
        """Either "asymmetric_scan", all documents are scored, or "asymmetric", candidates are rescored."""
        ...

    @property
    def settings(self) -> str:
        """Its settings, in words."""
        ...

    def encode(self, documents: FloatArray) -> ByteArray:
        """Codes uint8 (n, bytes_per_document) of documents float32 (n, d)."""
        ...

    def ranking(self, queries: FloatArray, codes: ByteArray) -> Ranking:
        """Scores of encoded documents for queries float32 (q, d)."""
        ...


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A peer whose codes decode to vectors: its score is the inner product with the query.

    That is what its distance tables add up to, so nothing is lost or gained by decoding.

    Attributes:
        bytes_per_document: Bytes of a code.
        model_bytes: Bytes of everything fixed.
        description: Its settings, in words.
        to_codes: float32 (n, d) to uint8 (n, bytes_per_document).
        decode: uint8 (n, bytes_per_document) to float32 (n, k).
        turn_queries: float32 (q, d) to float32 (q, k), the space that codes decode into.
    """

    bytes_per_document: int
    model_bytes: int
    description: str
    to_codes: Callable[[FloatArray], ByteArray]
    decode: Callable[[ByteArray], FloatArray]
    turn_queries: Callable[[FloatArray], FloatArray]
    scoring: str = "asymmetric_scan"

    @property
    def settings(self) -> str:
        """Its settings, in words, and FAISS's version."""
        return f"FAISS {import_faiss().__version__}, {self.description}"

    def encode(self, documents: FloatArray) -> ByteArray:
        """Codes uint8 (n, bytes_per_document) of documents float32 (n, d), some rows at a time."""
        codes = np.empty((len(documents), self.bytes_per_document), dtype=np.uint8)
        for start in range(0, len(documents), _ENCODE_ROWS):
            codes[start : start + _ENCODE_ROWS] = self.to_codes(documents[start : start + _ENCODE_ROWS])
        return codes

    def ranking(self, queries: FloatArray, codes: ByteArray) -> CodebookRanking:
        """Inner products of queries float32 (q, d) with decoded documents."""
        distinct, code = np.unique(codes, axis=0, return_inverse=True)
        return CodebookRanking(self.turn_queries(queries), self.decode(distinct), code.reshape(-1))


@dataclass(frozen=True, eq=False)
class CodebookRanking:
    """Inner products with decoded codes.

    Attributes:
        queries: float32 (q, k).
        decoded: float32 (u, k), the distinct codes decoded.
        code: int64 (n,), the distinct code of each document, so that equal codes tie exactly.
    """

    queries: FloatArray
    decoded: FloatArray
    code: NDArray[np.int64]

    def block(self, queries: slice) -> Block:
        """Scores of all documents."""
        return Block((self.queries[queries] @ self.decoded.T)[:, self.code])


def sample(training: FloatArray, rows: int, seed: int) -> FloatArray:
    """At most `rows` of the training documents, float32 (n, d), in their order."""
    if len(training) <= rows:
        return training
    chosen = np.random.default_rng(seed).choice(len(training), rows, replace=False)
    return training[np.sort(chosen)]


def import_faiss() -> Any:
    """FAISS.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("The comparison with FAISS", "faiss") from error
    return faiss


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """FAISS's threads, which belong to the process, set for a while."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
