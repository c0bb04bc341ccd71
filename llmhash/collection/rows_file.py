"""A file of fixed-width rows behind a header: appended to, memory-mapped, never cut or rewritten.

The file does not know how many of its rows exist; the database beside it does, together with a checksum of
each block of rows. So a row exists when its transaction is committed, and bytes that a killed writer left
beyond the committed rows are nothing: the next append overwrites them in place. A committed byte is never
written again, which is what lets readers map the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.disk import sync_folder
from llmhash.errors import FormatError

FORMAT = 1
#: Rows that share one checksum.
BLOCK_ROWS = 8192

# Little-endian: magic, format, columns (bits or dimensions), bytes a row, padding, generation; then zeros up
# to the CRC-32 of all before it, 64 bytes in all.
_HEADER = struct.Struct("<8sIIIIQ28s")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size


@dataclass(frozen=True)
class RowsFile:
    """What the file at `path` must be.

    Attributes:
        path: Where it lies.
        magic: Eight bytes that name its kind.
        columns: Bits of a code or dimensions of a vector.
        row_bytes: Bytes of a row.
        generation: The generation of the collection's rows that it holds.
    """

    path: Path
    magic: bytes
    columns: int
    row_bytes: int
    generation: int

    def create(self) -> None:
        """Write the header of a file without rows, durably."""
        with RowsWriter(self):
            pass
        sync_folder(self.path.parent)

    def append(self, rows: NDArray[np.uint8], at: int) -> None:
        """Write `rows`, uint8 (n, row_bytes), durably behind the first `at`; they exist once committed."""
        if len(rows) == 0:
            return
        with self.path.open("r+b") as file:
            file.seek(self._end(at))
            file.write(np.ascontiguousarray(rows).data)
            file.flush()
            os.fsync(file.fileno())

    def at(self, path: Path) -> RowsFile:
        """The same file at another path."""
        return replace(self, path=path)

    def map(self, rows: int) -> NDArray[np.uint8]:
        """The first `rows` rows, memory-mapped read-only: uint8 (rows, row_bytes).

        Raises:
            FormatError: The file is missing, truncated, foreign, corrupt or newer than this version.
        """
        with self._opened(rows) as file:
            if rows == 0:
                return np.empty((0, self.row_bytes), dtype=np.uint8)
            return np.memmap(file, np.uint8, "r", HEADER_BYTES, (rows, self.row_bytes))

    def blocks(self, rows: int, checksums: Mapping[int, int]) -> Iterator[NDArray[np.uint8]]:
        """Read the first `rows` rows a block at a time, held against `checksums`, to be written elsewhere.

        Raises:
            FormatError: As for `map`, or a block is corrupt.
        """
        with self._opened(rows) as file:
            for block, data in enumerate(self._read(file, rows)):
                if zlib.crc32(data) != checksums.get(block):
                    raise self._corrupt([block], rows)
                yield np.frombuffer(data, np.uint8).reshape(-1, self.row_bytes)

    def verify(self, rows: int, checksums: Mapping[int, int]) -> None:
        """Read the first `rows` rows and hold each block against its checksum.

        Raises:
            FormatError: As for `map`, or blocks are corrupt; the message counts them.
        """
        with self._opened(rows) as file:
            read = enumerate(self._read(file, rows))
            wrong = [block for block, data in read if zlib.crc32(data) != checksums.get(block)]
        if wrong:
            raise self._corrupt(wrong, rows)

    def _opened(self, rows: int) -> BinaryIO:
        """The file, open behind its header, which is checked, as is that `rows` rows fit behind it."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise FormatError(f"{self.path} is missing; restore the collection from a copy.") from None
        try:
            self._check_header(file.read(HEADER_BYTES))
            length = os.fstat(file.fileno()).st_size
            if length < self._end(rows):
                raise FormatError(
                    f"{self.path} is truncated: {rows} rows are committed, {length} bytes hold "
                    f"{(length - HEADER_BYTES) // self.row_bytes}; restore it from a copy."
                )
        except BaseException:
            file.close()
            raise
        return file

    def _check_header(self, head: bytes) -> None:
        if len(head) < HEADER_BYTES:
            raise FormatError(f"{self.path} is truncated within its header; restore it from a copy.")
        magic, version, columns, row_bytes, _, generation, _ = _HEADER.unpack_from(head)
        if magic != self.magic:
            raise FormatError(f"{self.path} is not the file that belongs there (it starts with {magic!r}).")
        if version > FORMAT:
            raise FormatError(f"{self.path} was written by a newer llmhash; upgrade to read it.")
        if zlib.crc32(head[: _HEADER.size]) != _CRC.unpack_from(head, _HEADER.size)[0]:
            raise FormatError(f"the header of {self.path} is corrupt; restore it from a copy.")
        if (columns, row_bytes, generation) != (self.columns, self.row_bytes, self.generation):
            raise FormatError(
                f"{self.path} belongs to another collection: it has {columns} columns in {row_bytes} bytes "
                f"(generation {generation}), not {self.columns} in {self.row_bytes} ({self.generation})."
            )

    def header(self) -> bytes:
        """The first bytes of the file."""
        fields = (self.magic, FORMAT, self.columns, self.row_bytes, 0, self.generation, b"")
        header = _HEADER.pack(*fields)
        return header + _CRC.pack(zlib.crc32(header))

    def _read(self, file: BinaryIO, rows: int) -> Iterator[bytes]:
        for start in range(0, rows, BLOCK_ROWS):
            yield file.read(min(BLOCK_ROWS, rows - start) * self.row_bytes)

    def _corrupt(self, wrong: list[int], rows: int) -> FormatError:
        return FormatError(
            f"{self.path} is corrupt: {len(wrong)} of {-(-rows // BLOCK_ROWS)} blocks do not match their "
            f"checksums, the first is block {wrong[0]}; restore it from a copy."
        )

    def _end(self, rows: int) -> int:
        return HEADER_BYTES + rows * self.row_bytes


def block_checksums(rows: NDArray[np.uint8], at: int, unfinished: int) -> list[tuple[int, int]]:
    """(block, CRC-32) of the blocks that `rows`, appended behind `at` rows, fill or begin.

    `unfinished` is the stored checksum of the block that row `at` falls into; it is carried on rather than
    read again from the disk, so that damage to older rows is never sealed by a new checksum.
    """
    result = []
    start = 0
    while start < len(rows):
        block, filled = divmod(at + start, BLOCK_ROWS)
        part = np.ascontiguousarray(rows[start : start + BLOCK_ROWS - filled])
        result.append((block, zlib.crc32(part.data, unfinished if filled else 0)))
        start += len(part)
    return result


class RowsWriter:
    """Writes a file of rows that nobody reads yet, and its checksums with it; durable once it is closed.

    Attributes:
        checksums: The checksum of each block.
    """

    def __init__(self, file: RowsFile) -> None:
        self.checksums: dict[int, int] = {}
        self._rows = 0
        self._file = file.path.open("xb")
        self._file.write(file.header())

    def write(self, rows: NDArray[np.uint8]) -> None:
        """Append `rows`, uint8 (n, row_bytes)."""
        unfinished = self.checksums.get(self._rows // BLOCK_ROWS, 0)
        self.checksums.update(block_checksums(rows, self._rows, unfinished))
        self._rows += len(rows)
        self._file.write(np.ascontiguousarray(rows).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
