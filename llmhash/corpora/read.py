"""Reading a corpus from the files people have: BEIR folders, JSON lines, text, CSV, Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmhash.corpora.documents import Documents, refuse_empty
from llmhash.corpora.python_manual import PYTHON_MANUAL, python_manual
from llmhash.errors import InputError

#: Field names that hold a document's id, in the order in which they are looked for.
ID_FIELDS = ("_id", "id")


def read_corpus(path: str | Path) -> Documents:
    """Read a corpus.

    Args:
        path: A BEIR folder (`corpus.jsonl[.gz]`, or shards `corpus-*.jsonl[.gz]`), a `.jsonl[.gz]`,
            `.csv[.gz]` or `.parquet` file with the fields `text` and optionally `_id` or `id`, `title` and
            others (kept as metadata), a `.txt[.gz]` file with one document a line, or the name
            `python-manual` for the embedded corpus.

    Raises:
        InputError: The path does not exist, is of no known kind, holds no text, a malformed line (its
            number is given), or an empty or repeated id.
    """
    source = Path(path)
    if str(path) == PYTHON_MANUAL and not source.exists():
        return python_manual()
    if source.is_dir():
        return _collect(_read_shards(_corpus_files(source)), str(source))
    if not source.exists():
        raise InputError(f"{source} does not exist.")
    return _collect(_reader(source)(source), str(source))


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a `.jsonl[.gz]` file, each with the place it stands at ("FILE, line N").

    Raises:
        InputError: A line is not a JSON object; its number is given.
    """
    for place, line in _lines(path):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place}: not valid JSON ({error}); correct or remove the line.") from None
        if not isinstance(record, dict):
            raise InputError(f"{place}: a JSON object is expected, not {type(record).__name__}.")
        yield place, record


def _corpus_files(folder: Path) -> list[Path]:
    for pattern in ("corpus.jsonl", "corpus.jsonl.gz", "corpus-*.jsonl", "corpus-*.jsonl.gz"):
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise InputError(f"{folder} holds no corpus.jsonl[.gz] (nor shards corpus-*.jsonl[.gz]).")


def _read_shards(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        yield from read_jsonl(path)


def _reader(path: Path) -> Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]:
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    readers: Mapping[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
        ".jsonl": read_jsonl,
        ".jsonl.gz": read_jsonl,
        ".txt": _read_text,
        ".txt.gz": _read_text,
        ".csv": _read_csv,
        ".csv.gz": _read_csv,
        ".parquet": _read_parquet,
    }
    if suffix not in readers:
        raise InputError(
            f"{path}: unknown kind of corpus; give a BEIR folder or a {', '.join(readers)} file."
        )
    return readers[suffix]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Non-blank lines with their places."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a complete gzip file ({error}).") from None


def _read_text(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, line in _lines(path):
        yield place, {"text": line.strip()}


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if "text" not in (reader.fieldnames or ()):
            raise InputError(f"{path} has no column `text`; its columns are {reader.fieldnames}.")
        for record in reader:
            place = f"{path}, line {reader.line_num}"
            if None in record or None in record.values():
                raise InputError(f"{place}: the row has not as many fields as the header.")
            yield place, dict(record)


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet as parquet

    table = parquet.ParquetFile(path)
    if "text" not in table.schema_arrow.names:
        raise InputError(f"{path} has no column `text`; its columns are {table.schema_arrow.names}.")
    number = 0
    for batch in table.iter_batches():
        for record in batch.to_pylist():
            number += 1
            yield f"{path}, row {number}", record


def _collect(records: Iterable[tuple[str, dict[str, Any]]], source: str) -> Documents:
    """Records to documents: ids checked, titles joined to texts, further fields kept as metadata."""
    ids: list[str] = []
    texts: list[str] = []
    bodies: list[str] = []
    titles: list[str] = []
    metadata: list[dict[str, Any]] = []
    seen: set[str] = set()
    for place, record in records:
        identifier = _identifier(record, place, len(ids))
        if identifier in seen:
            raise InputError(f"{place}: the id {identifier!r} has occurred before; ids must be distinct.")
        seen.add(identifier)
        body, title = _text(record, "text", place), _text(record, "title", place)
        ids.append(identifier)
        texts.append(f"{title} {body}".strip())
        titles.append(title)
        bodies.append(body)
        metadata.append(
            {k: v for k, v in record.items() if k not in (*ID_FIELDS, "text") and v not in ("", None)}
        )
    refuse_empty(texts, source)
    has_titles = any(titles)
    return Documents(
        ids,
        texts,
        titles if has_titles else None,
        metadata if any(metadata) else None,
        bodies if has_titles else None,
    )


def _identifier(record: Mapping[str, Any], place: str, position: int) -> str:
    for field in ID_FIELDS:
        if field in record:
            value = record[field]
            if value is None or isinstance(value, bool) or not str(value).strip():
                raise InputError(f"{place}: the id is empty; give each document an id, or none of them.")
            return str(value)
    return str(position)


def _text(record: Mapping[str, Any], field: str, place: str) -> str:
    value = record.get(field, None if field == "text" else "")
    if value is None and field == "title":
        return ""
    if not isinstance(value, str):
        said = "is missing" if value is None else f"is a {type(value).__name__}, not a string"
        raise InputError(f"{place}: the field `{field}` {said}.")
    return value.strip()
