"""The approximate index: a USearch HNSW graph over the distinct codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import bytes_per_code
from llmhash.index.approximate import DistinctCodesIndex, check_setting
from llmhash.index.base import NO_DISTANCE, NO_KEY
from llmhash.index.postings import Bytes
from llmhash.index.sharing import Rows

# The graph's settings and their least values: with one edge a node it would be a rope.
_SETTINGS = {"connectivity": 2, "expansion_add": 1, "expansion_search": 1}


class UsearchIndex(DistinctCodesIndex):
    """Approximate nearest neighbours by Hamming distance, through a graph; for tens of millions of codes.

    Attributes:
        bits: Bits in a code.
    """

    _title, _kind, _part = "USearch index", "llmhash.usearch", "graph"

    def __init__(
        self, bits: int, connectivity: int = 16, expansion_add: int = 128, expansion_search: int = 64
    ) -> None:
        """Make an empty index.

        Args:
            bits: Bits in a code, 1 to 4096.
            connectivity: Edges of a node; more of them find more and take more memory.
            expansion_add: Candidates looked at when a code is added.
            expansion_search: Candidates looked at in a search.

        Raises:
            InputError: A number is out of range.
        """
        super().__init__(bits)
        given = zip(_SETTINGS.items(), (connectivity, expansion_add, expansion_search), strict=True)
        self._settings = {name: check_setting(name, value, least) for (name, least), value in given}
        self._graph: Any = None

    def _describe(self) -> dict[str, Any]:
        return self._settings

    @classmethod
    def _described(cls, about: Mapping[str, Any]) -> Self:
        return cls(about["bits"], *(about[name] for name in _SETTINGS))

    def _held(self) -> int:
        return 0 if self._graph is None else len(self._graph)

    def _hold(self, codes: Bytes, threads: int) -> None:
        if self._graph is None:
            from usearch.index import Index as Graph
            from usearch.index import MetricKind

            # Padding bits count as dimensions; they are zero in all codes.
            dimensions = 8 * bytes_per_code(self.bits)
            self._graph = Graph(ndim=dimensions, metric=MetricKind.Hamming, dtype="b1", **self._settings)
        held = len(self._graph)
        self._graph.add(np.arange(held, len(codes), dtype=np.uint64), codes[held:], threads=threads)

    def _find(self, asked: Bytes, count: int, threads: int) -> tuple[Rows, NDArray[np.uint16]]:
        numbers = np.full((len(asked), count), NO_KEY, np.int64)
        distances = np.full(numbers.shape, NO_DISTANCE, np.uint16)
        if not len(asked):
            return numbers, distances
        matches = self._graph.search(asked, count, threads=threads)
        # For one query USearch returns a list cut to what it found; for more, one padded with 0 and NaN.
        keys, near = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        counts = [keys.shape[1]] if len(asked) == 1 else matches.counts
        there = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
        numbers[:, : keys.shape[1]][there] = keys[there]
        distances[:, : keys.shape[1]][there] = near[there]
        return numbers, distances

    def _dump(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._graph.save(), np.uint8)

    def _restore(self, image: NDArray[np.uint8]) -> None:
        from usearch.index import Index as Graph

        graph = Graph.restore(image.tobytes())
        if graph is None or graph.ndim != 8 * bytes_per_code(self.bits):
            raise ValueError("the graph is of another kind or width")
        graph.expansion_add = self._settings["expansion_add"]
        graph.expansion_search = self._settings["expansion_search"]
        self._graph = graph
