"""A user's own labelled texts: one JSON Lines, CSV, TSV or Parquet file, or one file a split.

A record has a `text`, optionally a `title` (which then stands before the text), and a `label` or `labels`:
a string or number, or a list of those. In CSV and TSV, `label` is one label as it stands, and `labels` is a
JSON list or labels with `|` or `;` between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from llmhash.corpora.label_sets.base import ALL, SPLIT_NAMES, Labelled, LabelSource
from llmhash.corpora.label_sets.files import read_rows
from llmhash.corpora.read import read_jsonl
from llmhash.errors import InputError, suggest

#: The fields that hold labels, in the order in which they are looked for.
LABEL_FIELDS: Final = ("labels", "label")

_Records = Iterator[tuple[str, Mapping[str, Any]]]


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table."""
    return _suffix(path) in _READERS


def read_table(path: Path) -> LabelSource:
    """Read one file; a column `split` (train, validation or test) splits it.

    Raises:
        InputError: The file is of no known kind or empty, a column is missing, or a record's text, label
            or split is empty or malformed; the line is named.
    """
    if not is_table(path):
        raise InputError(f"{path}: unknown kind of label set; give a folder or a {', '.join(_READERS)} file.")
    splits: dict[str, Labelled] = {}
    for place, record in _READERS[_suffix(path)](path):
        part = splits.setdefault(_split(record, place) if "split" in record else ALL, Labelled([], []))
        part.texts.append(_text(record, place))
        part.labels.append(_labels(record, place))
    if not splits:
        raise InputError(f"{path} holds no documents; write one a line.")
    if ALL in splits and len(splits) > 1:
        raise InputError(
            f"{path}: some records have a `split` and some have none; give it to all or to none."
        )
    return LabelSource(path.name.removesuffix(_suffix(path)), splits)


def has_split_tables(folder: Path) -> bool:
    """Whether a folder holds a table for a split, of whatever columns."""
    return bool(_split_tables(folder))


def has_text_tables(folder: Path) -> bool:
    """Whether a folder holds a table for a split that is sure to be of this kind.

    CSV files without a column `text` may be those of `class_csv.py`.
    """
    tables = list(_split_tables(folder).values())
    return bool(tables) and all(_delimiter(path) is None or "text" in _header(path) for path in tables)


def read_split_tables(folder: Path) -> LabelSource:
    """Read a folder with one table a split, for instance `{train,validation,test}.jsonl[.gz]`.

    Raises:
        InputError: As `read_table`.
    """
    splits: dict[str, Labelled] = {}
    for split, path in _split_tables(folder).items():
        parts = read_table(path).splits
        if set(parts) not in ({ALL}, {split}):
            raise InputError(
                f"{path}: its column `split` names {', '.join(sorted(parts))}; remove the column."
            )
        (splits[split],) = parts.values()
    return LabelSource(folder.resolve().name, splits)


def _split_tables(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for stem, split in SPLIT_NAMES.items():
        for suffix in _READERS:
            if (path := folder / f"{stem}{suffix}").is_file():
                found.setdefault(split, path)
    return found


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _delimiter(path: Path) -> str | None:
    return {".csv": ",", ".tsv": "\t"}.get(_suffix(path).removesuffix(".gz"))


def _header(path: Path) -> list[str]:
    return next(read_rows(path, _delimiter(path) or ","), (0, []))[1]


def _read_delimited(path: Path) -> _Records:
    rows = read_rows(path, _delimiter(path) or ",")
    header = next(rows, (0, []))[1]
    _check_columns(header, path)
    for number, row in rows:
        place = f"{path}, line {number}"
        if len(row) != len(header):
            raise InputError(f"{place}: the row has {len(row)} fields and the header {len(header)}.")
        record: dict[str, Any] = dict(zip(header, row, strict=True))
        if "labels" in record:
            record["labels"] = _several(record["labels"], place)
        yield place, record


def _several(cell: str, place: str) -> list[Any]:
    """The labels of a cell: a JSON list, or names with `|` or `;` between them."""
    if not cell.lstrip().startswith("["):
        return [name for name in re.split("[|;]", cell) if name.strip()]
    try:
        names: list[Any] = json.loads(cell)
    except ValueError as error:
        raise InputError(f"{place}: the column `labels` is no valid JSON list ({error}).") from None
    return names


def _read_parquet(path: Path) -> _Records:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}).") from None
    columns = table.schema_arrow.names
    _check_columns(columns, path)
    wanted = [name for name in ("text", "title", "split", *LABEL_FIELDS) if name in columns]
    number = 0
    for batch in table.iter_batches(columns=wanted):
        for record in batch.to_pylist():
            number += 1
            yield f"{path}, row {number}", record


_READERS: Final[Mapping[str, Callable[[Path], Iterator[tuple[str, Any]]]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".csv": _read_delimited,
    ".csv.gz": _read_delimited,
    ".tsv": _read_delimited,
    ".tsv.gz": _read_delimited,
    ".parquet": _read_parquet,
}


def _check_columns(columns: list[str], path: Path) -> None:
    there = f"its columns are {', '.join(columns) or 'none'}"
    if "text" not in columns:
        raise InputError(f"{path} has no column `text`; {there}.")
    if not any(field in columns for field in LABEL_FIELDS):
        raise InputError(f"{path} has no column `label` or `labels`; {there}.")


def _text(record: Mapping[str, Any], place: str) -> str:
    title, text = record.get("title") or "", record.get("text")
    if not isinstance(text, str) or not isinstance(title, str):
        raise InputError(f"{place}: the fields `text` and `title` must be strings, and `text` be there.")
    joined = f"{title.strip()} {text.strip()}".strip()
    if not joined:
        raise InputError(f"{place}: the text is empty; remove the document or give it a text.")
    return joined


def _labels(record: Mapping[str, Any], place: str) -> tuple[str, ...]:
    field = next((field for field in LABEL_FIELDS if field in record), None)
    if field is None:
        raise InputError(f"{place}: the field `label` or `labels` is missing; it has {', '.join(record)}.")
    value = record[field]
    values = value if isinstance(value, list) else [value]
    # A number that is not equal to itself is how data frames write a missing label.
    if any(not isinstance(each, str | int | float) or each != each for each in values):
        raise InputError(f"{place}: the field `{field}` must be a string, a number or a list of those.")
    names = dict.fromkeys(name for each in values if (name := str(each).strip()))
    if not names:
        raise InputError(f"{place}: the document has no label; remove it or give it one.")
    return tuple(names)


def _split(record: Mapping[str, Any], place: str) -> str:
    said = str(record["split"]).strip().lower()
    if said not in SPLIT_NAMES:
        raise InputError(f"{place}: unknown split {record['split']!r}; {suggest(said, SPLIT_NAMES)}")
    return SPLIT_NAMES[said]
