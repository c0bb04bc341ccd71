"""Features on disk: a text is encoded once, whichever command or process asks for it next.

One SQLite file holds float32 vectors under 16-byte keys. It is bounded (the least recently used vectors go
first), several processes may use it at once, and whatever happens to it costs time, never a result: a corrupt
file is set aside, and where nothing can be written everything works without it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError

FOLDER_VARIABLE = "LLMHASH_CACHE"
SIZE_VARIABLE = "LLMHASH_CACHE_SIZE"
DEFAULT_MAX_BYTES = 4_000_000_000

# The format stands in the name: another version of llmhash leaves this file alone.
_FILE_NAME = "features-1.sqlite"
_PAGE_BYTES = 16_384
_BUSY_SECONDS = 60.0
# Keys in one SELECT, well under SQLite's limit of 32,766 variables.
_KEYS_PER_QUERY = 8_192
# A use is noted only where the last one was noted longer ago than this: reads stay reads.
_TOUCH_SECONDS = 3_600
# Eviction goes down to this share of the limit, so that it happens in bulk and not with every write.
_EVICT_TO = 0.9
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

# `entries`, which look-ups and eviction walk, holds no vector: noting a use rewrites 40 bytes and not 1,536.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, id INTEGER NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
"""

T = TypeVar("T")
_INHERITED: list[sqlite3.Connection | None] = []


