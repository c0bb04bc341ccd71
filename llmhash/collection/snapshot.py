"""Searching one commit of a collection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.collection.engine_files import EngineFiles
from llmhash.collection.manifest import Manifest
from llmhash.collection.sidecar import decode_vectors
from llmhash.collection.view import Mask, View
from llmhash.errors import InputError
from llmhash.index import AsymmetricQueries, asymmetric_search, rescore

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The documents of one commit, and which of them a search may return.

    It stays what it is while others write, compact or refresh, so that several steps fit together.

    Attributes:
        path: The collection's folder.
        manifest: What never changes about it.
        view: The commit's rows.
        allowed: bool (slots,), which slots may be returned; None for all.
        engine: What searches the codes; None for the exact scan.
        latest: Gives the newest view that the handle has seen.
    """

    path: Path
    manifest: Manifest
    view: View
    allowed: Mask | None
    engine: EngineFiles | None
    latest: Callable[[], View]

    def __len__(self) -> int:
        """Slots, deleted ones with them: no search finds more."""
        return len(self.view.codes)

    def rows(self) -> Rows:
        """The rows of the documents that a search may return, int64 in ascending order."""
        slots = np.arange(len(self)) if self.allowed is None else np.flatnonzero(self.allowed)
        return self.view.rows.rows_of(slots)

    def search(
        self, codes: Codes | NDArray[np.uint8], k: int, threads: int | None = None
    ) -> tuple[NDArray[np.uint16], Rows]:
        """See `Collection.search`."""
        distances, slots = self._nearest(codes, k, threads)
        return distances, self.view.rows.rows_of(slots)

    def asymmetric_search(
        self, queries: AsymmetricQueries, k: int, threads: int | None = None
    ) -> tuple[NDArray[np.float32], Rows]:
        """See `Collection.asymmetric_search`."""
        scores, slots = asymmetric_search(queries, self.view.checked, k, allow=self.allowed, threads=threads)
        return scores, self.view.rows.rows_of(slots)

    def range_search(
        self, codes: Codes | NDArray[np.uint8], radius: int, threads: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], Rows]:
        """See `Collection.range_search`."""
        lims, distances, slots = self.view.flat.range_search(
            codes, radius, allow=self.allowed, threads=threads
        )
        return lims, distances, self.view.rows.rows_of(slots)

    def rescore(self, queries: AsymmetricQueries, rows: Rows) -> NDArray[np.float32]:
        """See `Collection.rescore`."""
        numbers = np.asarray(rows, dtype=np.int64)
        self._refuse_unknown(numbers, least=-1)
        return rescore(queries, self.view.checked, self.view.documents(numbers))

    def codes_at(self, rows: ArrayLike) -> NDArray[np.uint8]:
        """See `Collection.codes_at`."""
        return np.asarray(self.view.codes[self._slots(rows)])

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """See `Collection.vectors`."""
        stored, kind, dim = self.view.vectors, self.manifest.sidecar, self.manifest.dim
        if stored is None or kind is None or dim is None:
            raise InputError(f'{self.path} keeps no vectors; create it with sidecar="int8" or "float16".')
        return decode_vectors(kind, dim, stored[self._slots(rows)])

    def _nearest(
        self, codes: Codes | NDArray[np.uint8], k: int, threads: int | None
    ) -> tuple[NDArray[np.uint16], Rows]:
        """The `k` nearest slots."""
        if self.engine is not None and self.engine.serves(len(self), k):
            with self.engine.over(self.latest) as (newest, index):
                # Another thread may have seen more rows since; a compaction has put them elsewhere.
                if newest.state.generation == self.view.state.generation:
                    return index.search(codes, k, allow=self._allowed_of(len(newest.codes)), threads=threads)
        return self.view.flat.search(codes, k, allow=self.allowed, threads=threads)

    def _allowed_of(self, slots: int) -> Mask | None:
        """`allowed`, without the slots that come behind those of this commit."""
        if slots == len(self):
            return self.allowed
        mask = np.zeros(slots, np.bool_)
        mask[: len(self)] = True if self.allowed is None else self.allowed
        return mask

    def _slots(self, rows: ArrayLike) -> Rows:
        numbers = np.asarray(rows, dtype=np.int64)
        self._refuse_unknown(numbers, least=0)
        slots = self.view.documents(numbers)
        if (slots < 0).any():
            raise InputError(f"{self.path} holds no document in row {numbers[slots < 0].flat[0]}.")
        return slots

    def _refuse_unknown(self, rows: Rows, least: int) -> None:
        end = self.view.state.next_row
        if rows.size and not least <= rows.min() <= rows.max() < end:
            raise InputError(
                f"rows must be from 0 to {end - 1}, and there are {rows.min()} and {rows.max()}."
            )
