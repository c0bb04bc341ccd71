"""What one transaction writes to the collection's database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.batch import Batch
from llmhash.collection.filters import index_statement
from llmhash.collection.moment import CHUNK, DOCUMENTS, State
from llmhash.collection.record import document_checksum
from llmhash.collection.rows_file import BLOCK_ROWS


class Transaction:
    """A connection inside of a transaction; the caller commits or rolls back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, batch: Batch, ids: Sequence[str], state: State) -> None:
        """Add the documents of `batch` under `ids`, in the rows behind those of `state`."""
        rows = range(state.next_row, state.next_row + batch.size)
        metadata = batch.metadata or [None] * batch.size
        texts = batch.texts or [None] * batch.size
        documents = zip(rows, ids, texts, strict=True)
        self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?)", documents)
        records = ((row, json) for row, json in zip(rows, metadata, strict=True) if json is not None)
        self._connection.executemany("INSERT INTO records VALUES (?, ?)", records)
        checksum = sum(map(document_checksum, rows, ids, metadata, texts))
        self._connection.execute(
            "UPDATE state SET slots = slots + ?, next_row = next_row + ?, "
            "documents = documents + ?, text_bytes = text_bytes + ?, checksum = checksum + ?",
            (batch.size, batch.size, batch.size, batch.text_bytes, checksum),
        )

    def delete(self, rows: NDArray[np.int64]) -> None:
        """Delete the documents of `rows`, which are distinct: their texts go, their codes are marked."""
        gone = ("DELETE FROM documents WHERE row IN ({})", "DELETE FROM records WHERE row IN ({})")
        text_bytes = checksum = 0
        for part in _parts(rows.tolist()):
            marks = ",".join("?" * len(part))
            found = self._connection.execute(f"{DOCUMENTS} WHERE row IN ({marks})", part)
            for row, name, metadata, text in found:
                text_bytes += 0 if text is None else len(text.encode())
                checksum += document_checksum(row, name, metadata, text)
            for statement in gone:
                self._connection.execute(statement.format(marks), part)
            self._connection.executemany("INSERT INTO deleted (row) VALUES (?)", ((row,) for row in part))
        self._connection.execute(
            "UPDATE state SET documents = documents - ?, text_bytes = text_bytes - ?, "
            "checksum = checksum - ?",
            (len(rows), text_bytes, checksum),
        )

    def declare(self, fields: Sequence[str]) -> None:
        """Index metadata fields."""
        for name in fields:
            self._connection.execute(index_statement(name))
            self._connection.execute("INSERT OR IGNORE INTO fields (name) VALUES (?)", (name,))

    def begin_generation(self, generation: int, slots: int, runs: int) -> None:
        """Put a generation of files in force, none of whose rows is deleted."""
        self._connection.execute("DELETE FROM deleted")
        self._connection.execute("DELETE FROM blocks")
        self._connection.execute(
            "UPDATE state SET generation = ?, slots = ?, runs = ?", (generation, slots, runs)
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


def _parts(values: list[int]) -> Iterator[list[int]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
