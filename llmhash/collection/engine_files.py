"""What a collection's engine derives from the codes, a graph or tables: it may be lost and is built again."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from llmhash.collection.view import View
from llmhash.errors import LlmhashError
from llmhash.index import MihIndex, choose_engine, load_index, make_index
from llmhash.index.approximate import DistinctCodesIndex

# A file names what it was built from: <engine>-<generation>-<rows>-<checksum of their codes>.index. Whether
# it is whole, the index checks as it loads.
Derived = MihIndex | DistinctCodesIndex

_NAME = re.compile(r"([a-z-]+)-(\d+)-(\d+)-([0-9a-f]{8})\.index")
# It is saved when it has grown by this share since it was last, and when the collection is closed.
_SAVE_SHARE = 0.125


class EngineFiles:
    """An engine's index that is kept up with the rows in memory and, with `save`, on the disk."""

    def __init__(self, folder: Path, engine: str, bits: int, *, save: bool) -> None:
        self._folder = folder
        self._automatic = engine == "auto"
        self._engine = "mih" if self._automatic else engine
        self._bits = bits
        self._may_save = save
        self._lock = threading.Lock()
        self._index: Derived | None = None
        self._view: View | None = None
        self._saved_rows = 0

    def serves(self, codes: int, k: int) -> bool:
        """Whether the engine, rather than the flat scan, is to find `k` neighbours among so many codes."""
        return not self._automatic or choose_engine(codes, self._bits, k) == self._engine

    @contextmanager
    def over(self, latest: Callable[[], View]) -> Iterator[tuple[View, Derived]]:
        """The view that `latest` gives and the index over exactly its rows: loaded, topped up or built.

        Threads take turns where an index that another thread has topped up does not fit an older view.
        """
        with self._lock:
            view = latest()
            index = self._up_to_date(view)
            if not isinstance(index, MihIndex):
                yield view, index
                return
        # Tables are not changed when rows come; a longer view gets an index of its own over them.
        yield view, index

    def save(self) -> None:
        """Save what is not saved yet."""
        with self._lock:
            self._save()

    def _up_to_date(self, view: View) -> Derived:
        index, rows = self._index, len(view.codes)
        outdated = self._view is not None and self._view.state.generation != view.state.generation
        if index is None or outdated or len(index) > rows:
            index = self._load(view)
        if len(index) < rows and isinstance(index, MihIndex):
            index = index.over(view.codes)
            if index.outgrown:
                index.rebuild()
        elif len(index) < rows:
            index.add(view.codes[len(index) :])
        self._index, self._view = index, view
        if _built(index) - self._saved_rows > _SAVE_SHARE * rows:
            self._save()
        return index

    def _load(self, view: View) -> Derived:
        """The largest saved index over rows of `view` that is whole, or an empty one."""
        names = [_NAME.fullmatch(path.name) for path in self._folder.glob(f"{self._engine}-*")]
        fitting = [(int(name[3]), name[0]) for name in names if name and int(name[3]) <= len(view.codes)]
        for rows, name in sorted(fitting, reverse=True):
            if name == self._name(view, rows):
                # One that another process replaces at this moment, or a broken one, is built again.
                with suppress(OSError, LlmhashError):
                    index = load_index(self._engine, self._folder / name, view.codes[:rows], self._bits)
                    self._saved_rows = rows
                    return index
        self._saved_rows = 0
        # Of all engines only the flat one derives nothing, and it has no `EngineFiles`.
        return cast(Derived, make_index(self._engine, self._bits))

    def _save(self) -> None:
        """Put the index beside the rows; older ones go. Readers have theirs in memory or mapped."""
        index, view = self._index, self._view
        if not self._may_save or index is None or view is None or _built(index) == self._saved_rows:
            return
        name = self._name(view, _built(index))
        # A full disk or a folder without write permission costs the next process a build, no more.
        with suppress(OSError):
            index.save(self._folder / name)
            self._saved_rows = _built(index)
            for path in self._folder.glob(f"{self._engine}-*"):
                if path.name != name:
                    path.unlink(missing_ok=True)

    def _name(self, view: View, rows: int) -> str:
        checksum = zlib.crc32(view.codes[:rows].data)
        return f"{self._engine}-{view.state.generation}-{rows}-{checksum:08x}.index"


def _built(index: Derived) -> int:
    """The rows that the index's file would hold: tables do not hold the rows that came since."""
    return index.built_rows if isinstance(index, MihIndex) else len(index)
