"""Writing so that it lasts, and what it means when the system refuses."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmhash.errors import FormatError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def sync_file(path: Path) -> None:
    """Make what was written to `path` durable."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system has a way to."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Put a whole file in place at once: after a crash it is there in full or not at all."""
    staged = path.with_name(path.name + ".tmp")
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    sync_folder(path.parent)


@contextmanager
def all_or_nothing(folder: Path, *, made: bool) -> Iterator[None]:
    """If the block raises, what it has put into the empty `folder` goes again, with `made` the folder too."""
    try:
        yield
    except BaseException:
        remove_contents(folder)
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def remove_contents(folder: Path) -> None:
    """Remove what is in `folder`, as far as the system lets go of it."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def storage_errors(path: Path, outcome: str) -> Iterator[None]:
    """Turn what the system says when it cannot write below `path` into one sentence.

    Raises:
        StorageError: The disk is full or cannot be written; the message ends with `outcome`.
        FormatError: The database has turned out to be corrupt.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise FormatError(f"{path} is corrupt ({error}): {outcome}; restore it from a copy.") from error
        if _is_full(error):
            raise StorageError(
                f"the disk of {path} is full: {outcome}; free some space and try again."
            ) from error
        if isinstance(error, OSError | sqlite3.OperationalError):
            raise StorageError(
                f"{path} cannot be written ({error}): {outcome}; try again when it can."
            ) from error
        raise


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error of SQLite means that the database's bytes are not what they were."""
    # Subclasses (locked, full, interrupted, misused, ...) say nothing about the file, but for two sentences.
    if type(error) is sqlite3.DatabaseError:
        return True
    return isinstance(error, sqlite3.OperationalError) and (
        "malformed" in str(error) or "Could not decode" in str(error)
    )


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
