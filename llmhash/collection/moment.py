"""What the collection's database holds at one commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.disk import is_damage
from llmhash.collection.filters import Filter, index_statement
from llmhash.collection.record import Record, document_checksum
from llmhash.collection.slots import SlotMap
from llmhash.errors import FormatError, InputError

#: All that is stored of each document.
DOCUMENTS = "SELECT row, id, metadata, text FROM documents LEFT JOIN records USING (row)"
#: Values that one SELECT ... IN (...) asks for.
CHUNK = 1000
# Rows that one query returns as a text of numbers, which stays below SQLite's limit of a billion bytes.
_RANGE = 1 << 25
_VERIFIED_ROWS = 8192


@dataclass(frozen=True, slots=True)
class State:
    """The counters that a commit moves.

    Attributes:
        generation: The generation in force.
        slots: Rows that its files hold.
        runs: Runs that lead from its slots to rows; 0 in the first generation, where the two are the same.
        next_row: The number of the next row.
        documents: Documents that are there: `slots` without the deleted.
        text_bytes: Bytes of their texts in UTF-8.
        checksum: The sum of their checksums.
    """

    generation: int
    slots: int
    runs: int
    next_row: int
    documents: int
    text_bytes: int
    checksum: int


class Moment:
    """The database as of one commit, whatever is written meanwhile: a connection in a read transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        # The first SELECT of a transaction decides which commit it sees.
        found = self._ask(
            "SELECT generation, slots, runs, next_row, documents, text_bytes, checksum FROM state"
        )
        if len(found) != 1:
            raise self._damage("its counters are missing")
        self.state = State(*found[0])

    # ------------------------------------------------------------------ documents

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id, int64 (n,), -1 where there is no such id."""
        found = dict(self._ask_each("SELECT id, row FROM documents WHERE id IN ({})", list(ids)))
        return np.array([found.get(name, -1) for name in ids], dtype=np.int64)

    def refuse_known(self, ids: Sequence[str]) -> None:
        """Raise `InputError` where a document has one of the ids, naming the first and its position."""
        known = np.flatnonzero(self.find(ids) >= 0)
        if len(known):
            raise InputError(
                f"ids[{known[0]}] is {ids[known[0]]!r}, which the collection already holds "
                f"({len(known)} of the {len(ids)} ids are taken); nothing was added."
            )

    def running_ids(self, count: int) -> list[str]:
        """`count` numbers as ids, from the next row's on and above any of them that a document has."""
        first = self.state.next_row
        while True:
            ids = [str(number) for number in range(first, first + count)]
            taken = np.flatnonzero(self.find(ids) >= 0)
            if len(taken) == 0:
                return ids
            first += int(taken[-1]) + 1

    def at(self, rows: Sequence[int]) -> list[Record | None]:
        """The record of each row, in the order asked; None where the row is no document's."""
        query = f"{DOCUMENTS} WHERE row IN ({{}})"
        found = {
            row: Record(row, name, text, {} if metadata is None else self._parsed(row, metadata))
            for row, name, metadata, text in self._ask_each(query, list(dict.fromkeys(rows)))
        }
        return [found.get(row) for row in rows]

    def matching(self, condition: Filter, first: int = 0) -> tuple[NDArray[np.int64], bool]:
        """Which documents from row `first` on satisfy `condition`.

        Returns:
            Rows int64 in any order, and whether it is these that satisfy it. If not, it is all others.
        """
        # Documents without metadata have no record; they all satisfy it or none does.
        query = "SELECT {} FROM (SELECT NULL AS metadata)"
        others = bool(self._ask(query.format(condition.sql), condition.values)[0][0])
        sql = _complement(condition.sql) if others else condition.sql
        # All rows: SQLite may take an index. Few new ones: it must not go through the index of all.
        hint, row = ("", "+row") if first == 0 else ("NOT INDEXED", "row")
        query = "SELECT group_concat(row) FROM records {} WHERE {} AND {row} >= ? AND {row} < ?"
        query = query.format(hint, sql, row=row)
        parts = []
        for start in range(first, self.state.next_row, _RANGE):
            values = (*condition.values, start, start + _RANGE)
            parts.append(_parsed_rows(self._ask(query, values)[0][0]))
        return (np.concatenate(parts) if parts else np.empty(0, np.int64)), not others

    # ------------------------------------------------------------------ what belongs to the files

    def deleted(self, after: int = 0) -> tuple[NDArray[np.int64], int]:
        """The deleted rows that the files still hold, int64 in any order, and the last deletion's number.

        `after` leaves out those up to this number, which an earlier commit has told.
        """
        query = "SELECT group_concat(row), MAX(seq) FROM deleted WHERE seq > ?"
        numbers, last = self._ask(query, (after,))[0]
        return _parsed_rows(numbers), after if last is None else int(last)

    def fields(self) -> tuple[str, ...]:
        """The metadata fields that are indexed, in order of declaration."""
        return tuple(name for (name,) in self._ask("SELECT name FROM fields ORDER BY position"))

    def checksums(self, file: str) -> dict[int, int]:
        """The stored checksum of each block of `file`."""
        return dict(self._ask("SELECT block, checksum FROM blocks WHERE file = ?", (file,)))

    # ------------------------------------------------------------------ verification

    def verify(self, slots: SlotMap) -> None:
        """Hold the database against itself: its structure, its documents, its counters, its indexes.

        Args:
            slots: Where the files hold which row.

        Raises:
            FormatError: It is corrupt.
        """
        problem = self._ask("PRAGMA integrity_check(1)")[0][0]
        if problem != "ok":
            raise self._damage(problem)
        deleted = self.deleted()[0]
        distinct = len(np.unique(deleted))
        both = self._ask("SELECT COUNT(*) FROM deleted JOIN documents USING (row)")[0][0]
        if both or distinct != len(deleted):
            raise self._damage(f"{both or len(deleted) - distinct} rows are deleted that should not be")
        if (slots.slots_of(deleted) < 0).any():
            raise self._damage("a row is deleted that the files never held")
        counted = self._counted(slots)
        state = self.state
        expected = (state.documents, state.slots, state.text_bytes)
        held = (counted[0], counted[0] + len(deleted), counted[1])
        following = int(slots.rows_of(np.array([state.slots]))[0])
        if held != expected or state.next_row != following:
            raise self._damage(
                f"it counts {expected[0]} documents in {expected[1]} rows with {expected[2]} bytes of text "
                f"before row {state.next_row}, but holds {held[0]} in {held[1]} with {held[2]} "
                f"before row {following}"
            )
        if counted[2] != state.checksum:
            raise self._damage("its documents do not match their checksum")
        self._verify_fields()

    def _counted(self, slots: SlotMap) -> tuple[int, int, int]:
        """The documents, the bytes of their texts and the sum of their checksums."""
        documents = text_bytes = checksum = records = 0
        for block in self._blocks(DOCUMENTS):
            rows = np.array([row for row, *_ in block], dtype=np.int64)
            if (slots.slots_of(rows) < 0).any():
                raise self._damage("a document has a row that the files do not hold")
            documents += len(block)
            for row, name, metadata, text in block:
                checksum += document_checksum(row, name, metadata, text)
                records += metadata is not None
                text_bytes += 0 if text is None else len(text.encode())
        if records != self._ask("SELECT COUNT(*) FROM records")[0][0]:
            raise self._damage("it holds metadata of no document")
        return documents, text_bytes, checksum

    def _verify_fields(self) -> None:
        query = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'records'"
        # SQLite keeps a statement as it was given, but for this clause.
        given = {sql for (sql,) in self._ask(query) if sql is not None}
        declared = {index_statement(name).replace("IF NOT EXISTS ", "") for name in self.fields()}
        if given != declared:
            raise self._damage("its declared fields are not the indexed ones")

    # ------------------------------------------------------------------ SQLite

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return [row for block in self._blocks(query, values, size=None) for row in block]

    def _ask_each(self, query: str, values: list[Any]) -> Iterable[Any]:
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            yield from self._ask(query.format(",".join("?" * len(part))), part)

    def _blocks(
        self, query: str, values: Sequence[Any] = (), size: int | None = _VERIFIED_ROWS
    ) -> Iterator[list[Any]]:
        """What a query returns, `size` rows at a time or all at once."""
        try:
            cursor = self._connection.execute(query, values)
            if size is None:
                yield cursor.fetchall()
                return
            while block := cursor.fetchmany(size):
                yield block
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            raise self._damage(str(error)) from error

    def _parsed(self, row: int, metadata: str) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads(metadata)
        except ValueError as error:
            raise self._damage(f"the metadata of row {row} is no JSON: {error}") from error
        return values

    def _damage(self, problem: str) -> FormatError:
        return FormatError(f"{self._path} is corrupt ({problem}); restore it from a copy.")


def _parsed_rows(numbers: str | None) -> NDArray[np.int64]:
    """Rows that `group_concat` has joined: one text comes out of SQLite much faster than as many numbers."""
    return np.empty(0, np.int64) if numbers is None else np.fromstring(numbers, dtype=np.int64, sep=",")


def _complement(sql: str) -> str:
    """The complement of a filter's SQL, which is in brackets but for a NOT: no index answers two of them."""
    return sql.removeprefix("NOT ") if sql.startswith("NOT ") else f"NOT {sql}"
