"""What every reader of label sets gives: labelled documents, by split where the source has splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Key of `LabelSource.splits` where a source keeps all its documents together.
ALL: Final = "all"

#: The splits of a label set, in the order in which they are pooled.
SPLITS: Final = ("train", "validation", "test")

#: What files and columns call the splits, each with its name here.
SPLIT_NAMES: Final = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Labelled:
    """Documents with their labels.

    Attributes:
        texts: What is embedded.
        labels: The labels of each document, distinct and at least one.
    """

    texts: list[str]
    labels: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class LabelSource:
    """A label set as its files hold it, before any protocol.

    Attributes:
        name: The set's name, else the folder's or file's.
        splits: Some of "train", "validation" and "test", or "all" alone where the source has no split.
    """

    name: str
    splits: dict[str, Labelled]


def labelled(pairs: Iterable[tuple[str, Iterable[str]]]) -> Labelled:
    """Documents of a published set, in their order.

    Published files hold some documents without text or without labels; nothing can be made of those, so
    they are left out, as the literature does. (A user's own files are refused instead, see `tables.py`.)
    """
    texts: list[str] = []
    labels: list[tuple[str, ...]] = []
    for text, names in pairs:
        distinct = tuple(dict.fromkeys(names))
        if distinct and (stripped := text.strip()):
            texts.append(stripped)
            labels.append(distinct)
    return Labelled(texts, labels)


def pooled(parts: Iterable[Labelled]) -> Labelled:
    """The documents of several parts, one after the other."""
    texts: list[str] = []
    labels: list[tuple[str, ...]] = []
    for part in parts:
        texts += part.texts
        labels += part.labels
    return Labelled(texts, labels)
