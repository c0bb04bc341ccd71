"""A document as the collection's database holds it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any


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


def document_checksum(row: int, name: str, metadata: str | None, text: str | None) -> int:
    """CRC-32 of all that the database holds of a document, the metadata as its JSON.

    The database keeps the sum over all documents, which needs no order and nothing more for each document.
    """
    # Neither ids nor JSON hold a NUL, so no two documents are written alike, with no text or an empty one.
    ending = "" if text is None else "\0" + text
    return zlib.crc32(f"{row}\0{name}\0{metadata or ''}{ending}".encode())
