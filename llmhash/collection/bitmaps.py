"""Filters as bitmaps over the slots of a generation, kept for the next search with the same filter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.filters import Filter
from llmhash.collection.moment import Moment
from llmhash.collection.view import Mask, View

#: Bytes of bitmaps that a handle keeps: some fifty filters over 10 million documents.
LIMIT_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class _Bitmap:
    """The slots that satisfied a filter, a bit a slot, as of a commit of the generation.

    A row never changes within a generation but for being deleted, so a bitmap serves every later commit: what
    is deleted since is no document, and only newer rows have to be asked for.
    """

    bits: NDArray[np.uint8]
    generation: int
    slots: int
    next_row: int
    deleted: int

    def serves(self, view: View) -> bool:
        """Whether the view is of the same commit or a later one of the generation."""
        state = view.state
        older = self.slots <= state.slots and self.deleted <= state.slots - state.documents
        return older and self.generation == state.generation

    def later_than(self, view: View) -> bool:
        """Whether the view is of an earlier commit."""
        generation = view.state.generation
        return self.generation > generation or (self.generation == generation and not self.serves(view))


class Bitmaps:
    """The bitmaps of a handle, the least recently used ones dropped. Threads may share it."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Bitmap] = OrderedDict()
        self._bytes = 0

    def mask(self, condition: Filter, moment: Moment, view: View) -> Mask:
        """The slots of `view` whose documents satisfy `condition`, bool (slots,).

        A slot of no document may be in it or not.

        Args:
            condition: The filter.
            moment: The database as of the commit of `view`.
            view: The rows.
        """
        with self._lock:
            known = self._kept.get(condition.key)
            if known is not None:
                self._kept.move_to_end(condition.key)
        if known is not None and known.serves(view):
            mask = np.unpackbits(known.bits, count=view.state.slots).view(np.bool_)
            first, slot = known.next_row, known.slots
            if slot == view.state.slots:
                return mask
        else:
            mask = np.empty(view.state.slots, np.bool_)
            first, slot = 0, 0
        rows, satisfying = moment.matching(condition, first)
        mask[slot:] = not satisfying
        mask[view.rows.slots_of(rows)] = satisfying
        self._keep(condition.key, mask, view)
        return mask

    def _keep(self, key: str, mask: Mask, view: View) -> None:
        state = view.state
        deleted = state.slots - state.documents
        bitmap = _Bitmap(np.packbits(mask), state.generation, state.slots, state.next_row, deleted)
        with self._lock:
            known = self._kept.get(key)
            if known is not None and known.later_than(view):
                return
            self._drop(key)
            self._kept[key] = bitmap
            self._bytes += bitmap.bits.nbytes
            while self._bytes > self._limit:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.bits.nbytes
