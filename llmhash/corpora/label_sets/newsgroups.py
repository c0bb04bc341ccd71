"""20 Newsgroups: one folder a newsgroup, one file a message.

Either the "bydate" version with its folders `20news-bydate-train` and `20news-bydate-test`, or all messages
together (`20_newsgroups`, `20news-18828`). Of a message's header the subject is kept, which is part of what
its author wrote; the other lines (the newsgroup among them) would give the label away. Quotes and signatures
stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmhash.corpora.label_sets.base import ALL, LabelSource, labelled
from llmhash.corpora.label_sets.files import opened

_SPLIT_FOLDERS: Final = {"train": "20news-bydate-train", "test": "20news-bydate-test"}

_GROUP = re.compile(r"(alt|comp|misc|rec|sci|soc|talk)\..+")
_FIELD = re.compile(r"[A-Za-z][A-Za-z-]*:")


def has_newsgroups(folder: Path) -> bool:
    """Whether a folder holds a bydate folder, or at least two folders named like newsgroups."""
    if any((folder / name).is_dir() for name in _SPLIT_FOLDERS.values()):
        return True
    return sum(path.is_dir() and bool(_GROUP.fullmatch(path.name)) for path in folder.iterdir()) >= 2


def read_newsgroups(folder: Path) -> LabelSource:
    """Read either version."""
    parts = {split: folder / name for split, name in _SPLIT_FOLDERS.items() if (folder / name).is_dir()}
    splits = {split: labelled(_messages(path)) for split, path in (parts or {ALL: folder}).items()}
    return LabelSource("20newsgroups", splits)


def _messages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(path for path in group.glob("[!.]*") if path.is_file()):
            # Messages of 1993 are in several encodings; Latin-1 reads all of them.
            with opened(path, "latin-1") as file:
                yield message_text(file.read()), [group.name]


def message_text(message: str) -> str:
    """The subject, a line break and the body; all of the message where it has no header."""
    head, _, body = message.partition("\n\n")
    if not _FIELD.match(head):
        return message.strip()
    subject = re.search(r"^Subject:(.*)$", head, re.MULTILINE | re.IGNORECASE)
    return f"{subject[1].strip() if subject else ''}\n{body.strip()}".strip()
