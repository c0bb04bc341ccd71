"""What the search benchmark compares: the interface, and llmhash's own engines.

An engine is built once over the codes and then searched in one or several variants (a graph's effort, for
instance). A variant hands out what its library returns; reading the distances out of that is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workloads import Packed, Queries

from llmhash.index import FlatIndex, UsearchIndex, asymmetric_search

FLAT, ASYMMETRIC, MIH = "llmhash FlatIndex", "llmhash asymmetric scan", "llmhash MihIndex"


@dataclass(frozen=True)
class Variant:
    """A way to search a built engine.

    Attributes:
        name: What the tables call it.
        search: Called with what `prepare` made, k and the threads.
        distances: From what `search` returned and k, the Hamming distances, (q, k); padded with 65535. None
            where the engine scores by something else.
        prepare: Turns queries into what the library takes; not timed.
        exact: Whether it claims to find the k nearest.
        own: Whether it is llmhash's, so that its latency is measured on more queries.
        least_threads: It uses as many at least, whatever it is asked for.
        most_threads: More threads than this it cannot use.
    """

    name: str
    search: Callable[[Any, int, int], Any]
    distances: Callable[[Any, int], NDArray[np.uint16]] | None
    prepare: Callable[[Queries], Any] = lambda queries: queries.packed
    exact: bool = True
    own: bool = False
    least_threads: int = 1
    most_threads: int = 1 << 30


@dataclass(frozen=True)
class Engine:
    """A contestant.

    Attributes:
        name: What `--only` and the tables call it.
        build: From the codes, their bits and the threads to use, the ways to search.
        most_codes: More codes than this it is not asked to hold.
        least_bits: Narrower codes are not for it.
        most_bits: Wider ones neither.
        module: The package it needs.
        copies: Whether it holds the codes itself; otherwise it searches the caller's array.
        graph: Whether it is built code by code, which takes so long that a plan may leave it out.
        optional: Whether it runs only if `--only` names it.
    """

    name: str
    build: Callable[[Packed, int, int], list[Variant]]
    most_codes: int = 1 << 40
    least_bits: int = 1
    most_bits: int = 4096
    module: str = "llmhash"
    copies: bool = True
    graph: bool = False
    optional: bool = False

    def why_not(self, bits: int, count: int, graphs: bool) -> str | None:
        """Why it does not take part in a case; None where it does."""
        try:
            missing = find_spec(self.module) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            return f"{self.module} is not installed"
        if not self.least_bits <= bits <= self.most_bits:
            return f"it takes {self.least_bits} to {self.most_bits} bits"
        if count > self.most_codes:
            return f"it is measured up to {self.most_codes:,} codes"
        return "graphs are built in other cases" if self.graph and not graphs else None


def own_distances(found: tuple[NDArray[np.uint16], Any], k: int) -> NDArray[np.uint16]:
    """The distances of an llmhash index, which come padded."""
    return found[0]


def _search(index: Any, queries: Packed, k: int, threads: int) -> Any:
    return index.search(queries, k, threads=threads)


def _flat(packed: Packed, bits: int, threads: int) -> list[Variant]:
    index = FlatIndex.from_packed(packed, bits)
    return [Variant(FLAT, partial(_search, index), own_distances, own=True)]


def _mih(packed: Packed, bits: int, threads: int) -> list[Variant]:
    index = import_module("llmhash.index.mih").MihIndex.from_packed(packed, bits)
    return [Variant(MIH, partial(_search, index), own_distances, own=True)]


def _asymmetric(packed: Packed, bits: int, threads: int) -> list[Variant]:
    def search(logits: NDArray[np.float32], k: int, threads: int) -> Any:
        return asymmetric_search(logits, packed, k, threads=threads)

    return [Variant(ASYMMETRIC, search, None, lambda queries: queries.logits, own=True)]


def _usearch(packed: Packed, bits: int, threads: int) -> list[Variant]:
    index = UsearchIndex(bits)
    index.add(packed)
    return [Variant("llmhash UsearchIndex", partial(_search, index), own_distances, exact=False)]


def _faiss(kind: str, packed: Packed, bits: int, threads: int) -> list[Variant]:
    index = import_module("llmhash.index.faiss").FaissIndex(bits, kind)
    index.add(packed)
    name = f"llmhash FaissIndex {kind}"
    return [Variant(name, partial(_search, index), own_distances, exact=kind == "flat")]


OWN_ENGINES = (
    Engine(FLAT, _flat, copies=False),
    Engine(ASYMMETRIC, _asymmetric, copies=False),
    Engine(MIH, _mih, least_bits=64, most_bits=256, module="llmhash.index.mih", copies=False),
    Engine("llmhash UsearchIndex", _usearch, most_codes=1_000_000, graph=True, optional=True),
    Engine(
        "llmhash FaissIndex hnsw",
        partial(_faiss, "hnsw"),
        most_codes=1_000_000,
        module="faiss",
        graph=True,
        optional=True,
    ),
)
