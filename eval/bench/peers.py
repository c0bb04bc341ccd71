"""The other libraries of the search benchmark, each used as its documentation shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import isqrt, log2
from typing import Any

import numpy as np
from contestants import Engine, Variant
from numpy.typing import NDArray
from workloads import Packed, Queries

from llmhash.index import NO_DISTANCE, NO_KEY
from llmhash.index.threads import default_threads

FAISS_FLAT = "FAISS BinaryFlat"
_TREES = 10  # Annoy's documentation uses ten.
_GRAPH_CODES = 1_000_000

Distances = NDArray[np.uint16]


def _padded(distances: NDArray[Any], there: NDArray[np.bool_]) -> Distances:
    """Distances as uint16, 65535 where there is no neighbour."""
    return np.where(there, distances, NO_DISTANCE).astype(np.uint16)


# ---------------------------------------------------------------------------------------------------- USearch


def _usearch_distances(found: Any, k: int) -> Distances:
    distances = np.atleast_2d(found.distances)  # A single query's come without an axis for it.
    counts: Any = getattr(found, "counts", distances.shape[1])
    there = np.arange(distances.shape[1]) < np.reshape(counts, (-1, 1))
    out = np.full((len(distances), k), NO_DISTANCE, np.uint16)
    out[:, : distances.shape[1]] = _padded(distances, there)
    return out


def _usearch_exact(packed: Packed, bits: int, threads: int) -> list[Variant]:
    usearch = import_module("usearch.index")

    def search(queries: Packed, k: int, threads: int) -> Any:
        return usearch.search(
            packed, queries, k, usearch.MetricKind.Hamming, exact=True, threads=threads, dtype="b1"
        )

    return [Variant("USearch exact", search, _usearch_distances)]


def _usearch_graph(packed: Packed, bits: int, threads: int) -> list[Variant]:
    usearch = import_module("usearch.index")
    index = usearch.Index(ndim=bits, metric=usearch.MetricKind.Hamming, dtype="b1")
    index.add(np.arange(len(packed)), packed, threads=threads)

    def search(effort: int, queries: Packed, k: int, threads: int) -> Any:
        index.expansion_search = effort
        return index.search(queries, k, threads=threads)

    variants = [
        Variant(f"USearch HNSW, effort {effort}", partial(search, effort), _usearch_distances, exact=False)
        for effort in (64, 256)
    ]
    return [*variants, *_through_sentence_transformers("usearch", index)]


# ------------------------------------------------------------------------------------------------------ FAISS


def _faiss_distances(found: tuple[NDArray[np.int32], NDArray[np.int64]], k: int) -> Distances:
    return _padded(found[0], found[1] != NO_KEY)


def _faiss_variants(
    name: str, index: Any, settings: dict[str, Callable[[], None]], exact: bool = False
) -> list[Variant]:
    """A variant for each setting, which is made before each search."""
    faiss = import_module("faiss")

    def search(prepare: Callable[[], None], queries: Packed, k: int, threads: int) -> Any:
        faiss.omp_set_num_threads(threads)
        prepare()
        return index.search(queries, k)

    return [
        Variant(f"{name}{label}", partial(search, prepare), _faiss_distances, exact=exact)
        for label, prepare in settings.items()
    ]


def _set(index: Any, attribute: str, value: Any) -> Callable[[], None]:
    return partial(setattr, index, attribute, value)


def _faiss_flat(packed: Packed, bits: int, threads: int) -> list[Variant]:
    faiss = import_module("faiss")
    index = faiss.IndexBinaryFlat(bits)
    index.add(packed)

    ways = {", heap": _set(index, "use_heap", True), ", counting": _set(index, "use_heap", False)}
    variants = _faiss_variants(FAISS_FLAT, index, ways, exact=True)
    if len(packed) > 10 * _GRAPH_CODES:
        return variants
    return [*variants, *_through_sentence_transformers("faiss", index)]


def _faiss_graph(packed: Packed, bits: int, threads: int) -> list[Variant]:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexBinaryHNSW(bits, 16)
    index.add(packed)
    efforts = {f", effort {effort}": _set(index.hnsw, "efSearch", effort) for effort in (16, 128)}
    return _faiss_variants("FAISS BinaryHNSW", index, efforts)


def _faiss_lists(packed: Packed, bits: int, threads: int) -> list[Variant]:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(threads)
    lists = min(1024, isqrt(len(packed)))
    quantizer = faiss.IndexBinaryFlat(bits)
    index = faiss.IndexBinaryIVF(quantizer, bits, lists)
    index.quantizer_of_this = quantizer  # Else Python frees it.
    index.train(packed[:: max(1, len(packed) // (40 * lists))])
    index.add(packed)
    probes = {f", {count} of {lists} lists": _set(index, "nprobe", count) for count in (1, 8, 64)}
    return _faiss_variants("FAISS BinaryIVF", index, probes)


def _faiss_hashes(packed: Packed, bits: int, threads: int) -> list[Variant]:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(threads)
    width = max(8, round(log2(len(packed))))  # About one code a bucket.
    index = faiss.IndexBinaryMultiHash(bits, min(4, bits // width), width)
    index.add(packed)
    flips = {f", {count} flipped": _set(index, "nflip", count) for count in (0, 1, 2)}
    return _faiss_variants("FAISS BinaryMultiHash", index, flips)


# ------------------------------------------------------------------------------------- sentence-transformers


def _through_sentence_transformers(library: str, index: Any) -> list[Variant]:
    """The exact search of sentence-transformers over a library's index; nothing where it is not installed."""
    if find_spec("sentence_transformers") is None:
        return []
    function = f"semantic_search_{library}"
    semantic_search = getattr(import_module("sentence_transformers.util.quantization"), function)

    def search(queries: Packed, k: int, threads: int) -> Any:
        if library == "faiss":
            import_module("faiss").omp_set_num_threads(threads)
            index.use_heap = True
        options = {"corpus_precision": "ubinary", "rescore": False, "exact": True}
        return semantic_search(queries, corpus_index=index, top_k=k, **options)[0]

    # Over USearch, it takes all the threads there are.
    least_threads = default_threads() if library == "usearch" else 1
    name = f"sentence-transformers {library}, exact"
    return [Variant(name, search, _listed_distances, least_threads=least_threads)]


