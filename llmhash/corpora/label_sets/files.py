"""Opening the files of label sets: gzip or not, any encoding, and errors that name the file."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from llmhash.errors import InputError

# Python's own limit of 131,072 characters a field is less than a long document.
_LONGEST_FIELD: Final = 2**31 - 1


@contextmanager
def opened(path: Path, encoding: str = "utf-8", newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file, gzip where it is called so; one that cannot be decoded raises `InputError`."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding=encoding, newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a complete gzip file ({error}).") from None


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a text file, without their ends."""
    # A lone carriage return within a text ends no line: parallel files would come apart.
    with opened(path, encoding, newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def read_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The non-empty rows of a CSV or TSV file, each with the number of the line it ends on.

    Raises:
        InputError: The file is not UTF-8, or its quotes do not match.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    # Spreadsheets write a byte order mark, which would become part of the first column's name.
    with opened(path, "utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from None


def find(folder: Path, name: str) -> Path | None:
    """The file `name` or `name.gz` of a folder, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