def parse_size(text: str) -> int:
    """Bytes of a size such as `4GB`, `500 MB`, `2GiB` or `1000000`.

    Raises:
        InputError: The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    unit = match[2].upper() if match else ""
    if not match or (match[3] and not unit):
        raise InputError(f"{text!r} is not a size; write it like 4GB or 500MB.")
    return int(float(match[1]) * (_BINARY_UNITS if match[3] else _UNITS)[unit])


class TextKeys:
    """Keys of texts under one function from text to features.

    Attributes:
        scope: Whatever decides the features beside the text: model, dtype, prompt, route. Two scopes that
            are equal share their entries.
    """

    def __init__(self, *scope: str) -> None:
        self._state = blake2b(digest_size=16)
        for part in scope:
            data = part.encode("utf-8", "surrogatepass")
            # Each part is preceded by its length, so that no two scopes run into the same bytes.
            self._state.update(len(data).to_bytes(8, "little") + data)

    def key(self, text: str) -> bytes:
        """The 16-byte key of a text."""
        state = self._state.copy()
        state.update(text.encode("utf-8", "surrogatepass"))
        return state.digest()


class FeatureCache:
    """A bounded store of feature vectors on disk.

    It never raises because of the state of the disk: it warns once and from then on finds and keeps nothing.
    One object may be used by several threads, one folder by several processes.

    Args:
        folder: Where the file lies. By default the environment variable LLMHASH_CACHE (`off` or `0`: no
            cache at all), else the user's cache folder.
        max_bytes: Bytes that the vectors and their keys may take on disk. By default the environment variable
            LLMHASH_CACHE_SIZE (such as `4GB`), else 4 GB.

    Raises:
        InputError: LLMHASH_CACHE_SIZE or `max_bytes` is not a size.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int | None = None) -> None:
        self.path = _cache_file(folder)
        self.max_bytes = _cache_limit(max_bytes)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._broken = False

    @property
    def enabled(self) -> bool:
        """Whether anything is kept: not switched off, and no failure so far."""
        return self.path is not None and not self._broken

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors, float32 (d,) and read-only, of those keys that are held."""
        found: dict[bytes, NDArray[np.float32]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            chunk = keys[start : start + _KEYS_PER_QUERY]
            nothing: dict[bytes, NDArray[np.float32]] = {}
            found.update(self._attempt(partial(_select, keys=chunk), nothing))
        return found

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors, float32 (d,), in one transaction; then evict if the cache has outgrown its limit."""
        if vectors:
            self._attempt(lambda connection: self._insert(connection, vectors), None)

    def info(self) -> dict[str, Any]:
        """`path` (None if switched off), `entries`, `bytes` on disk, and the `limit` in bytes."""
        entries = 0
        if self.path is not None and self.path.exists():
            entries = self._attempt(
                lambda connection: int(_scalar(connection, "SELECT count(*) FROM entries")), 0
            )
        return {
            "path": None if self.path is None else str(self.path),
            "entries": entries,
            "bytes": 0 if self.path is None else sum(_size(file) for file in _files(self.path)),
            "limit": self.max_bytes,
        }

    def clear(self) -> int:
        """Remove every vector, give the space back, and return how many there were."""
        if self.path is None or not self.path.exists():
            return 0
        return self._attempt(_clear, 0)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _insert(self, connection: sqlite3.Connection, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        now = int(time.time())
        with _transaction(connection):
            present = _present(connection, list(vectors))
            for key, vector in vectors.items():
                if key in present:
                    continue
                blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
                row = connection.execute("INSERT INTO vectors (vector) VALUES (?)", (blob,)).lastrowid
                connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, row, len(blob), now))
        self._shrink(connection)

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Evict down to 90 % of the limit once it is passed; freed pages are used again by later writes."""
        pages, free = _scalar(connection, "PRAGMA page_count"), _scalar(connection, "PRAGMA freelist_count")
        held = (pages - free) * _PAGE_BYTES
        if held > self.max_bytes:
            _evict(connection, 1.0 - _EVICT_TO * self.max_bytes / held)
        # The file itself is over the limit only after the limit was lowered or passed: cut what is free.
        excess = _scalar(connection, "PRAGMA page_count") - self.max_bytes // _PAGE_BYTES
        if excess > 0:
            # `execute` would stop after one page: this pragma has a step a page and no column.
            connection.executescript(f"PRAGMA incremental_vacuum({excess})")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Run `action`; on a corrupt file run it again on a fresh one; on any other failure give up."""
        with self._lock:
            if not self.enabled:
                return otherwise
            try:
                try:
                    return action(self._connect())
                except sqlite3.DatabaseError as error:
                    if _code(error) not in _CORRUPT:
                        raise
                    self._set_aside(error)
                    return action(self._connect())
            except (sqlite3.Error, OSError) as error:
                self.close()
                self._broken = True
                warnings.warn(
                    f"the feature cache {self.path} cannot be used ({error}), so features are computed anew; "
                    f"set {FOLDER_VARIABLE} to a folder that can be written, or to off.",
                    RuntimeWarning,
                    stacklevel=4,
                )
                return otherwise

    def _connect(self) -> sqlite3.Connection:
        assert self.path is not None  # noqa: S101 - held by `enabled`; tells the type checker
        if self._connection is None or self._process != os.getpid():
            # A connection must not be carried across a fork, nor closed there, which would drop its locks.
            _INHERITED.append(self._connection)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open(self.path)
            self._process = os.getpid()
        return self._connection

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Rename a corrupt file, unless another process has done so in the meantime."""
        from filelock import FileLock

        assert self.path is not None  # noqa: S101 - held by `enabled`; tells the type checker
        self.close()
        with FileLock(self.path.with_suffix(".lock"), timeout=_BUSY_SECONDS):
            if _is_sound(self.path):
                return
            aside = self.path.with_name(f"{self.path.name}.corrupt-{time.time_ns()}")
            self.path.replace(aside)
            for companion in _files(self.path)[1:]:
                companion.unlink(missing_ok=True)
        warnings.warn(
            f"the feature cache {self.path} is corrupt ({error}), so a fresh one was begun; "
            f"{aside.name} may be deleted.",
            RuntimeWarning,
            stacklevel=5,
        )


def _cache_file(folder: str | Path | None) -> Path | None:
    if folder is None:
        named = os.environ.get(FOLDER_VARIABLE, "").strip()
        if named.lower() in {"off", "0"}:
            return None
        if not named:
            from platformdirs import user_cache_dir

            named = user_cache_dir("llmhash", appauthor=False)
        folder = named
    return Path(folder).expanduser().absolute() / _FILE_NAME


def _cache_limit(max_bytes: int | None) -> int:
    if max_bytes is None:
        named = os.environ.get(SIZE_VARIABLE, "").strip()
        max_bytes = parse_size(named) if named else DEFAULT_MAX_BYTES
    if max_bytes < 1:
        raise InputError(f"the size of the feature cache must be above 0 bytes, not {max_bytes}.")
    return max_bytes


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # Both take effect only while the file is new; a kill then loses the running transaction at most.
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_sound(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        with contextlib.closing(_open(path)) as connection:
            return bool(_scalar(connection, "PRAGMA quick_check(1)") == "ok")
    except sqlite3.DatabaseError as error:
        if _code(error) in _CORRUPT:
            return False
        raise


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
    query = "SELECT key, vector, used FROM entries JOIN vectors USING (id) WHERE key IN " + _marks(len(keys))  # noqa: S608
    now = int(time.time())
    found: dict[bytes, NDArray[np.float32]] = {}
    stale: list[tuple[int, bytes]] = []
    for key, blob, used in connection.execute(query, keys):
        found[key] = np.frombuffer(blob, dtype="<f4")
        if now - used > _TOUCH_SECONDS:
            stale.append((now, key))
    if stale:
        with _transaction(connection):
            connection.executemany("UPDATE entries SET used = ? WHERE key = ?", stale)
    return found


def _present(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    present: set[bytes] = set()
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = "SELECT key FROM entries WHERE key IN " + _marks(len(chunk))  # noqa: S608
        present.update(row[0] for row in connection.execute(query, chunk))
    return present


def _evict(connection: sqlite3.Connection, share: float) -> None:
    """Remove the least recently used vectors that make up `share` of all bytes."""
    with _transaction(connection):
        total = _scalar(connection, "SELECT coalesce(sum(bytes), 0) FROM entries")
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS evicted (key BLOB, id INTEGER)")
        connection.execute(
            "INSERT INTO evicted SELECT key, id FROM"
            " (SELECT key, id, sum(bytes) OVER (ORDER BY used, id) - bytes AS before FROM entries)"
            " WHERE before < ?",
            (share * total,),
        )
        connection.execute("DELETE FROM vectors WHERE id IN (SELECT id FROM evicted)")
        connection.execute("DELETE FROM entries WHERE key IN (SELECT key FROM evicted)")
        connection.execute("DELETE FROM evicted")


def _clear(connection: sqlite3.Connection) -> int:
    with _transaction(connection):
        removed = connection.execute("DELETE FROM entries").rowcount
        connection.execute("DELETE FROM vectors")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return removed


def _marks(count: int) -> str:
    return "(" + ",".join("?" * count) + ")"


def _scalar(connection: sqlite3.Connection, query: str) -> Any:
    return connection.execute(query).fetchone()[0]


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary result code; the rest tells its variety.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _files(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
