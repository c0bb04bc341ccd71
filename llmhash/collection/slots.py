"""Where a row lies: rows number all insertions ever made, slots the places in the files of a generation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# Slots that are looked at at a time when new runs are made.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class SlotMap:
    """Rows and slots of a generation, as runs in which both count up by one.

    In the first generation, which no compaction has made, a slot is its row and there are no runs.

    Attributes:
        count: Slots.
        starts: int64 (runs,), the first slot of each run, ascending from 0.
        rows: int64 (runs,), the row in that slot, ascending.
    """

    count: int
    starts: Rows
    rows: Rows

    @classmethod
    def of_runs(cls, count: int, stored: NDArray[np.uint8] | None = None) -> SlotMap:
        """The map that a file of runs holds: uint8 (2 * runs, 8), all starts and then all rows."""
        if stored is None:
            return cls(count, np.empty(0, np.int64), np.empty(0, np.int64))
        numbers = stored.reshape(-1).view("<i8")
        return cls(count, numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :])

    def rows_of(self, slots: Rows) -> Rows:
        """The row in each slot, of the same shape; -1 stays -1. Slot `count` has the next row."""
        if len(self.starts) == 0:
            return slots
        run = np.searchsorted(self.starts, slots, side="right") - 1
        return np.where(slots < 0, slots, slots + self.rows[run] - self.starts[run])

    def slots_of(self, rows: Rows) -> Rows:
        """The slot of each row, of the same shape; -1 where the generation holds no such row."""
        if len(self.starts) == 0:
            return np.where((rows >= 0) & (rows < self.count), rows, -1)
        run = np.searchsorted(self.rows, rows, side="right") - 1
        slots = rows - self.rows[run] + self.starts[run]
        last = len(self.starts) - 1
        ends = np.where(run < last, self.starts[np.minimum(run + 1, last)], self.count)
        return np.where((run >= 0) & (slots < ends), slots, -1)

    def without(self, live: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """Starts and rows of the runs that are left when only the slots in `live` (count,) are kept.

        The last run is the one that later rows continue, even if none is left in it.
        """
        starts, rows, kept, shift = [], [], 0, -1
        for begin in range(0, self.count, _BLOCK):
            found = self.rows_of(begin + np.flatnonzero(live[begin : begin + _BLOCK]))
            slots = np.arange(kept, kept + len(found))
            shifts = found - slots
            changed = np.flatnonzero(np.diff(shifts, prepend=shift))
            starts.append(slots[changed])
            rows.append(found[changed])
            kept += len(found)
            shift = int(shifts[-1]) if len(found) else shift
        following = int(self.rows_of(np.array([self.count]))[0])
        if following - kept != shift:
            starts.append(np.array([kept]))
            rows.append(np.array([following]))
        return np.concatenate(starts), np.concatenate(rows)
