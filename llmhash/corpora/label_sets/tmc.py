"""TMC: NASA's aviation safety reports of the SIAM 2007 text mining competition, 22 categories.

`TrainingData.txt` and `TestData.txt` hold a report a line, `ID~text`; `TrainCategoryMatrix.csv` and
`TestTruth.csv` a line of 22 values for each, 1 where the report has the category and -1 where not. The
categories have no names, so they are called by their columns, `1` to `22`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llmhash.corpora.label_sets.base import Labelled, LabelSource, labelled
from llmhash.corpora.label_sets.files import find, read_lines
from llmhash.errors import InputError

_FILES: Final = {
    "train": ("TrainingData.txt", "TrainCategoryMatrix.csv"),
    "test": ("TestData.txt", "TestTruth.csv"),
}


def has_tmc(folder: Path) -> bool:
    """Whether a folder holds reports and their categories."""
    return any(all(find(folder, name) for name in names) for names in _FILES.values())


def read_tmc(folder: Path) -> LabelSource:
    """Read the competition's files; a half without its categories is left out.

    Raises:
        InputError: Reports and categories are not equally many, or a line is malformed.
    """
    splits: dict[str, Labelled] = {}
    for split, (reports, categories) in _FILES.items():
        texts, matrix = find(folder, reports), find(folder, categories)
        if texts is not None and matrix is not None:
            splits[split] = _read(texts, matrix)
    return LabelSource("tmc", splits)


def _read(reports: Path, matrix: Path) -> Labelled:
    texts = [
        _report(line, f"{reports}, line {number}")
        for number, line in enumerate(read_lines(reports, "latin-1"), start=1)
        if line.strip()
    ]
    labels = [
        _categories(line, f"{matrix}, line {number}")
        for number, line in enumerate(read_lines(matrix), start=1)
        if line.strip()
    ]
    if len(texts) != len(labels):
        raise InputError(f"{reports} holds {len(texts)} reports and {matrix.name} {len(labels)} lines.")
    return labelled(zip(texts, labels, strict=True))


def _report(line: str, place: str) -> str:
    identifier, separator, text = line.partition("~")
    if not separator or not identifier.strip().isdecimal():
        raise InputError(f"{place}: expected a report's number, `~` and its text.")
    return text


def _categories(line: str, place: str) -> list[str]:
    values = [value.strip() for value in line.split(",")]
    if not set(values) <= {"1", "-1", "0"}:
        raise InputError(f"{place}: expected values of 1 and -1, by commas.")
    return [str(column) for column, value in enumerate(values, start=1) if value == "1"]
