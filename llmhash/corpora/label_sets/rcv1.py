"""RCV1-v2 (LYRL2004): stemmed tokens by document, and topics by document.

The files of the set's published appendix: `lyrl2004_tokens_train.dat`, `lyrl2004_tokens_test_pt0.dat` to
`pt3.dat` (as many of the four as are there) and `rcv1-v2.topics.qrels`, each with `.gz` or without. Labels
are the four classes at the top of the topics' hierarchy: the "4 most populous categories" of the survey are
read as those. Documents without any of them are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmhash.corpora.label_sets.base import LabelSource, labelled
from llmhash.corpora.label_sets.files import find, read_lines
from llmhash.errors import InputError

#: Corporate and industrial, economics, government and social, markets.
TOP_CLASSES: Final = ("CCAT", "ECAT", "GCAT", "MCAT")

_QRELS: Final = "rcv1-v2.topics.qrels"
_TOKENS: Final = {
    "train": ("lyrl2004_tokens_train.dat",),
    "test": tuple(f"lyrl2004_tokens_test_pt{part}.dat" for part in range(4)),
}


def has_rcv1(folder: Path) -> bool:
    """Whether a folder holds token files."""
    return any(find(folder, name) for names in _TOKENS.values() for name in names)


def read_rcv1(folder: Path) -> LabelSource:
    """Read the token files.

    Raises:
        InputError: The topics are missing, or a file is not in the format described.
    """
    qrels = find(folder, _QRELS)
    if qrels is None:
        raise InputError(f"{folder} holds no {_QRELS}[.gz], which says each document's topics.")
    classes = _classes(qrels)
    files = {split: [p for name in names if (p := find(folder, name))] for split, names in _TOKENS.items()}
    return LabelSource(
        "rcv1",
        {
            split: labelled(
                (text, classes.get(identifier, ())) for path in paths for identifier, text in _documents(path)
            )
            for split, paths in files.items()
            if paths
        },
    )


def _classes(path: Path) -> dict[str, tuple[str, ...]]:
    """Top classes by document id, from lines such as `CCAT 2286 1`."""
    classes: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 3:
            raise InputError(f"{path}, line {number}: expected a topic, a document id and 1.")
        topic, identifier, _ = fields
        if topic in TOP_CLASSES:
            classes[identifier] = (*classes.get(identifier, ()), topic)
    return classes


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of a file in SMART's format: `.I ID`, `.W`, then lines of tokens."""
    identifier: str | None = None
    words: list[str] = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith(".I "):
            if identifier is not None:
                yield identifier, " ".join(words)
            identifier, words = line[3:].strip(), []
        elif identifier is None and line.strip():
            raise InputError(f"{path}, line {number}: expected `.I` and a document id.")
        elif line.strip() and line.strip() != ".W":
            words.append(line.strip())
    if identifier is not None:
        yield identifier, " ".join(words)
