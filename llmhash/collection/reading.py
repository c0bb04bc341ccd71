"""Reading and searching a collection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.collection.batch import check_known_ids
from llmhash.collection.bitmaps import Bitmaps
from llmhash.collection.engine_files import EngineFiles
from llmhash.collection.filters import Where, parse_filter
from llmhash.collection.info import describe
from llmhash.collection.manifest import Manifest, SidecarKind
from llmhash.collection.moment import Moment
from llmhash.collection.record import Record
from llmhash.collection.records import Records
from llmhash.collection.snapshot import Snapshot
from llmhash.collection.view import Allow, Mask, View, last_commit
from llmhash.errors import InputError
from llmhash.index import EXACT_ENGINES, AsymmetricQueries, choose_engine

#: The number of neighbours that searches are taken to ask for where none has been asked yet.
USUAL_NEIGHBOURS = 10


class Reading:
    """The half of a `Collection` that writes nothing: what it holds, look-ups, searches."""

    def __init__(self, folder: Path, manifest: Manifest, *, readonly: bool) -> None:
        self.path = folder
        self.readonly = readonly
        self._manifest = manifest
        self._refreshing_threads = threading.RLock()
        self._closed = False
        self._bitmaps = Bitmaps()
        self._records = Records(folder)
        try:
            with last_commit(folder, manifest, self._records) as (_, view):
                self._view = view
        except BaseException:
            self._records.close()
            raise
        self._engine_files: EngineFiles | None = None
        if manifest.engine != "flat":
            self._engine_files = EngineFiles(folder, manifest.engine, manifest.bits, save=not readonly)

    # ------------------------------------------------------------------ what it is

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._manifest.bits

    @property
    def dim(self) -> int | None:
        """Dimensions of the documents' float vectors, where they were named."""
        return self._manifest.dim

    @property
    def engine(self) -> str:
        """What `search` uses; for "auto", what it is at the present number of documents."""
        if self._manifest.engine == "auto":
            return choose_engine(len(self._view.codes), self.bits, USUAL_NEIGHBOURS)
        return self._manifest.engine

    @property
    def exact(self) -> bool:
        """Whether `search` always finds the nearest."""
        return self._manifest.engine in EXACT_ENGINES

    @property
    def sidecar(self) -> SidecarKind | None:
        """How the float vectors are kept, if they are."""
        return self._manifest.sidecar

    @property
    def hasher_fingerprint(self) -> str:
        """The fingerprint of the hasher whose codes it holds."""
        return self._manifest.hasher

    @property
    def fields(self) -> tuple[str, ...]:
        """The metadata fields that filters may name."""
        with self._moment() as moment:
            return moment.fields()

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The packed codes in the files, memory-mapped: uint8 (slots, ceil(bits / 8)), in order of rows.

        Deleted documents' codes are among them until `compact`; after it, a slot is no longer its row's
        number, and it is `codes_at` that takes rows.
        """
        return self._view.codes

    def __len__(self) -> int:
        return self._view.state.documents

    def info(self) -> dict[str, Any]:
        """Counts and sizes, JSON-able: the bytes on disk of each file, and what a document costs."""
        return describe(self.path, self._manifest, self._view.state, self.engine, self.fields)

    # ------------------------------------------------------------------ looking up

    def refresh(self) -> None:
        """See what other processes have committed since."""
        with self._last_commit():
            pass

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id, int64 (n,), -1 where there is no such document."""
        names = check_known_ids(ids)
        with self._moment() as moment:
            return moment.find(names)

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """The document of each id, None where there is no such document."""
        names = check_known_ids(ids)
        with self._moment() as moment:
            return moment.at(moment.find(names).tolist())

    def at(self, rows: ArrayLike) -> list[Record | None]:
        """The document of each row, rows being integers (n,); None where it has been deleted since."""
        with self._moment() as moment:
            return moment.at(np.asarray(rows, dtype=np.int64).tolist())

    def records(self, rows: ArrayLike) -> list[Record]:
        """The document of each row, rows being integers (n,).

        Raises:
            InputError: A row is no document's.
        """
        numbers = np.asarray(rows, dtype=np.int64).tolist()
        found = []
        for row, record in zip(numbers, self.at(numbers), strict=True):
            if record is None:
                raise InputError(f"{self.path} holds no document in row {row}.")
            found.append(record)
        return found

    def count(self, where: Where | None = None) -> int:
        """How many documents satisfy a filter; without one, all."""
        return len(self) if where is None else len(self.rows(where))

    def rows(self, where: Where | None = None) -> NDArray[np.int64]:
        """The rows of the documents that satisfy a filter, or of all, int64 (n,) in ascending order."""
        return self.snapshot(where=where).rows()

    def iterate(self, where: Where | None = None, *, batch_size: int = 1000) -> Iterator[Record]:
        """The documents that satisfy a filter, or all, in order of insertion and as of the last commit.

        Args:
            where: A filter.
            batch_size: Documents to read at a time.

        Raises:
            InputError: The filter is not usable, or `batch_size` is below 1.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")
        if where is not None:
            with self._moment() as moment:
                parse_filter(where, moment.fields())
        return self._iterate(where, batch_size)

    def _iterate(self, where: Where | None, batch_size: int) -> Iterator[Record]:
        with self._last_commit() as (moment, view):
            matching = None if where is None else self._matching(where, moment, view)
            rows = self._snapshot(view, view.allowed(matching=matching)).rows()
            for start in range(0, len(rows), batch_size):
                for record in moment.at(rows[start : start + batch_size].tolist()):
                    if record is not None:
                        yield record

    # ------------------------------------------------------------------ searching

    def snapshot(
        self, *, allow: Allow | None = None, deny: Allow | None = None, where: Where | None = None
    ) -> Snapshot:
        """One commit to be searched in several steps, and which documents may be found; see `search`."""
        self._refuse_closed()
        view, matching = self._view, None
        if where is not None:
            # The database answers for the last commit only, whose slots may be others than the masks'.
            allow, deny = view.as_rows(allow), view.as_rows(deny)
            with self._last_commit() as (moment, view):
                matching = self._matching(where, moment, view)
        return self._snapshot(view, view.allowed(allow, deny, matching))

    def search(
        self,
        codes: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Allow | None = None,
        deny: Allow | None = None,
        where: Where | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """The `k` documents nearest to each of q codes, by (Hamming distance, insertion).

        Args:
            codes: Codes of the collection's width.
            k: Documents a query, at least 1.
            allow: Only these may be returned: a boolean mask over the collection's `codes`, or rows.
            deny: These may not be returned, likewise, though `allow` or `where` may name them.
            where: Only documents whose metadata satisfy this filter, as of the last commit.
            threads: Threads to use; by default the machine's cores.

        Returns:
            Distances uint16 (q, k) and rows int64 (q, k), the rest being 65535 and -1 where there are fewer.
        """
        return self.snapshot(allow=allow, deny=deny, where=where).search(codes, k, threads)

    def asymmetric_search(
        self,
        queries: AsymmetricQueries,
        k: int,
        *,
        allow: Allow | None = None,
        deny: Allow | None = None,
        where: Where | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `k` documents with the best asymmetric scores for each query, over all codes.

        The search is exact, but where tables come with a correction (see `llmhash.index.asymmetric_search`).

        Args:
            queries: Logits float (q, bits), or `TableQueries`.
            k: Documents a query, at least 1.
            allow: As for `search`.
            deny: As for `search`.
            where: As for `search`.
            threads: As for `search`.

        Returns:
            Scores float32 (q, k) and rows int64 (q, k), the rest being -inf and -1 where there are fewer.
            They come by (score, then Hamming distance, then insertion). Logits q score a document of bits
            d = ±1 q·d / sum|q|; tables score it the sum of the entries that its bytes name, corrected where
            they come with a correction.
        """
        return self.snapshot(allow=allow, deny=deny, where=where).asymmetric_search(queries, k, threads)

    def range_search(
        self,
        codes: Codes | NDArray[np.uint8],
        radius: int,
        *,
        allow: Allow | None = None,
        deny: Allow | None = None,
        where: Where | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.int64]]:
        """All documents within a Hamming distance of each of q codes, by (distance, insertion), exactly.

        Args:
            codes: Codes of the collection's width.
            radius: The largest distance, from 0 to the collection's bits.
            allow: As for `search`.
            deny: As for `search`.
            where: As for `search`.
            threads: As for `search`.

        Returns:
            `lims` int64 (q + 1,), distances uint16 (lims[q],) and rows int64 (lims[q],): what query i found
            stands from lims[i] up to lims[i + 1].
        """
        return self.snapshot(allow=allow, deny=deny, where=where).range_search(codes, radius, threads)

    def rescore(self, queries: AsymmetricQueries, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The asymmetric scores of each query's own rows, float32 (q, c).

        Args:
            queries: Logits float (q, bits), or `TableQueries`.
            rows: int64 (q, c).

        Returns:
            The scores; -inf where the row is -1 or has been deleted.
        """
        return self.snapshot().rescore(queries, rows)

    def codes_at(self, rows: ArrayLike) -> NDArray[np.uint8]:
        """The packed codes of documents, uint8 (n, ceil(bits / 8)), rows being integers (n,).

        Raises:
            InputError: A row is no document's.
        """
        return self.snapshot().codes_at(rows)

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """The sidecar's vectors of documents, float32 (n, dim), as near as its kind keeps them.

        Args:
            rows: Integers (n,).

        Raises:
            InputError: The collection has no sidecar, or a row is no document's.
        """
        return self.snapshot().vectors(rows)

    # ------------------------------------------------------------------ commits

    def _snapshot(self, view: View, allowed: Mask | None) -> Snapshot:
        return Snapshot(self.path, self._manifest, view, allowed, self._engine_files, lambda: self._view)

    def _matching(self, where: Where, moment: Moment, view: View) -> Mask:
        """The slots whose documents satisfy a filter, as of the commit of both `moment` and `view`."""
        return self._bitmaps.mask(parse_filter(where, moment.fields()), moment, view)

    @contextmanager
    def _moment(self) -> Iterator[Moment]:
        """The database as of the last commit."""
        self._refuse_closed()
        with self._records.moment() as moment:
            yield moment

    @contextmanager
    def _last_commit(self) -> Iterator[tuple[Moment, View]]:
        """The database as of the last commit and its view, which is the handle's from now on."""
        self._refuse_closed()
        with ExitStack() as stack:
            with self._refreshing_threads:
                commit = last_commit(self.path, self._manifest, self._records, self._view)
                moment, view = stack.enter_context(commit)
                self._view = view
            yield moment, view

    def _refuse_closed(self) -> None:
        if self._closed:
            raise InputError(f"{self.path} has been closed; open it again.")
