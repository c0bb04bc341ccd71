"""NYT: news articles a line in `dataset.txt`, and their topics a line in `labels.txt`.

This is how the set (11,527 articles, 26 topics) goes round since it was published for weakly supervised
classification; it has no split of its own. DHIM's split of it is headerless CSV, see `class_csv.py`.
"""

from __future__ import annotations

from pathlib import Path

from llmhash.corpora.label_sets.base import ALL, LabelSource, labelled
from llmhash.corpora.label_sets.files import find, read_lines
from llmhash.corpora.label_sets.names import known_set
from llmhash.errors import InputError


def has_parallel_lines(folder: Path) -> bool:
    """Whether a folder holds `dataset.txt` and `labels.txt`."""
    return all(find(folder, name) for name in ("dataset.txt", "labels.txt"))


def read_parallel_lines(folder: Path) -> LabelSource:
    """Read the two files.

    Raises:
        InputError: They have not as many lines as each other.
    """
    texts, labels = (_lines(folder, name) for name in ("dataset.txt", "labels.txt"))
    if len(texts) != len(labels):
        raise InputError(f"{folder}: dataset.txt has {len(texts)} lines and labels.txt {len(labels)}.")
    name = folder.resolve().name
    known = known_set(name)
    pairs = (
        (text, [label.strip()] if label.strip() else []) for text, label in zip(texts, labels, strict=True)
    )
    return LabelSource(known.name if known else name, {ALL: labelled(pairs)})


def _lines(folder: Path, name: str) -> list[str]:
    path = find(folder, name)
    return list(read_lines(path)) if path is not None else []
