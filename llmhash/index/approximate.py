"""What approximate engines share: each holds the distinct codes, and an exact scan stands behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code, check_bits
from llmhash.errors import FormatError, InputError
from llmhash.index.archive import read_archive, write_archive
from llmhash.index.base import NO_DISTANCE, NO_KEY, Found, Index, Selection
from llmhash.index.checks import allowed_rows, check_codes, check_k, check_keys
from llmhash.index.flat import FlatIndex
from llmhash.index.growing import extended
from llmhash.index.postings import Bytes, Postings, Rings, nearest
from llmhash.index.sharing import Mask, Rows
from llmhash.index.threads import thread_count

# Format 1 had row numbers of eight bytes, and an engine however few the codes.
_FORMAT = 2
# Under a filter, this many times the codes are fetched that should give enough; a filter that would take more
# than that many times k in all is left to the exact scan at once.
_OVERFETCH, _MOST_OVERFETCH = 2, 32
# Nor is an engine asked for more than one in this many of its codes: the scan is faster then.
_MOST_SHARE = 8


class DistinctCodesIndex(ABC):
    """Nearest neighbours by Hamming distance through an engine that holds each distinct code once.

    Results are ordered by (distance, insertion) among what the engine finds. An exact scan over the distinct
    codes answers instead while these are few, and wherever the engine finds too few, as under a narrow
    filter. Rows cannot be removed: engines keep the memory of what is removed, or number anew what is left.
    Deny them, and build the index anew without them when they are many. It may be searched by several
    threads, which then take turns.

    Attributes:
        bits: Bits in a code.
        few: Up to so many distinct codes the exact scan answers, and the engine is not built. The default is
            measured: there a scan answers a batch ten times as fast as a graph, a single query about as fast.
    """

    few: int = 10_000
    #: What errors call it, and what a saved one calls itself and its engine's part.
    _title: ClassVar[str]
    _kind: ClassVar[str]
    _part: ClassVar[str]

    def __init__(self, bits: int) -> None:
        self.bits = check_bits(bits)
        self._postings = Postings(bytes_per_code(bits))
        self._keys: Rows | None = None
        self._exact: FlatIndex | None = None
        self._lock = Lock()

    @abstractmethod
    def _describe(self) -> dict[str, Any]:
        """The settings, as JSON, from which `_described` makes an empty index."""

    @classmethod
    @abstractmethod
    def _described(cls, about: Mapping[str, Any]) -> Self:
        """An empty index; KeyError, TypeError or ValueError where the description is not whole."""

    @abstractmethod
    def _held(self) -> int:
        """How many codes the engine holds."""

    @abstractmethod
    def _hold(self, codes: Bytes, threads: int) -> None:
        """Have the engine hold `codes`, numbered as they stand; it holds the first `_held()` already."""

    @abstractmethod
    def _find(self, asked: Bytes, count: int, threads: int) -> tuple[Rows, NDArray[np.uint16]]:
        """The numbers int64 (q, count) and distances of the nearest codes, ascending, padded with -1."""

    @abstractmethod
    def _dump(self) -> NDArray[np.uint8]:
        """The engine's own image."""

    @abstractmethod
    def _restore(self, image: NDArray[np.uint8]) -> None:
        """Take the engine from its image; ValueError or RuntimeError where it is of another kind or width."""

    def _can_find(self, count: int, k: int, filtered: bool) -> bool:
        """Whether to ask the engine for `count` codes so as to fill `k` places, rather than scan."""
        held = self._held()
        return held == len(self._postings.codes) >= _MOST_SHARE * count and count <= _MOST_OVERFETCH * k

    def __len__(self) -> int:
        return len(self._postings)

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes; `keys` as for `FlatIndex.add`.

        The engine is built on `LLMHASH_THREADS` threads, else on the usable cores; only on one thread does a
        graph come out the same every time.

        Raises:
            InputError: The codes have another width, or the keys do not fit.
        """
        fresh = check_codes(codes, self.bits)
        labels = None if keys is None else check_keys(keys, len(fresh))
        threads = thread_count()
        with self._lock:
            rows = len(self._postings)
            self._exact = None
            self._postings.add(fresh.packed)
            if labels is not None or self._keys is not None:
                before = np.arange(rows) if self._keys is None else self._keys
                after = np.arange(rows, rows + len(fresh)) if labels is None else labels
                self._keys = extended(before, rows, after)
            distinct = self._postings.codes
            if self._held() < len(distinct) > self.few:
                self._hold(distinct, threads)

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> Found:
        """About the `k` nearest codes of each query, by (distance, insertion) among those found.

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows in insertion order, or keys (those
                that the index does not hold are passed over).
            deny: These may not be returned, though `allow` may name them.
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
            distances, found = self._search(asked, k, allowed_rows(allow, rows, keys, deny), threads)
        if keys is not None and rows:
            found = np.where(found == NO_KEY, NO_KEY, keys[found])
        return distances, found

    def _search(self, asked: Bytes, k: int, allowed: Mask | None, threads: int) -> Found:
        rings, count = self._postings.rings(allowed), k
        if allowed is not None and len(rings):
            count = _OVERFETCH * -(-k * len(rings.last) // len(rings))
        if not len(rings) or not self._can_find(count, k, allowed is not None):
            return self._scan(asked, k, rings, threads)
        numbers, distances = self._find(asked, count, threads)
        distances, found = nearest(numbers, distances, k, rings, threads)
        eligible = len(self._postings) if allowed is None else int(np.count_nonzero(allowed))
        short = found[:, min(k, eligible) - 1] == NO_KEY
        if short.any():
            distances[short], found[short] = self._scan(asked[short], k, rings, threads)
        return distances, found

    def _scan(self, asked: Bytes, k: int, rings: Rings, threads: int) -> Found:
        """The k nearest rows, exactly: the codes are scanned in the order of their first allowed rows."""
        codes, order = self._postings.codes, rings.order
        if order is not None:
            scanner = FlatIndex.from_packed(codes[order], self.bits)
        elif self._exact is None:
            scanner = self._exact = FlatIndex.from_packed(codes, self.bits)
        else:
            scanner = self._exact
        # More codes than there are would only be padding.
        distances, numbers = scanner.search(asked, max(1, min(k, len(rings))), threads=threads)
        if order is not None and len(order):
            numbers = np.where(numbers == NO_KEY, NO_KEY, order[numbers])
        return nearest(numbers, distances, k, rings, threads)

    def save(self, path: str | Path) -> None:
        """Write the index to one file, whole or not at all.

        It is an uncompressed .npz archive, without pickled objects, with a checksum a part.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock:
            # An engine that lacks codes, for an `add` failed, is of no use.
            held = self._held() if self._held() == len(self._postings.codes) else 0
            about = {"format": _FORMAT, "kind": self._kind, "bits": self.bits, "held": held}
            about |= self._describe()
            parts: dict[str, NDArray[Any]] = {"codes": self._postings.codes, "owners": self._postings.owners}
            if self._keys is not None:
                parts["keys"] = self._keys[: len(self._postings)]
            if held:
                parts[self._part] = self._dump()
            write_archive(Path(path), about, parts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an index that `save` wrote.

        Raises:
            InputError: There is no such file.
            FormatError: It is truncated, corrupt, of another kind, or from a newer version.
        """
        about, parts = read_archive(Path(path), cls._kind, _FORMAT, cls._title)
        try:
            index = cls._described(about)
            index._take(parts, about.get("held"))
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise FormatError(
                f"{path} does not hold a whole {cls._title} ({error}); build it again."
            ) from error
        return index

    def _take(self, parts: Mapping[str, NDArray[Any]], held: int | None) -> None:
        """Take what `save` wrote, once it is clear that the parts fit each other."""
        self._postings = Postings.of(parts["codes"], parts["owners"])
        self._keys = parts.get("keys")
        distinct = self._postings.codes
        Codes(distinct, self.bits)
        if self._keys is not None:
            check_keys(self._keys, len(self._postings))
        # Format 1 does not say that its engine holds all codes.
        if held != 0 and len(distinct) > self.few:
            self._restore(parts[self._part])
            if self._held() != len(distinct):
                raise ValueError("the engine holds other codes")


def recall_against_exact(index: Index, exact: Index, queries: Codes | NDArray[np.uint8], k: int) -> float:
    """The share of the exact k nearest that an index reaches.

    Counted by distance, so it does not matter which of several codes at the k-th distance it returns.

    Args:
        index: The index to judge.
        exact: An exact index over the same codes.
        queries: q codes.
        k: Neighbours a query.

    Returns:
        A share from 0 to 1; 1 where there is nothing to find.
    """
    nearest_distances, _ = exact.search(queries, k)
    found, _ = index.search(queries, k)
    there = nearest_distances != NO_DISTANCE
    last = np.where(there, nearest_distances, 0).max(axis=1, keepdims=True, initial=0)
    reached = (found <= last) & (found != NO_DISTANCE)
    wanted = np.count_nonzero(there)
    return float(np.count_nonzero(reached) / wanted) if wanted else 1.0


def check_setting(name: str, value: object, least: int) -> int:
    """Return an engine's setting, or raise `InputError` unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value
