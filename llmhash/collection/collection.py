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
from llmhash.collection.batch import Batch
from llmhash.collection.graph import Graph
from llmhash.collection.info import describe
from llmhash.collection.lock import NAME as LOCK_NAME
from llmhash.collection.lock import WriteLock
from llmhash.collection.manifest import Engine, Manifest, SidecarKind
from llmhash.collection.records import Record, Records, State
from llmhash.collection.rows_file import block_checksums
from llmhash.collection.sidecar import check_vectors, decode_vectors, encode_vectors
from llmhash.collection.view import Allow, View, files_of
from llmhash.errors import InputError
from llmhash.index import asymmetric_search, recall_against_exact, rescore

# Codes of the collection that stand in for queries when none are given to `engine_recall`.
_RECALL_SAMPLE = 200


class Collection:
    """A directory of documents, searched by their codes. It knows neither torch nor models.

    One process writes at a time: the first write takes the collection's lock and keeps it until `close`. Any
    number of processes read meanwhile. What a handle searches is the commit it last saw: its own writes at
    once, another process's after `refresh`. Threads may share a handle.

    Rows are int64 numbers in order of insertion, never reused.

    Example:
        >>> with Collection.create("wiki.llmhash", bits=64, hasher_fingerprint=hasher.fingerprint) as wiki:
        ...     wiki.add(codes, ids=ids, texts=texts)
        ...     distances, rows = wiki.search(query_codes, k=10)
    """

    def __init__(self, folder: Path, manifest: Manifest, *, readonly: bool) -> None:
        self.path = folder
        self.readonly = readonly
        self._manifest = manifest
        self._write_lock = WriteLock(folder)
        # Two, so that a search can refresh while another thread is writing.
        self._writing_threads = threading.RLock()
        self._refreshing_threads = threading.RLock()
        self._closed = False
        self._records = Records(folder)
        try:
            self._view = View.of_last_commit(folder, manifest, self._records)
        except BaseException:
            self._records.close()
            raise
        graph = manifest.engine == "usearch"
        self._graph = Graph(folder, manifest.bits, save=not readonly) if graph else None

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
    ) -> Collection:
        """Make an empty collection at `path`, open for writing.

        Args:
            path: A folder that is empty or does not exist.
            bits: Bits of a code.
            hasher_fingerprint: Names the hasher that makes the codes; another one's queries make no sense.
            engine: What `search` uses: "flat" is exact, "usearch" an approximate graph; "auto" is flat.
            sidecar: Keep the documents' float vectors too, as "int8" or "float16".
            dim: Dimensions of those vectors.

        Raises:
            InputError: `path` is taken, or an argument is not usable.
        """
        manifest = Manifest(bits, hasher_fingerprint, engine, sidecar, dim)
        folder = Path(path)
        _refuse_taken(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriteLock(folder)
        lock.take()
        try:
            _refuse_taken(folder)
            Records.create(folder)
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
        """What `search` uses: "flat" or "usearch"."""
        return "flat" if self._graph is None else "usearch"

    @property
    def sidecar(self) -> SidecarKind | None:
        """How the float vectors are kept, if they are."""
        return self._manifest.sidecar

    @property
    def hasher_fingerprint(self) -> str:
        """The fingerprint of the hasher whose codes it holds."""
        return self._manifest.hasher

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The packed codes, memory-mapped: uint8 (n, ceil(bits / 8)), a row its number."""
        return self._view.codes

    def __len__(self) -> int:
        return self._view.state.documents

    def info(self) -> dict[str, Any]:
        """Counts and sizes, JSON-able: the bytes on disk of each file, and what a document costs."""
        return describe(self.path, self._manifest, self._view.state, self.engine)

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
        """
        batch = Batch.check(len(codes), ids, texts, metadata)
        rows = self._stored_rows(codes, vectors)
        with self._writing() as state:
            if batch.size == 0:
                return []
            if batch.ids is not None:
                self._records.refuse_known(batch.ids)
            names = batch.ids or self._records.running_ids(batch.size, state.next_row)
            files = files_of(self.path, self._manifest, state.generation)
            for kind, file in files.items():
                file.append(rows[kind], state.slots)
            with self._records.transaction() as transaction:
                transaction.insert(batch, names, state)
                for kind, file in files.items():
                    name = file.path.name
                    unfinished = transaction.unfinished_checksum(name, state.slots)
                    transaction.put_checksums(name, block_checksums(rows[kind], state.slots, unfinished))
        return names

    def lock(self) -> None:
        """Take the lock now rather than with the first write.

        Raises:
            InputError: Another handle is writing, or this one is read-only.
        """
        with self._writing():
            pass

    def require_new(self, ids: Sequence[str]) -> None:
        """Raise the `InputError` that adding documents under these ids would meet where one is taken."""
        self._refuse_closed()
        self._records.refuse_known(ids)

    def _stored_rows(self, codes: Codes, vectors: ArrayLike | None) -> dict[str, NDArray[np.uint8]]:
        """The rows to append to each file."""
        if codes.bits != self.bits:
            raise InputError(f"the collection holds codes of {self.bits} bits, not {codes.bits}.")
        rows = {"codes": codes.packed}
        if (vectors is None) != (self.sidecar is None):
            wanted = "needs the vectors" if vectors is None else "keeps no vectors"
            raise InputError(f"{self.path} {wanted} of its documents: its sidecar is {self.sidecar}.")
        if vectors is not None and self.sidecar is not None:
            checked = check_vectors(vectors, self.dim)
            if len(checked) != len(codes):
                raise InputError(f"there are {len(codes)} documents but {len(checked)} vectors.")
            rows["vectors"] = encode_vectors(self.sidecar, checked.astype(np.float32, copy=False))
        return rows

    @contextmanager
    def _writing(self) -> Iterator[State]:
        """Hold the collection's lock, from now until `close`; afterwards the view shows what was written."""
        with self._writing_threads:
            self._refuse_closed()
            if self.readonly:
                raise InputError(f"{self.path} is open read-only; open it with readonly=False to write.")
            self._write_lock.take()
            self.refresh()
            yield self._view.state
            self.refresh()

    # ------------------------------------------------------------------ reading

    def refresh(self) -> None:
        """See what other processes have committed since."""
        self._refuse_closed()
        with self._refreshing_threads:
            if self._records.state() != self._view.state:
                self._view = View.of_last_commit(self.path, self._manifest, self._records)

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id, int64 (n,), -1 where there is no such document."""
        self._refuse_closed()
        if isinstance(ids, str) or not all(isinstance(name, str) for name in ids):
            raise InputError("ids must be a list of strings.")
        return self._records.find(ids)

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """The document of each id, None where there is no such document."""
        rows = self.find(ids)
        return self._records.at([int(row) for row in rows])

    def records(self, rows: ArrayLike) -> list[Record]:
        """The document of each row, rows being integers (n,).

        Raises:
            InputError: A row is no document's.
        """
        self._refuse_closed()
        numbers = [int(row) for row in np.asarray(rows, dtype=np.int64)]
        found = []
        for row, record in zip(numbers, self._records.at(numbers), strict=True):
            if record is None:
                raise InputError(f"{self.path} holds no document in row {row}.")
            found.append(record)
        return found

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """The sidecar's vectors of rows (n,), float32 (n, dim), as near as its kind keeps them.

        Raises:
            InputError: The collection has no sidecar, or there is no such row.
        """
        stored = self._view.vectors
        if stored is None or self.sidecar is None or self.dim is None:
            raise InputError(f'{self.path} keeps no vectors; create it with sidecar="int8" or "float16".')
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(stored):
            raise InputError(f"rows must be from 0 to {len(stored) - 1}.")
        return decode_vectors(self.sidecar, self.dim, stored[numbers])

    def search(
        self,
        codes: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Allow | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """The `k` documents nearest to each of q codes, by (Hamming distance, insertion).

        Args:
            codes: Codes of the collection's width.
            k: Documents a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows, or rows.
            threads: Threads to use; by default the machine's cores.

        Returns:
            Distances uint16 (q, k) and rows int64 (q, k), the rest being 65535 and -1 where there are fewer.
        """
        self._refuse_closed()
        if self._graph is None:
            view = self._view
            return view.flat.search(codes, k, allow=view.allowed(allow), threads=threads)
        with self._graph.over(lambda: self._view) as (view, index):
            return index.search(codes, k, allow=view.allowed(allow), threads=threads)

    def asymmetric_search(
        self,
        logits: ArrayLike,
        k: int,
        *,
        allow: Allow | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `k` documents whose ±1 bits suit each query's logits best, over all codes and exactly.

        Args:
            logits: float (q, bits).
            k: Documents a query, at least 1.
            allow: As for `search`.
            threads: As for `search`.

        Returns:
            Scores q·d / sum|q| float32 (q, k) and rows int64 (q, k), the rest being -inf and -1 where there
            are fewer. They come by (score, then Hamming distance, then insertion).
        """
        self._refuse_closed()
        view = self._view
        return asymmetric_search(logits, view.checked, k, allow=view.allowed(allow), threads=threads)

    def rescore(self, logits: ArrayLike, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The asymmetric scores (q, c) of each query's own rows (q, c); -inf where the row is -1."""
        self._refuse_closed()
        return rescore(logits, self._view.checked, rows)

    def engine_recall(self, queries: Codes | NDArray[np.uint8] | None = None, k: int = 10) -> float:
        """The share of the exact `k` nearest that the engine finds, by default for codes it holds."""
        self._refuse_closed()
        view = self._view
        if self._graph is None or len(view.codes) == 0:
            return 1.0
        if queries is None:
            rng = np.random.default_rng(0)
            rows = rng.choice(len(view.codes), size=min(_RECALL_SAMPLE, len(view.codes)), replace=False)
            queries = view.codes[np.sort(rows)]
        with self._graph.over(lambda: self._view) as (view, index):
            return recall_against_exact(index, view.flat, queries, k)

    def verify(self) -> None:
        """Read everything and hold it against its checksums and counters.

        Raises:
            FormatError: Something is corrupt; the message names the file.
        """
        self._refuse_closed()
        with self._records.one_moment():
            state = self._records.state()
            files = files_of(self.path, self._manifest, state.generation).values()
            stored = {file: self._records.checksums(file.path.name) for file in files}
        for file, checksums in stored.items():
            file.verify(state.slots, checksums)
        self._records.verify()

    # ------------------------------------------------------------------ opening and closing

    def close(self) -> None:
        """Give the lock back and close the files; afterwards the handle is of no use."""
        with self._writing_threads:
            if self._closed:
                return
            self._closed = True
            if self._graph is not None:
                self._graph.save()
            self._records.close()
            self._write_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise InputError(f"{self.path} has been closed; open it again.")


def _refuse_taken(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(file.name != LOCK_NAME for file in folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; choose another path, or open it.")
