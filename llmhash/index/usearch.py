"""The approximate index: a USearch HNSW graph over the distinct codes."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code, check_bits
from llmhash.errors import FormatError, InputError
from llmhash.index.base import NO_DISTANCE, NO_KEY, Index
from llmhash.index.checks import allowed_rows, check_codes, check_k, check_keys
from llmhash.index.flat import FlatIndex
from llmhash.index.growing import extended
from llmhash.index.postings import Postings
from llmhash.index.sharing import Mask, Rows
from llmhash.index.threads import thread_count

Found = tuple[NDArray[np.uint16], Rows]

_FORMAT, _KIND = 1, "llmhash.usearch"
# The graph's settings and their least values: with one edge a node it would be a rope.
_SETTINGS = {"connectivity": 2, "expansion_add": 1, "expansion_search": 1}
# Under a filter, this many times the codes are fetched that should give enough; a filter that would take more
# than that many times k in all is left to the exact scan at once.
_OVERFETCH, _MOST_OVERFETCH = 2, 32


class UsearchIndex:
    """Approximate nearest neighbours by Hamming distance, through a graph; for tens of millions of codes.

    The graph holds each distinct code once. Results are ordered by (distance, insertion) among what it finds.
    Where it finds too few, as under a narrow filter, an exact scan over the distinct codes answers instead.
    It may be searched by several threads, which then take turns.

    Attributes:
        bits: Bits in a code.
    """

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
        self.bits = check_bits(bits)
        self._settings = dict(zip(_SETTINGS, (connectivity, expansion_add, expansion_search), strict=True))
        for name, value in self._settings.items():
            least = _SETTINGS[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}.")
        self._postings = Postings(bytes_per_code(bits))
        self._keys: NDArray[np.int64] | None = None
        self._exact: FlatIndex | None = None
        self._lock = Lock()
        self._graph: Any = None

    def __len__(self) -> int:
        return len(self._postings)

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes; `keys` as for `FlatIndex.add`.

        The graph is built on `LLMHASH_THREADS` threads, else on the usable cores; only on one thread does it
        come out the same every time.

        Raises:
            InputError: The codes have another width, or the keys do not fit.
        """
        fresh = check_codes(codes, self.bits)
        labels = None if keys is None else check_keys(keys, len(fresh))
        with self._lock:
            rows = len(self._postings)
            if labels is not None or self._keys is not None:
                before = np.arange(rows) if self._keys is None else self._keys
                after = np.arange(rows, rows + len(fresh)) if labels is None else labels
                self._keys = extended(before, rows, after)
            distinct = len(self._postings.codes)
            self._postings.add(fresh.packed)
            self._exact = None
            added = self._postings.codes[distinct:]
            if len(added):
                numbers = np.arange(distinct, distinct + len(added), dtype=np.uint64)
                self._opened().add(numbers, added, threads=thread_count())

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: NDArray[np.bool_] | NDArray[np.int64] | None = None,
        threads: int | None = None,
    ) -> Found:
        """About the `k` nearest codes of each query, by (distance, insertion) among those found.

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows in insertion order, or keys (those
                that the index does not hold are passed over).
            threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

        Returns:
            Distances uint16 (q, k) and keys int64 (q, k). Where fewer than k codes qualify, the rest holds
            distance 65535 and key -1.

        Raises:
            InputError: An argument does not fit the index.
        """
        asked = check_codes(queries, self.bits).packed
        k, threads = check_k(k), thread_count(threads)
        with self._lock:
            rows = len(self._postings)
            keys = None if self._keys is None else self._keys[:rows]
            distances, found = self._search(asked, k, allowed_rows(allow, rows, keys), threads)
        if keys is not None and rows:
            found = np.where(found == NO_KEY, NO_KEY, keys[found])
        return distances, found

    def _search(self, asked: NDArray[np.uint8], k: int, allowed: Mask | None, threads: int) -> Found:
        held = self._postings.held(allowed)
        eligible = int(np.count_nonzero(held))
        if not eligible or not len(asked):
            return _padding(len(asked), k)
        fetched = k if allowed is None else _OVERFETCH * -(-k * len(held) // eligible)
        within = min(k, int(held.sum()))
        if fetched > _MOST_OVERFETCH * k:
            distances, found = _padding(len(asked), k)
        else:
            numbers, near = self._look_up(asked, min(fetched, len(held)), threads)
            distances, found = self._postings.nearest(numbers, near, k, allowed)
        short = found[:, within - 1] == NO_KEY
        if short.any():
            mask = None if allowed is None else held > 0
            near, numbers = self._scanner().search(
                asked[short], min(k, eligible), allow=mask, threads=threads
            )
            distances[short], found[short] = self._postings.nearest(numbers, near, k, allowed)
        return distances, found

    def _look_up(self, asked: NDArray[np.uint8], count: int, threads: int) -> tuple[Rows, NDArray[np.uint16]]:
        """The numbers (q, count) and distances of the codes that the graph finds, padded with -1."""
        matches = self._opened().search(asked, count, threads=threads)
        # For one query USearch returns a list cut to what it found; for more, one padded with 0 and NaN.
        numbers = np.full((len(asked), count), NO_KEY, np.int64)
        distances = np.full(numbers.shape, NO_DISTANCE, np.uint16)
        keys, near = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        counts = [keys.shape[1]] if len(asked) == 1 else matches.counts
        there = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
        numbers[:, : keys.shape[1]][there] = keys[there]
        distances[:, : keys.shape[1]][there] = near[there]
        return numbers, distances

    def _scanner(self) -> FlatIndex:
        if self._exact is None:
            self._exact = FlatIndex.from_packed(self._postings.codes, self.bits)
        return self._exact

    def _opened(self) -> Any:
        """The graph; made when it first has something to hold, for USearch cannot restore an empty one."""
        if self._graph is None:
            from usearch.index import Index as Graph
            from usearch.index import MetricKind

            # Padding bits count as dimensions; they are zero in all codes.
            dimensions = 8 * bytes_per_code(self.bits)
            self._graph = Graph(ndim=dimensions, metric=MetricKind.Hamming, dtype="b1", **self._settings)
        return self._graph

    def save(self, path: str | Path) -> None:
        """Write the index to one file, whole or not at all.

        It is an uncompressed .npz archive, without pickled objects, with a checksum a part.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock:
            rows = len(self._postings)
            about = {"format": _FORMAT, "kind": _KIND, "bits": self.bits, **self._settings}
            parts: dict[str, Any] = {
                "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
                "codes": self._postings.codes,
                "owners": self._postings.owners,
            }
            if self._keys is not None:
                parts["keys"] = self._keys[:rows]
            if rows:
                parts["graph"] = np.frombuffer(self._opened().save(), np.uint8)
            target = Path(path)
            staged = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            try:
                with staged.open("wb") as file:
                    np.savez(file, **parts)
                    file.flush()
                    os.fsync(file.fileno())
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> UsearchIndex:
        """Read an index that `save` wrote.

        Raises:
            InputError: There is no such file.
            FormatError: It is truncated, corrupt, of another kind, or from a newer version.
        """
        about, parts = _read(Path(path))
        try:
            index = cls(about["bits"], *(about[name] for name in _SETTINGS))
            index._postings = Postings.of(parts["codes"], parts["owners"])
            index._keys = parts.get("keys")
            if len(index):
                index._graph = _restored(parts["graph"], index._settings)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise FormatError(
                f"{path} does not hold a whole USearch index ({error}); build it again."
            ) from error
        if not index._is_whole():
            raise FormatError(f"{path} does not hold a whole USearch index; build it again.")
        return index

    def _is_whole(self) -> bool:
        """Whether the parts fit each other."""
        rows, codes = len(self._postings), self._postings.codes
        return (
            codes.shape[1] == bytes_per_code(self.bits)
            and (self._keys is None or self._keys.shape == (rows,))
            and (
                self._graph is None
                or (len(self._graph), self._graph.ndim) == (len(codes), 8 * codes.shape[1])
            )
        )


def _restored(graph: NDArray[np.uint8], settings: dict[str, int]) -> Any:
    from usearch.index import Index as Graph

    restored = Graph.restore(graph.tobytes())
    if restored is None:
        raise ValueError("the graph is of another kind")
    restored.expansion_add, restored.expansion_search = (
        settings["expansion_add"],
        settings["expansion_search"],
    )
    return restored


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The description and the arrays of a saved index; reading all of an archive checks its checksums."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        about = json.loads(parts.pop("about").tobytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, AttributeError, TypeError) as error:
        raise FormatError(f"{path} is not a readable USearch index of llmhash ({error}).") from error
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise FormatError(f"{path} is not a USearch index of llmhash.")
    if about.get("format", 0) > _FORMAT:
        raise FormatError(f"{path} was written by a newer llmhash; upgrade to read it.")
    return about, parts


def recall_against_exact(index: Index, flat: Index, queries: Codes | NDArray[np.uint8], k: int) -> float:
    """The share of the exact k nearest that an index reaches.

    Counted by distance, so it does not matter which of several codes at the k-th distance it returns.

    Args:
        index: The index to judge.
        flat: An exact index over the same codes.
        queries: q codes.
        k: Neighbours a query.

    Returns:
        A share from 0 to 1; 1 where there is nothing to find.
    """
    exact, _ = flat.search(queries, k)
    found, _ = index.search(queries, k)
    there = exact != NO_DISTANCE
    last = np.where(there, exact, 0).max(axis=1, keepdims=True, initial=0)
    reached = (found <= last) & (found != NO_DISTANCE)
    wanted = np.count_nonzero(there)
    return float(np.count_nonzero(reached) / wanted) if wanted else 1.0


def _padding(queries: int, k: int) -> Found:
    return np.full((queries, k), NO_DISTANCE, np.uint16), np.full((queries, k), NO_KEY, np.int64)
