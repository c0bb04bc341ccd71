"""The collection's database: which rows exist, what belongs to them, the checksums of the files beside it.

SQLite with a write-ahead log and `synchronous=FULL`: a commit that returned survives `kill -9` and a power
cut, readers in other processes see committed rows only, and neither side waits for the other.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from llmhash.collection.disk import sync_file
from llmhash.collection.moment import Moment
from llmhash.collection.transaction import Transaction
from llmhash.errors import FormatError, InputError

FORMAT = 2
NAME = "records.sqlite"

# "LLMH", so that file(1) and a mistaken path can tell the database from any other.
_APPLICATION_ID = 0x4C4C4D48
# Large pages waste little behind texts of some hundred bytes; larger ones cost more per random id written.
_PAGE_BYTES = 16384
_READER_CACHE = "PRAGMA cache_size = -16384"
_WRITER_CACHE = "PRAGMA cache_size = -65536"
# The log is folded into the database when it has grown to this, and shrinks to it after a larger transaction.
_LOG_BYTES = 1 << 26
_WAIT_SECONDS = 30.0

# Row numbers count insertions and are never reused: a deleted row leaves `documents` and `records` and enters
# `deleted` until no file holds it any more. `slots` are the rows that the files of the generation in force
# hold. `records` has the metadata of the documents that have any, so that a filter which no index answers
# reads no texts. `deleted` counts up, so that a reader asks only for what it has not seen.
_SCHEMA = """
CREATE TABLE state (
    generation INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    next_row INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT);
CREATE TABLE records (row INTEGER PRIMARY KEY, metadata TEXT NOT NULL);
CREATE TABLE deleted (seq INTEGER PRIMARY KEY, row INTEGER NOT NULL);
CREATE TABLE fields (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE blocks (
    file TEXT NOT NULL, block INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (file, block)
) WITHOUT ROWID;
INSERT INTO state VALUES (1, 0, 0, 0, 0, 0, 0);
"""


class Records:
    """The database `records.sqlite`: connections that read and, once something is written, one that writes.

    Any thread may call it, and threads that read do not wait for each other.
    """

    def __init__(self, folder: Path, *, unshared: bool = False) -> None:
        """Open the database in `folder`; `unshared` says that nobody writes it and no log is beside it."""
        self._path = folder / NAME
        self._reading = "ro&immutable=1" if unshared else "ro"
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        connection = self._connect(self._reading)
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    @staticmethod
    def create(folder: Path, fields: Sequence[str] = ()) -> None:
        """Write a database without rows that indexes metadata `fields`, durably."""
        path = folder / NAME
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # Nobody knows of the file before it is complete, so that one sync at the end is enough.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.executescript(f"BEGIN; {_SCHEMA}")
            Transaction(connection).declare(fields)
            connection.execute("COMMIT")
        sync_file(path)

    def close(self) -> None:
        """Close the connections; the last one to close folds the log into the database."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """The last commit, to be read from."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                yield Moment(self._path, connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that commits when the block ends and is rolled back when it raises.

        The caller holds the collection's lock, so nobody else is writing.
        """
        if self._writer is None:
            self._writer = self._connect("rw")
            self._writer.execute(_WRITER_CACHE)
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}")
            self._writer.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield Transaction(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def shrink(self) -> None:
        """Hand pages that deleted documents have left back to the disk, as far as that can be done now."""
        if self._writer is None:
            return
        # It is a transaction of its own that may fail, on a full disk for instance, and changes nothing else.
        with suppress(sqlite3.OperationalError):
            # Each step of the statement frees one page, and `execute` takes a single one.
            self._writer.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint")

    def copy_to(self, folder: Path) -> None:
        """Write the last commit as a database into `folder`, durably."""
        path = folder / NAME
        with self._reader() as connection, closing(sqlite3.connect(path, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            connection.backup(copy)
        sync_file(path)

    # ------------------------------------------------------------------ SQLite

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread has meanwhile."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect(self._reading)
            connection.execute(_READER_CACHE)
        try:
            yield connection
        finally:
            with self._lock:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

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

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute(_READER_CACHE)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        except sqlite3.OperationalError as error:
            raise InputError(
                f"{self._path} cannot be read ({error}); to read, SQLite must be able to write in its folder."
            ) from error
        except sqlite3.DatabaseError as error:
            raise FormatError(f"{self._path} is corrupt ({error}); restore it from a copy.") from error
        if application != _APPLICATION_ID or version < 1:
            raise FormatError(f"{self._path} is not a collection's database; restore it from a copy.")
        if version > FORMAT:
            raise FormatError(f"{self._path} was written by a newer llmhash; upgrade to read it.")
        if version < FORMAT:
            raise FormatError(
                f"{self._path} was written by a development version of llmhash; create the collection again."
            )
