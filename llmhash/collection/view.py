"""The rows of one commit, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code
from llmhash.collection.manifest import Manifest
from llmhash.collection.moment import Moment, State
from llmhash.collection.records import Records
from llmhash.collection.rows_file import RowsFile
from llmhash.collection.sidecar import row_dtype
from llmhash.collection.slots import SlotMap
from llmhash.errors import FormatError
from llmhash.index import FlatIndex
from llmhash.index.checks import allowed_rows

Allow = NDArray[np.bool_] | NDArray[np.int64]
Mask = NDArray[np.bool_]

_VECTOR_MAGIC = {"int8": b"LLMHVEI8", "float16": b"LLMHVEF2"}


def files_of(folder: Path, manifest: Manifest, generation: int) -> dict[str, RowsFile]:
    """The files of rows of a generation: "codes", and "vectors" where there is a sidecar."""
    width = bytes_per_code(manifest.bits)
    path = folder / f"codes-{generation}.bin"
    files = {"codes": RowsFile(path, b"LLMHCODE", manifest.bits, width, generation)}
    if manifest.sidecar is not None and manifest.dim is not None:
        path = folder / f"vectors-{generation}.bin"
        width = row_dtype(manifest.sidecar, manifest.dim).itemsize
        files["vectors"] = RowsFile(path, _VECTOR_MAGIC[manifest.sidecar], manifest.dim, width, generation)
    return files


def runs_file(folder: Path, generation: int) -> RowsFile:
    """The file that leads from the slots of a generation to rows; the first generation has none."""
    return RowsFile(folder / f"rows-{generation}.bin", b"LLMHROWS", 1, 8, generation)


def committed_files(folder: Path, manifest: Manifest, state: State) -> dict[RowsFile, int]:
    """All files that a commit needs beside the database, and how many rows of each."""
    files = dict.fromkeys(files_of(folder, manifest, state.generation).values(), state.slots)
    if state.runs:
        files[runs_file(folder, state.generation)] = 2 * state.runs
    return files


@dataclass(frozen=True, eq=False)
class View:
    """What a search reads. A slot is a place in the files, a row the number of an insertion.

    Attributes:
        bits: Bits of a code.
        state: The commit's counters.
        codes: uint8 (slots, ceil(bits / 8)).
        vectors: The sidecar's rows, uint8 (slots, row bytes), or None.
        rows: Which slot holds which row.
        live: bool (slots,), which slots hold documents; None where all do.
        deletions: The number of the last deletion that `live` knows.
    """

    bits: int
    state: State
    codes: NDArray[np.uint8]
    vectors: NDArray[np.uint8] | None
    rows: SlotMap
    live: Mask | None
    deletions: int

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, moment: Moment, previous: View | None = None) -> View:
        """Map what is committed; a `previous` view of the same generation saves most of the work.

        Raises:
            FormatError: A file is missing, truncated, foreign, corrupt or newer than this version.
        """
        state = moment.state
        if previous is not None and previous.state == state:
            return previous
        if previous is not None and previous.state.generation != state.generation:
            previous = None
        files = files_of(folder, manifest, state.generation)
        codes = files["codes"].map(state.slots)
        vectors = files["vectors"].map(state.slots) if "vectors" in files else None
        runs = runs_file(folder, state.generation).map(2 * state.runs) if state.runs else None
        rows = SlotMap.of_runs(state.slots, runs)
        live, deletions = _live(moment, rows, previous)
        return cls(manifest.bits, state, codes, vectors, rows, live, deletions)

    @cached_property
    def checked(self) -> Codes:
        """`codes` as codes whose padding bits have been looked at, once for all searches."""
        return Codes(self.codes, self.bits)

    @cached_property
    def flat(self) -> FlatIndex:
        """The exact index over `codes`, made on demand: some widths must be copied for it."""
        return FlatIndex.from_packed(self.codes, self.bits)

    def allowed(
        self, allow: Allow | None = None, deny: Allow | None = None, matching: Mask | None = None
    ) -> Mask | None:
        """The mask over the slots that hold documents and satisfy all of these; None for all slots.

        Args:
            allow: Only these: a boolean mask over the slots, or rows.
            deny: None of these, likewise.
            matching: Only these, a boolean mask over the slots.
        """
        mask = allowed_rows(self._in_slots(allow), len(self.codes), deny=self._in_slots(deny))
        for other in (matching, self.live):
            if other is not None:
                mask = other if mask is None else mask & other
        return mask

    def as_rows(self, selection: Allow | None) -> Allow | None:
        """A boolean mask over the slots of this view as rows, which mean the same in any view."""
        if selection is None or np.asarray(selection).dtype != np.bool_:
            return selection
        mask = allowed_rows(selection, len(self.codes))
        slots = np.arange(len(self.codes)) if mask is None else np.flatnonzero(mask)
        return self.rows.rows_of(slots)

    def documents(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of each row, of the same shape; -1 where the row is no document's."""
        slots = self.rows.slots_of(rows)
        if self.live is not None and len(self.live):
            slots = np.where((slots >= 0) & self.live[slots], slots, -1)
        return slots

    def _in_slots(self, selection: Allow | None) -> Allow | None:
        if selection is None or np.asarray(selection).dtype.kind not in "iu":
            return selection
        return self.rows.slots_of(np.asarray(selection, dtype=np.int64))


def _live(moment: Moment, rows: SlotMap, previous: View | None) -> tuple[Mask | None, int]:
    """The mask over the slots that hold documents, and the last deletion that it knows."""
    state, seen = moment.state, 0 if previous is None else previous.deletions
    if state.documents == state.slots:
        return None, seen
    deleted, seen = moment.deleted(seen)
    live = np.ones(state.slots, dtype=np.bool_)
    if previous is not None and previous.live is not None:
        live[: len(previous.live)] = previous.live
    slots = rows.slots_of(deleted)
    live[slots[slots >= 0]] = False
    return live, seen


@contextmanager
def last_commit(
    folder: Path, manifest: Manifest, records: Records, previous: View | None = None
) -> Iterator[tuple[Moment, View]]:
    """The database and the files as of the last commit.

    Raises:
        FormatError: A file is missing, truncated, foreign, corrupt or newer than this version.
    """
    while True:
        with records.moment() as moment:
            try:
                view = View.of(folder, manifest, moment, previous)
            except FormatError:
                # A compaction removes the files of the generation before it.
                if not superseded(records, moment.state):
                    raise
                continue
            yield moment, view
            return


def superseded(records: Records, state: State) -> bool:
    """Whether another generation has come into force since `state`."""
    with records.moment() as moment:
        return moment.state.generation != state.generation
