"""Readers of label sets: a file a family of formats, recognised by the files that a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from llmhash.corpora.label_sets.base import ALL, SPLITS, Labelled, LabelSource, pooled
from llmhash.corpora.label_sets.class_csv import has_class_csv, read_class_csv
from llmhash.corpora.label_sets.hub import read_hub_labels
from llmhash.corpora.label_sets.names import KNOWN_SETS, REUTERS, KnownSet, known_set
from llmhash.corpora.label_sets.newsgroups import has_newsgroups, read_newsgroups
from llmhash.corpora.label_sets.nyt import has_parallel_lines, read_parallel_lines
from llmhash.corpora.label_sets.rcv1 import has_rcv1, read_rcv1
from llmhash.corpora.label_sets.reuters import (
    has_reuters_nltk,
    has_reuters_sgml,
    read_reuters_nltk,
    read_reuters_sgml,
)
from llmhash.corpora.label_sets.tables import (
    has_split_tables,
    has_text_tables,
    read_split_tables,
    read_table,
)
from llmhash.corpora.label_sets.tmc import has_tmc, read_tmc
from llmhash.errors import InputError, suggest

__all__ = [
    "ALL",
    "KNOWN_SETS",
    "REUTERS",
    "SPLITS",
    "KnownSet",
    "LabelSource",
    "Labelled",
    "known_set",
    "pooled",
    "read_label_source",
]

_HUB: Final = "hub:"


class _Format(NamedTuple):
    recognises: Callable[[Path], bool]
    read: Callable[[Path], LabelSource]


_FORMATS: Final = (
    _Format(has_text_tables, read_split_tables),
    _Format(has_class_csv, read_class_csv),
    _Format(has_reuters_sgml, read_reuters_sgml),
    _Format(has_reuters_nltk, read_reuters_nltk),
    _Format(has_newsgroups, read_newsgroups),
    _Format(has_rcv1, read_rcv1),
    _Format(has_tmc, read_tmc),
    _Format(has_parallel_lines, read_parallel_lines),
    # Last, so that a folder of tables that are nobody's is told which columns it lacks.
    _Format(has_split_tables, read_split_tables),
)


def read_label_source(source: str | Path) -> LabelSource:
    """Read a label set as it is, before any protocol.

    Args:
        source: A folder, a file, `hub:OWNER/NAME[:CONFIG]`, or a known set's name where no path is called so.

    Raises:
        InputError: There is no such source, its format is not known, or its files are malformed.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.exists():
        return read_table(path)
    name = str(source)
    if name.startswith(_HUB):
        return read_hub_labels(name.removeprefix(_HUB))
    known = known_set(name)
    if known is None:
        raise InputError(
            f"{name} is neither a path, nor hub:OWNER/NAME, nor a label set with a name; "
            f"{suggest(name, [each.name for each in KNOWN_SETS])}"
        )
    if known.hub is None:
        raise InputError(f"{known.name} has no copy on the hub; give the folder that holds {known.files}.")
    return LabelSource(known.name, read_hub_labels(known.hub).splits)


def _read_folder(folder: Path) -> LabelSource:
    for form in _FORMATS:
        if form.recognises(folder):
            return form.read(folder)
    known = known_set(folder.resolve().name)
    wanted = known.files if known else "train.jsonl, validation.jsonl and test.jsonl, or a named set's files"
    raise InputError(f"{folder} is no label set that is known; expected {wanted}.")
