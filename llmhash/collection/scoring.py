"""How documents are scored for a query, and in which order they come: the rescorers.

Higher scores are better. They are from -1 to 1, but for those of tables, which are what the tables add up to.
Documents come by (score, then Hamming distance, then insertion).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.collection import Collection
from llmhash.collection.filters import Where
from llmhash.collection.manifest import SidecarKind
from llmhash.collection.snapshot import Snapshot
from llmhash.collection.view import Allow
from llmhash.errors import InputError
from llmhash.index import AsymmetricQueries
from llmhash.index.asymmetric import best_candidates
from llmhash.index.asymmetric_queries import own_codes

Scoring = Literal["hamming", "asymmetric", "asymmetric_scan", "int8", "float16"]

#: Bytes of codes up to which a query is scored against all of them by default; beyond, against candidates. So
#: many (10 million codes of 64 bits, 2.5 million of 256) took about 10 ms on one core with AVX-512.
ASYMMETRIC_SCAN_BYTES = 80_000_000
#: Candidates a query by default: so many a document asked for, and never fewer than the least.
CANDIDATES_PER_DOCUMENT = 10
LEAST_CANDIDATES = 100

# What finds documents by the Hamming distance between codes.
_BY_HAMMING = ("hamming", "asymmetric")

FloatArray = NDArray[np.float32]
#: float32 (q, k) scores and int64 (q, k) rows; row -1 where fewer documents qualify.
Scored = tuple[FloatArray, NDArray[np.int64]]


def choose_scoring(
    collection: Collection, scoring: Scoring | None = None, *, scan_only: bool = False
) -> Scoring:
    """The scoring to use: `scoring`, checked, or the collection's default.

    Args:
        collection: What is searched.
        scoring: What was asked for; None takes the default.
        scan_only: Whether Hamming distance between the codes ranks poorly.

    Raises:
        InputError: There is no such scoring, or the collection lacks the sidecar that it needs, or it goes by
            Hamming distance where that is no use.
    """
    if scoring is None:
        scan = scan_only or (collection.exact and collection.codes.nbytes <= ASYMMETRIC_SCAN_BYTES)
        return "asymmetric_scan" if scan else "asymmetric"
    if scoring not in get_args(Scoring):
        raise InputError(f"scoring must be one of {', '.join(get_args(Scoring))}, not {scoring!r}.")
    if scan_only and scoring in _BY_HAMMING:
        raise InputError(
            f"scoring {scoring!r} goes by Hamming distance, and codes of this hasher are for the asymmetric "
            "scan alone: leave the scoring out."
        )
    if scoring in get_args(SidecarKind) and scoring != collection.sidecar:
        raise InputError(
            f"scoring {scoring!r} needs the {scoring} sidecar of a collection that was created with "
            f"sidecar={scoring!r}; that of {collection.path} is {collection.sidecar}."
        )
    return scoring


def best_documents(
    collection: Collection,
    scoring: Scoring,
    queries: AsymmetricQueries,
    features: FloatArray,
    k: int,
    *,
    candidates: int | None = None,
    allow: Allow | None = None,
    deny: Allow | None = None,
    where: Where | None = None,
    scan_only: bool = False,
) -> Scored:
    """The `k` best documents for each of q queries.

    Args:
        collection: What is searched.
        scoring: `hamming`: 1 - 2h/b, h being the Hamming distance and b the bits. `asymmetric`: q·d / sum|q|,
            q being the logits and d the document's bits as ±1, or the sum of the tables' entries that the
            document's bytes name, over the nearest candidates by Hamming distance. `asymmetric_scan`: the
            same over all documents, tables' sums being corrected where they come with a correction. `int8`,
            `float16`: the cosine between the features and the sidecar's vectors, over the best candidates by
            asymmetric score.
        queries: Logits float32 (q, bits), or `TableQueries`.
        features: float32 (q, dim), what the queries were made of; the sidecar is compared with them.
        k: Documents a query.
        candidates: Candidates a query, at least k; by default 10 a document asked for, at least 100.
        allow: Only these may be returned: a boolean mask over the collection's codes, or rows.
        deny: These may not be returned, likewise.
        where: Only documents whose metadata satisfy this filter.
        scan_only: Whether Hamming distance between the codes ranks poorly.
    """
    # One commit for all steps, whatever other threads refresh or write between them.
    snapshot = collection.snapshot(allow=allow, deny=deny, where=where)
    most = max(1, len(snapshot))
    k = min(k, most)
    candidates = _candidates_for(k, most) if candidates is None else min(max(candidates, k), most)
    if scoring not in get_args(SidecarKind):
        return _best_by_codes(snapshot, scoring, queries, k, candidates)
    coarse = choose_scoring(collection, scan_only=scan_only)
    _, rows = _best_by_codes(snapshot, coarse, queries, candidates, _candidates_for(candidates, most))
    return _order(snapshot, queries, _cosines(snapshot, features, rows), rows, k)


def _candidates_for(k: int, most: int) -> int:
    return min(max(CANDIDATES_PER_DOCUMENT * k, LEAST_CANDIDATES), most)


def _best_by_codes(
    snapshot: Snapshot, scoring: Scoring, queries: AsymmetricQueries, k: int, candidates: int
) -> Scored:
    """The `k` best documents by a scoring that asks for nothing but the codes."""
    if scoring == "hamming":
        distances, rows = snapshot.search(own_codes(queries), k)
        return np.float32(1) - distances.astype(np.float32) * np.float32(2 / snapshot.view.bits), rows
    if scoring == "asymmetric_scan":
        return snapshot.asymmetric_search(queries, k)
    _, rows = snapshot.search(own_codes(queries), candidates)
    return _order(snapshot, queries, snapshot.rescore(queries, rows), rows, k)


def _cosines(snapshot: Snapshot, features: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    """The cosine of each query's features (q, dim) and its candidates' vectors, (q, c); 0 for zeros."""
    scores = np.zeros(rows.shape, dtype=np.float32)
    for query, found, out in zip(features, rows, scores, strict=True):
        there = found >= 0
        vectors = snapshot.vectors(found[there])
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        out[there] = np.divide(vectors @ query, norms, out=np.zeros_like(norms), where=norms > 0)
    return np.clip(scores, -1, 1)


def _distances(snapshot: Snapshot, queries: AsymmetricQueries, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Hamming distance between each query's code and its candidates', (q, c); 0 for row -1."""
    distances = np.zeros(rows.shape, dtype=np.int64)
    for code, found, out in zip(own_codes(queries).packed, rows, distances, strict=True):
        there = found >= 0
        out[there] = np.bitwise_count(snapshot.codes_at(found[there]) ^ code).sum(axis=1)
    return distances


def _order(
    snapshot: Snapshot, queries: AsymmetricQueries, scores: FloatArray, rows: NDArray[np.int64], k: int
) -> Scored:
    """The `k` best of the candidates."""
    return best_candidates(scores, _distances(snapshot, queries, rows), rows, k)