def _listed_distances(found: list[list[dict[str, Any]]], k: int) -> Distances:
    out = np.full((len(found), k), NO_DISTANCE, np.uint16)
    for query, hits in enumerate(found):
        out[query, : len(hits)] = [hit["score"] for hit in hits]
    return out


# ------------------------------------------------------------------------------------------- Annoy and NMSLIB


def _ragged_distances(found: list[tuple[Any, Any]], k: int) -> Distances:
    """Distances of pairs (keys, distances), one a query."""
    out = np.full((len(found), k), NO_DISTANCE, np.uint16)
    for query, (_, distances) in enumerate(found):
        out[query, : len(distances)] = distances
    return out


def _annoy(packed: Packed, bits: int, threads: int) -> list[Variant]:
    index = import_module("annoy").AnnoyIndex(bits, "hamming")
    for start in range(0, len(packed), 1 << 14):  # The whole as Python lists would fill the memory.
        for row, vector in enumerate(_bit_lists(packed[start : start + (1 << 14)]), start):
            index.add_item(row, vector)
    index.set_seed(1)
    index.build(_TREES, n_jobs=threads)

    def search(effort: int, queries: list[list[int]], k: int, threads: int) -> Any:
        looked_at = effort * _TREES * k if effort else -1
        return [index.get_nns_by_vector(query, k, looked_at, include_distances=True) for query in queries]

    # Its searches hold the interpreter: a second thread brings nothing.
    return [
        Variant(name, partial(search, effort), _ragged_distances, _annoy_queries, exact=False, most_threads=1)
        for name, effort in {"Annoy, 10 trees": 0, "Annoy, 10 trees, effort x20": 20}.items()
    ]


def _bit_lists(packed: Packed) -> list[list[int]]:
    lists: list[list[int]] = np.unpackbits(packed, axis=1).tolist()
    return lists


def _annoy_queries(queries: Queries) -> list[list[int]]:
    return _bit_lists(queries.packed)


def _nmslib(packed: Packed, bits: int, threads: int) -> list[Variant]:
    nmslib = import_module("nmslib")
    index = nmslib.init(
        method="hnsw",
        space="bit_hamming",
        data_type=nmslib.DataType.OBJECT_AS_STRING,
        dtype=nmslib.DistType.INT,
    )
    for start in range(0, len(packed), 1 << 14):
        part = packed[start : start + (1 << 14)]
        index.addDataPointBatch(_bit_strings(part), np.arange(start, start + len(part), dtype=np.int32))
    index.createIndex({"indexThreadQty": threads})

    def search(effort: int, queries: list[str], k: int, threads: int) -> Any:
        index.setQueryTimeParams({"efSearch": max(effort, k)})
        return index.knnQueryBatch(queries, k, num_threads=threads)

    return [
        Variant(
            f"NMSLIB HNSW, effort {effort}",
            partial(search, effort),
            _ragged_distances,
            lambda queries: _bit_strings(queries.packed),
            exact=False,
        )
        for effort in (20, 200)
    ]


def _bit_strings(packed: Packed) -> list[str]:
    """The bits of each code, with spaces between, as NMSLIB takes them."""
    return [" ".join(map(str, bits)) for bits in _bit_lists(packed)]


PEERS = (
    Engine("USearch exact", _usearch_exact, most_codes=1_000_000, module="usearch", copies=False),
    Engine(FAISS_FLAT, _faiss_flat, module="faiss"),
    Engine("FAISS BinaryIVF", _faiss_lists, most_codes=10_000_000, module="faiss"),
    Engine("FAISS BinaryMultiHash", _faiss_hashes, most_codes=10_000_000, module="faiss"),
    Engine("USearch HNSW", _usearch_graph, _GRAPH_CODES, module="usearch", graph=True),
    Engine("FAISS BinaryHNSW", _faiss_graph, _GRAPH_CODES, module="faiss", graph=True),
    Engine("Annoy", _annoy, _GRAPH_CODES, module="annoy", graph=True),
    Engine("NMSLIB HNSW", _nmslib, _GRAPH_CODES, module="nmslib", graph=True),
)
