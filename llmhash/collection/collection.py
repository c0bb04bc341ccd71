"""The crash-safe store: codes, string ids, texts and metadata in a directory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.collection.backup import back_up
from llmhash.collection.batch import Batch, check_known_ids
from llmhash.collection.compaction import compact
from llmhash.collection.disk import all_or_nothing, storage_errors
from llmhash.collection.filters import Where, check_field
from llmhash.collection.lock import NAME as LOCK_NAME
from llmhash.collection.lock import WriteLock
from llmhash.collection.manifest import Engine, Manifest, SidecarKind
from llmhash.collection.reading import USUAL_NEIGHBOURS, Reading
from llmhash.collection.records import Records
from llmhash.collection.verification import verify
from llmhash.collection.view import View, files_of
from llmhash.collection.writing import insert, remove_superseded, stored_rows
from llmhash.errors import InputError
from llmhash.index import make_index, recall_against_exact

# Codes of the collection that stand in for queries when none are given to `engine_recall`.
_RECALL_SAMPLE = 200


class Collection(Reading):
    """A directory of documents, searched by their codes. It knows neither torch nor models.

    One process writes at a time: the first write takes the collection's lock and keeps it until `close`. Any
    number of processes read meanwhile. What a handle searches is the commit it last saw: its own writes at
    once, another process's after `refresh`; whatever takes a filter refreshes by itself. What it looks up by
    id or row is the last commit. Threads may share a handle.

    Rows are int64 numbers in order of insertion, never reused: a document that is replaced gets a new one.

    Example:
        >>> with Collection.create("wiki.llmhash", bits=64, hasher_fingerprint=hasher.fingerprint) as wiki:
        ...     wiki.add(codes, ids=ids, texts=texts)
        ...     distances, rows = wiki.search(query_codes, k=10)
    """

    def __init__(self, folder: Path, manifest: Manifest, *, readonly: bool) -> None:
        super().__init__(folder, manifest, readonly=readonly)
        self._write_lock = WriteLock(folder)
        # Another one than that of refreshing threads, so that a search can refresh while a thread writes.
        self._writing_threads = threading.RLock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        bits: int,
        hasher_fingerprint: str,
        engine: Engine = "auto",
        sidecar: SidecarKind | None = None,
        dim: int | None = None,
        fields: Sequence[str] = (),
    ) -> Collection:
        """Make an empty collection at `path`, open for writing.

        Args:
            path: A folder that is empty or does not exist.
            bits: Bits of a code.
            hasher_fingerprint: Names the hasher that makes the codes; another one's queries make no sense.
            engine: What `search` uses. "flat" and "mih" (tables) are exact, and "auto" is one of them, chosen
                by the number of codes; "usearch" is an approximate graph, and FAISS's are "faiss-flat"
                (exact), "faiss-hnsw", "faiss-ivf", "faiss-hash" and "faiss-multihash".
            sidecar: Keep the documents' float vectors too, as "int8" or "float16".
            dim: Dimensions of those vectors.
            fields: Metadata fields that filters may name; `declare` adds more later.

        Raises:
            InputError: `path` is taken, or an argument is not usable.
            StorageError: The disk is full or cannot be written.
        """
        manifest = Manifest(bits, hasher_fingerprint, engine, sidecar, dim)
        declared = _checked_fields(fields)
        folder = Path(path)
        _refuse_taken(folder)
        with storage_errors(folder, "no collection was made"):
            made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            lock = WriteLock(folder)
            lock.take()
            try:
                _refuse_taken(folder)
                with all_or_nothing(folder, made=made):
                    Records.create(folder, declared)
                    for file in files_of(folder, manifest, generation=1).values():
                        file.create()
                    manifest.save(folder)
            finally:
                lock.release()
        return cls(folder, manifest, readonly=False)

    @classmethod
    def open(cls, path: str | Path, *, readonly: bool = False) -> Collection:
        """Open the collection at `path`; with `readonly`, every write is refused and nothing is saved.

        Raises:
            InputError: There is none.
            FormatError: A file of it is missing, truncated, corrupt or newer than this version.
        """
        folder = Path(path)
        return cls(folder, Manifest.load(folder), readonly=readonly)

    # ------------------------------------------------------------------ writing

    def add(
        self,
        codes: Codes,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: ArrayLike | None = None,
    ) -> list[str]:
        """Add n documents, all of them or none: when this returns they are on the disk.

        Args:
            codes: Their codes.
            ids: Their ids, strings that are new; by default running numbers.
            texts: Their texts.
            metadata: Their metadata, dictionaries that JSON can hold.
            vectors: float (n, dim), for the sidecar of a collection that has one.

        Returns:
            The ids.

        Raises:
            InputError: Something is not usable as given; the message names the first and its position. Or
                another process is writing, or this handle is read-only.
            StorageError: The disk is full or cannot be written; nothing was added.
        """
        batch = Batch.check(len(codes), ids, texts, metadata)
        return self._insert(batch, codes, vectors, replace=False)

    def upsert(
        self,
        codes: Codes,
        *,
        ids: Sequence[str],
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: ArrayLike | None = None,
    ) -> list[str]:
        """Add n documents in place of those that have their ids, all of them or none.

        A document that is replaced moves to the end: it gets a new row, and nothing of the old one is kept.
        The arguments, result and errors are those of `add`, but that an id may be taken.
        """
        if ids is None:
            raise InputError("upsert goes by the ids: give the documents' ids.")
        batch = Batch.check(len(codes), ids, texts, metadata)
        return self._insert(batch, codes, vectors, replace=True)

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete documents by their ids or by a filter, all or none. `compact` gives back their space.

        Args:
            ids: Ids of documents; one that comes twice counts once.
            where: A filter, instead of ids.

        Returns:
            How many there were.

        Raises:
            InputError: An id is no document's, the filter is not usable, or both are given or none.
            StorageError: The disk is full or cannot be written; nothing was deleted.
        """
        if (ids is None) == (where is None):
            raise InputError("give the ids of the documents to delete, or where, a filter: one of the two.")
        names = None if ids is None else check_known_ids(ids)
        with self._writing("nothing was deleted"):
            rows = self.rows(where) if names is None else self._known_rows(names)
            if len(rows):
                with self._records.transaction() as transaction:
                    transaction.delete(rows)
        return len(rows)

    def declare(self, fields: Sequence[str]) -> None:
        """Index further metadata fields, so that filters may name them; those known already are left alone.

        Raises:
            InputError: A name is not usable.
            StorageError: The disk is full or cannot be written; nothing was declared.
        """
        declared = _checked_fields(fields)
        with self._writing("nothing was declared"), self._records.transaction() as transaction:
            transaction.declare(declared)

    def compact(self) -> None:
        """Give the space of deleted documents back. Readers go on with the old files until they refresh.

        Raises:
            FormatError: A file is corrupt; nothing was changed.
            StorageError: The disk is full or cannot be written; nothing was changed.
        """
        with self._writing("nothing was changed") as view:
            compact(self.path, self._manifest, self._records, view)

    def lock(self) -> None:
        """Take the lock now rather than with the first write.

        Raises:
            InputError: Another handle is writing, or this one is read-only.
        """
        with self._writing("nothing was written"):
            pass

    def require_new(self, ids: Sequence[str]) -> None:
        """Raise the `InputError` that adding documents under these ids would meet where one is taken."""
        with self._moment() as moment:
            moment.refuse_known(check_known_ids(ids))

    def _insert(self, batch: Batch, codes: Codes, vectors: ArrayLike | None, *, replace: bool) -> list[str]:
        rows = stored_rows(self.path, self._manifest, codes, vectors)
        with self._writing("nothing was added") as view:
            if batch.size == 0:
                return []
            files = files_of(self.path, self._manifest, view.state.generation)
            return insert(self._records, files, batch, rows, replace=replace)

    def _known_rows(self, names: list[str]) -> NDArray[np.int64]:
        """The distinct rows of these ids, each of which a document must have."""
        rows = self.find(names)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            raise InputError(
                f"ids[{unknown[0]}] is {names[unknown[0]]!r}, which the collection does not hold "
                f"({len(unknown)} of the {len(names)} ids are unknown); nothing was deleted."
            )
        return np.unique(rows)

    @contextmanager
    def _writing(self, unchanged: str) -> Iterator[View]:
        """Hold the collection's lock, from now until `close`; afterwards the view shows what was written.

        `unchanged` is what a `StorageError` says of the outcome.
        """
        with self._writing_threads:
            self._refuse_closed()
            if self.readonly:
                raise InputError(f"{self.path} is open read-only; open it with readonly=False to write.")
            if self._write_lock.take():
                remove_superseded(self.path, self._records)
            self.refresh()
            with storage_errors(self.path, unchanged):
                yield self._view
            self.refresh()

    # ------------------------------------------------------------------ maintenance

    def build_engine(self) -> None:
        """Build and save what the engine derives from the codes now, rather than in the next search."""
        self._refuse_closed()
        files = self._engine_files
        if files is not None and files.serves(len(self._view.codes), USUAL_NEIGHBOURS):
            with files.over(lambda: self._view):
                pass
            files.save()

    def engine_recall(
        self,
        queries: Codes | NDArray[np.uint8] | None = None,
        k: int = 10,
        *,
        engine: str | None = None,
    ) -> float:
        """The share of the exact `k` nearest codes that an engine finds; deleted documents' are among them.

        Args:
            queries: q codes; by default some that the collection holds, which are easier than real queries.
            k: Neighbours a query.
            engine: The engine to measure, built for this if it is not the collection's own, as by default.

        Raises:
            InputError: There is no such engine, or an argument is not usable.
            MissingExtraError: It is one of FAISS's, and FAISS is not installed.
        """
        self._refuse_closed()
        view = self._view
        if len(view.codes) == 0:
            return 1.0
        if queries is None:
            rng = np.random.default_rng(0)
            rows = rng.choice(len(view.codes), size=min(_RECALL_SAMPLE, len(view.codes)), replace=False)
            queries = view.codes[np.sort(rows)]
        if engine is not None and engine != self._manifest.engine:
            other = make_index(engine, self.bits)
            other.add(view.codes)
            return recall_against_exact(other, view.flat, queries, k)
        if self._engine_files is None:
            return 1.0
        with self._engine_files.over(lambda: self._view) as (view, index):
            return recall_against_exact(index, view.flat, queries, k)

    def verify(self) -> None:
        """Read everything and hold it against its checksums and counters.

        Raises:
            FormatError: Something is corrupt; the message names the file.
        """
        self._refuse_closed()
        verify(self.path, self._manifest, self._records)

    def backup(self, path: str | Path) -> None:
        """Copy the last commit to `path`, a collection of its own; others may read and write meanwhile.

        Args:
            path: A folder that is empty or does not exist, outside of the collection.

        Raises:
            InputError: `path` is taken.
            FormatError: Something is corrupt; no copy is made.
            StorageError: The disk is full or cannot be written; no copy is made.
        """
        self._refuse_closed()
        target = Path(path)
        _refuse_taken(target)
        if target.resolve().is_relative_to(self.path.resolve()):
            raise InputError(f"{target} lies within the collection; choose a path outside of it.")
        back_up(self.path, self._manifest, self._records, target)

    # ------------------------------------------------------------------ opening and closing

    def close(self) -> None:
        """Give the lock back and close the files; afterwards the handle is of no use."""
        with self._writing_threads:
            if self._closed:
                return
            self._closed = True
            if self._engine_files is not None:
                self._engine_files.save()
            self._records.close()
            self._write_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked_fields(fields: Sequence[str]) -> list[str]:
    if isinstance(fields, str):
        raise InputError("fields must be a list of names, not a string.")
    return [check_field(name) for name in fields]


def _refuse_taken(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(file.name != LOCK_NAME for file in folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; choose another path, or open it.")
