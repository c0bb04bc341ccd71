r"""AG News, DBpedia, Yahoo Answers and NYT as headerless CSV: a class number, then the fields of the text.

`train.csv` and `test.csv`, sometimes `val.csv`. Classes count from 1; their names are the lines of
`classes.txt`, or `1: name` lines of `meta.txt`. The fields are title and description (AG News), title and
content (DBpedia), question, its details and the best answer (Yahoo Answers), or the text alone (NYT); all
of them are the text. Line breaks within a field are written `\n`; AG News has a lone backslash instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmhash.corpora.label_sets.base import SPLIT_NAMES, LabelSource, labelled
from llmhash.corpora.label_sets.files import find, read_lines, read_rows
from llmhash.errors import InputError

# The sets by (columns, classes).
_SETS: Final = {(3, 4): "agnews", (3, 14): "dbpedia", (4, 10): "yahoo_answers", (2, 26): "nyt"}


def has_class_csv(folder: Path) -> bool:
    """Whether a folder holds train.csv or test.csv whose rows start with a class number."""
    path = find(folder, "train.csv") or find(folder, "test.csv")
    if path is None:
        return False
    rows = read_rows(path)
    # Some copies have a header of their own ("Class Index,Title,Description").
    first = [row[0].strip() for _, row in (next(rows, (0, [""])), next(rows, (0, [""])))]
    return any(cell.isdecimal() for cell in first)


def read_class_csv(folder: Path) -> LabelSource:
    """Read such a folder; the set is recognised by its numbers of columns and classes.

    Raises:
        InputError: A row does not start with a class number, has another number of fields than the first,
            or names a class that has no name.
    """
    names = _class_names(folder)
    splits: dict[str, list[tuple[int, list[str]]]] = {}
    for stem, split in SPLIT_NAMES.items():
        path = find(folder, f"{stem}.csv")
        if path is not None and split not in splits:
            splits[split] = list(_rows(path, names))
    columns = 1 + max((len(fields) for rows in splits.values() for _, fields in rows), default=0)
    classes = {number for rows in splits.values() for number, _ in rows}
    name = _SETS.get((columns, len(names) or len(classes)), folder.resolve().name)
    line_break = re.compile(r"\\" if name == "agnews" else r"\\n")
    return LabelSource(
        name,
        {
            split: labelled(
                (line_break.sub(" ", " ".join(filter(None, fields))), [names.get(number, str(number))])
                for number, fields in rows
            )
            for split, rows in splits.items()
        },
    )


def _rows(path: Path, names: dict[int, str]) -> Iterator[tuple[int, list[str]]]:
    """Class number and text fields of each row."""
    width = None
    for position, (number, row) in enumerate(read_rows(path)):
        place = f"{path}, line {number}"
        first = row[0].strip()
        if not first.isdecimal():
            if position == 0:
                continue  # a header
            raise InputError(f"{place}: a row must start with the number of its class, not {first[:40]!r}.")
        width = width or len(row)
        if len(row) != width or width < 2:
            raise InputError(f"{place}: the row has {len(row)} fields, where {max(width, 2)} are expected.")
        if names and int(first) not in names:
            raise InputError(f"{place}: class {first} has no name; the file of class names has {len(names)}.")
        yield int(first), [field.strip() for field in row[1:]]


def _class_names(folder: Path) -> dict[int, str]:
    """Names by class number, from 1; empty where the folder has none."""
    if (folder / "classes.txt").is_file():
        lines = filter(None, map(str.strip, read_lines(folder / "classes.txt")))
        return dict(enumerate(lines, start=1))
    if (folder / "meta.txt").is_file():
        found = (re.fullmatch(r"(\d+): *(.+)", line.strip()) for line in read_lines(folder / "meta.txt"))
        return {int(match[1]): match[2] for match in found if match}
    return {}
