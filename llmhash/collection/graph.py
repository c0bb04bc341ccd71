"""The graph of a collection whose engine is "usearch": derived from the codes, so it may be lost."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmhash.collection.view import View
from llmhash.errors import LlmhashError
from llmhash.index import UsearchIndex

# A graph names what it was built from: graph-<generation>-<rows>-<checksum of their codes>. Whether it is
# whole, the index checks as it loads.
_NAME = re.compile(r"graph-(\d+)-(\d+)-([0-9a-f]{8})\.usearch")
# A graph is saved when it has grown by this share since it was last, and when the collection is closed.
_SAVE_SHARE = 0.125


class Graph:
    """A USearch graph that is kept up with the rows in memory and, with `save`, on the disk."""

    def __init__(self, folder: Path, bits: int, *, save: bool) -> None:
        self._folder = folder
        self._bits = bits
        self._may_save = save
        self._lock = threading.Lock()
        self._index: UsearchIndex | None = None
        self._view: View | None = None
        self._saved_rows = 0

    @contextmanager
    def over(self, latest: Callable[[], View]) -> Iterator[tuple[View, UsearchIndex]]:
        """The view that `latest` gives and the graph over exactly its rows: loaded, topped up or built.

        Threads take turns, for a graph that another thread has topped up does not fit an older view.
        """
        with self._lock:
            view = latest()
            index, rows = self._index, len(view.codes)
            outdated = self._view is not None and self._view.state.generation != view.state.generation
            if index is None or outdated or len(index) > rows:
                index = self._load(view)
            if len(index) < rows:
                index.add(view.codes[len(index) :])
            self._index, self._view = index, view
            if rows - self._saved_rows > _SAVE_SHARE * rows:
                self._save()
            yield view, index

    def save(self) -> None:
        """Save what is not saved yet."""
        with self._lock:
            self._save()

    def _load(self, view: View) -> UsearchIndex:
        """The largest saved graph over rows of `view` that is whole, or an empty one."""
        names = [_NAME.fullmatch(path.name) for path in self._folder.glob("graph-*")]
        fitting = [(int(name[2]), name[0]) for name in names if name and int(name[2]) <= len(view.codes)]
        for rows, name in sorted(fitting, reverse=True):
            if name == _name(view, rows):
                # A graph that another process replaces at this moment, or a broken one, is built again.
                with suppress(OSError, LlmhashError):
                    index = UsearchIndex.load(self._folder / name)
                    if index.bits == self._bits and len(index) == rows:
                        self._saved_rows = rows
                        return index
        self._saved_rows = 0
        return UsearchIndex(self._bits)

    def _save(self) -> None:
        """Put the graph beside the rows; older ones go. Readers that loaded them have them in memory."""
        index, view = self._index, self._view
        if not self._may_save or index is None or view is None or len(index) == self._saved_rows:
            return
        name = _name(view, len(index))
        # A full disk or a folder without write permission costs the next process a build, no more.
        with suppress(OSError):
            index.save(self._folder / name)
            self._saved_rows = len(index)
            for path in self._folder.glob("graph-*"):
                if path.name != name:
                    path.unlink(missing_ok=True)


def _name(view: View, rows: int) -> str:
    checksum = zlib.crc32(view.codes[:rows].data)
    return f"graph-{view.state.generation}-{rows}-{checksum:08x}.usearch"
