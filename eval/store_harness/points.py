"""Where a process can be made to kill itself: before and after what matters on the disk, or at any line."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import llmhash.collection
from llmhash.collection import Collection
from llmhash.collection.rows_file import RowsFile, RowsWriter
from store_harness.documents import ADD, COMPACT, DELETE, DELETE_WHERE, UPSERT, Operation

_APPEND = ["within an append", "after the codes", "after the vectors"]
_TRANSACTION = ["before the transaction", "within the transaction", "before the commit", "after the commit"]

#: Where an operation of each kind can die.
POINTS = {
    ADD: [*_APPEND, *_TRANSACTION],
    UPSERT: [*_APPEND, *_TRANSACTION],
    DELETE: _TRANSACTION,
    DELETE_WHERE: _TRANSACTION,
    COMPACT: ["within a new file", *_TRANSACTION, "before a file is removed"],
}
#: From there on, the operation has taken place.
LASTING = {"after the commit", "before a file is removed"}

_STORE = str(Path(llmhash.collection.__file__).parent)
_STATEMENTS = {
    "before the transaction": "BEGIN IMMEDIATE",
    "within the transaction": "UPDATE state",
    "before the commit": "COMMIT",
}


def die() -> None:
    """Send SIGKILL to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_point(path: Path, operation: Operation, point: str, send: Callable[[Any], None]) -> None:
    """Do an operation and die on the way, at `point`; if it is never reached, send that."""
    armed: list[bool] = []

    def fatal(here: str) -> None:
        if armed and here == point:
            die()

    _watch_files(fatal)
    _watch_database(fatal)
    with Collection.open(path) as collection:
        collection.lock()
        armed.append(True)
        operation.run(collection)
    send("survived")


def run_until_line(path: Path, operation: Operation, line: int | None, send: Callable[[Any], None]) -> None:
    """Do an operation and die before the `line`-th line of the store's code is executed.

    Loops count each time round. Without a line, it sends how many there are.
    """
    executed = 0

    def within(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal executed
        if event == "line":
            if executed == line:
                die()
            executed += 1
        return within

    def entering(frame: FrameType, event: str, argument: Any) -> Any:
        return within if frame.f_code.co_filename.startswith(_STORE) else None

    with Collection.open(path) as collection:
        sys.settrace(entering)
        operation.run(collection)
        sys.settrace(None)
    send(executed)


def _watch_files(fatal: Callable[[str], None]) -> None:
    append, write = RowsFile.append, RowsWriter.write

    def dying_append(self: RowsFile, rows: Any, at: int) -> None:
        append(self, rows[: len(rows) // 2], at)
        fatal("within an append")
        append(self, rows, at)
        fatal(f"after the {self.path.name.partition('-')[0]}")

    def dying_write(self: RowsWriter, rows: Any) -> None:
        write(self, rows[: len(rows) // 2])
        self._file.flush()
        fatal("within a new file")
        write(self, rows[len(rows) // 2 :])

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.remove":
            fatal("before a file is removed")

    RowsFile.append, RowsWriter.write = dying_append, dying_write
    sys.addaudithook(audit)


def _watch_database(fatal: Callable[[str], None]) -> None:
    class Dying(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            for point, beginning in _STATEMENTS.items():
                if statement.startswith(beginning):
                    fatal(point)
            cursor = super().execute(statement, *values)
            if statement == "COMMIT":
                fatal("after the commit")
            return cursor

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Dying)
