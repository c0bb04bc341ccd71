"""The collection's database: which rows exist, what belongs to them, the checksums of the files beside it.

SQLite with a write-ahead log and `synchronous=FULL`: a commit that returned survives `kill -9` and a power
cut, readers in other processes see committed rows only, and neither side waits for the other.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.batch import Batch
from llmhash.collection.rows_file import BLOCK_ROWS, sync_file
from llmhash.errors import FormatError, InputError

FORMAT = 1
NAME = "records.sqlite"

# "LLMH", so that file(1) and a mistaken path can tell the database from any other.
_APPLICATION_ID = 0x4C4C4D48
# Large pages waste little behind texts of some hundred bytes; larger ones cost more per random id written.
_PAGE_BYTES = 16384
_CACHE = "PRAGMA cache_size = -65536"
_WAIT_SECONDS = 30.0
# Values that one SELECT ... IN (...) asks for.
_CHUNK = 1000

# Row numbers count insertions and are never reused: a deleted row leaves `records` and `texts` and enters
# `deleted` until no codes file holds it any more. `slots` are the rows that the files of the generation in
# force hold; a slot is its row's number until a new generation leaves deleted rows out. A file of another
# generation has another name, so its checksums lie beside the old ones in `blocks`.
_SCHEMA = """
CREATE TABLE state (
    generation INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    next_row INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL
);
CREATE TABLE records (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata TEXT);
CREATE TABLE texts (row INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE deleted (row INTEGER PRIMARY KEY);
CREATE TABLE blocks (
    file TEXT NOT NULL, block INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (file, block)
) WITHOUT ROWID;
INSERT INTO state VALUES (1, 0, 0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A document as it was added.

    Attributes:
        row: Its number in order of insertion; what a search returns.
        id: Its id.
        text: Its text, if it was added with one.
        metadata: Its metadata; empty where it has none.
    """

    row: int
    id: str
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """The counters that a commit moves.

    Attributes:
        generation: The generation in force.
        slots: Rows that its files hold.
        next_row: The number of the next row.
        documents: Documents that are there: `slots` without the deleted.
        text_bytes: Bytes of their texts in UTF-8.
    """

    generation: int
    slots: int
    next_row: int
    documents: int
    text_bytes: int


class Records:
    """The database `records.sqlite`: a connection that reads and, once something is written, one that writes.

    Any thread may call it. What is being written is invisible to the reading methods until it is committed.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader = self._connect("ro")
        try:
            self._ask(_CACHE)
            (version,) = self._ask("PRAGMA user_version")[0]
            if version > FORMAT:
                raise FormatError(f"{self._path} was written by a newer llmhash; upgrade to read it.")
            if self._ask("PRAGMA application_id")[0] != (_APPLICATION_ID,) or version < 1:
                raise FormatError(f"{self._path} is not a collection's database; restore it from a copy.")
        except sqlite3.OperationalError as error:
            self._reader.close()
            raise InputError(
                f"{self._path} cannot be read ({error}); to read, SQLite must be able to write in its folder."
            ) from error
        except BaseException:
            self._reader.close()
            raise

    @staticmethod
    def create(folder: Path) -> None:
        """Write a database without rows, durably."""
        path = folder / NAME
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # Nobody knows of the file before it is complete, so that one sync at the end is enough.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT")
        sync_file(path)

    def close(self) -> None:
        """Close the connections; the last one to close folds the log into the database."""
        with self._lock:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    # ------------------------------------------------------------------ reading

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """All that is read inside belongs to the same commit."""
        with self._lock:
            self._ask("BEGIN")
            try:
                yield
            finally:
                self._ask("COMMIT")

    def state(self) -> State:
        """The counters as of the last commit."""
        return State(*self._ask("SELECT generation, slots, next_row, documents, text_bytes FROM state")[0])

    def deleted(self) -> NDArray[np.int64]:
        """The deleted rows that the files still hold, int64 in ascending order."""
        return np.array([row for (row,) in self._ask("SELECT row FROM deleted ORDER BY row")], dtype=np.int64)

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id, int64 (n,), -1 where there is no such id."""
        found = dict(self._ask_each("SELECT id, row FROM records WHERE id IN ({})", list(ids)))
        return np.array([found.get(name, -1) for name in ids], dtype=np.int64)

    def refuse_known(self, ids: Sequence[str]) -> None:
        """Raise `InputError` where a document has one of the ids, naming the first and its position."""
        known = np.flatnonzero(self.find(ids) >= 0)
        if len(known):
            raise InputError(
                f"ids[{known[0]}] is {ids[known[0]]!r}, which the collection already holds "
                f"({len(known)} of the {len(ids)} ids are taken); nothing was added."
            )

    def running_ids(self, count: int, first: int) -> list[str]:
        """`count` numbers from `first` on as ids, above any of them that a document has for its id."""
        while True:
            ids = [str(number) for number in range(first, first + count)]
            taken = np.flatnonzero(self.find(ids) >= 0)
            if len(taken) == 0:
                return ids
            first += int(taken[-1]) + 1

    def at(self, rows: Sequence[int]) -> list[Record | None]:
        """The record of each row, in the order asked; None where the row is no document's."""
        query = "SELECT row, id, text, metadata FROM records LEFT JOIN texts USING (row) WHERE row IN ({})"
        found = {
            row: Record(row, name, text, {} if metadata is None else json.loads(metadata))
            for row, name, text, metadata in self._ask_each(query, list(dict.fromkeys(rows)))
        }
        return [found.get(row) for row in rows]

    def checksums(self, file: str) -> dict[int, int]:
        """The stored checksum of each block of `file`."""
        return dict(self._ask("SELECT block, checksum FROM blocks WHERE file = ?", (file,)))

    def verify(self) -> None:
        """Hold the database against itself: its structure and its counters.

        Raises:
            FormatError: It is corrupt.
        """
        with self.one_moment():
            problem = self._ask("PRAGMA integrity_check(1)")[0][0]
            if problem != "ok":
                raise FormatError(f"{self._path} is corrupt ({problem}); restore it from a copy.")
            state = self.state()
            documents, last = self._ask("SELECT COUNT(*), COALESCE(MAX(row), -1) FROM records")[0]
            deleted = self._ask("SELECT COUNT(*) FROM deleted")[0][0]
            text_bytes = self._ask("SELECT COALESCE(SUM(LENGTH(CAST(text AS BLOB))), 0) FROM texts")[0][0]
        counted = (documents, documents + deleted, text_bytes)
        if counted != (state.documents, state.slots, state.text_bytes) or last >= state.next_row:
            raise FormatError(
                f"{self._path} counts {state.documents} documents in {state.slots} rows with "
                f"{state.text_bytes} bytes of text, but holds {documents} in {documents + deleted} with "
                f"{text_bytes}; restore it from a copy."
            )

    # ------------------------------------------------------------------ writing

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that commits when the block ends and is rolled back when it raises.

        The caller holds the collection's lock, so nobody else is writing.
        """
        if self._writer is None:
            self._writer = self._connect("rw")
            self._writer.execute(_CACHE)
            self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield Transaction(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    # ------------------------------------------------------------------ SQLite

    def _connect(self, mode: str) -> sqlite3.Connection:
        if not self._path.exists():
            raise FormatError(f"{self._path} is missing; restore the collection from a copy.")
        return sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=_WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                # Its subclasses (locked, full, interrupted, ...) say nothing about the file.
                if type(error) is not sqlite3.DatabaseError:
                    raise
                raise FormatError(f"{self._path} is corrupt ({error}); restore it from a copy.") from error

    def _ask_each(self, query: str, values: list[Any]) -> Iterable[Any]:
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            yield from self._ask(query.format(",".join("?" * len(part))), part)


class Transaction:
    """What a transaction writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, batch: Batch, ids: Sequence[str], state: State) -> None:
        """Add the documents of `batch` under `ids`, behind the `state` that the transaction found."""
        rows = range(state.next_row, state.next_row + batch.size)
        metadata = batch.metadata or [None] * batch.size
        records = zip(rows, ids, metadata, strict=True)
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?)", records)
        if batch.texts is not None:
            texts = ((row, text) for row, text in zip(rows, batch.texts, strict=True) if text is not None)
            self._connection.executemany("INSERT INTO texts VALUES (?, ?)", texts)
        self._connection.execute(
            "UPDATE state SET slots = slots + ?, next_row = next_row + ?, "
            "documents = documents + ?, text_bytes = text_bytes + ?",
            (batch.size, batch.size, batch.size, batch.text_bytes),
        )

    def unfinished_checksum(self, file: str, rows: int) -> int:
        """The stored checksum of the block that the next row of `file` falls into, 0 where it has none."""
        query = "SELECT checksum FROM blocks WHERE file = ? AND block = ?"
        found = self._connection.execute(query, (file, rows // BLOCK_ROWS)).fetchone()
        return 0 if found is None else int(found[0])

    def put_checksums(self, file: str, checksums: Sequence[tuple[int, int]]) -> None:
        """Store (block, checksum) pairs of `file`, in place of older ones."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)",
            [(file, block, checksum) for block, checksum in checksums],
        )
