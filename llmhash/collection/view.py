"""The rows of one commit, memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code
from llmhash.collection.manifest import Manifest
from llmhash.collection.records import Records, State
from llmhash.collection.rows_file import RowsFile
from llmhash.collection.sidecar import row_dtype
from llmhash.index import FlatIndex
from llmhash.index.checks import allowed_rows

Allow = NDArray[np.bool_] | NDArray[np.int64]

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


@dataclass(frozen=True, eq=False)
class View:
    """What a search reads.

    Attributes:
        bits: Bits of a code.
        state: The commit's counters.
        codes: uint8 (slots, ceil(bits / 8)).
        vectors: The sidecar's rows, uint8 (slots, row bytes), or None.
        live: bool (slots,), which rows are documents; None where all are.
    """

    bits: int
    state: State
    codes: NDArray[np.uint8]
    vectors: NDArray[np.uint8] | None
    live: NDArray[np.bool_] | None

    @classmethod
    def of_last_commit(cls, folder: Path, manifest: Manifest, records: Records) -> View:
        """Map what is committed.

        Raises:
            FormatError: A file is missing, truncated, foreign, corrupt or newer than this version.
        """
        with records.one_moment():
            state = records.state()
            deleted = records.deleted() if state.documents < state.slots else None
        files = files_of(folder, manifest, state.generation)
        for file in files.values():
            file.check(state.slots)
        live = None
        if deleted is not None:
            live = np.ones(state.slots, dtype=np.bool_)
            live[deleted] = False
        codes = files["codes"].map(state.slots)
        vectors = files["vectors"].map(state.slots) if "vectors" in files else None
        return cls(manifest.bits, state, codes, vectors, live)

    @cached_property
    def checked(self) -> Codes:
        """`codes` as codes whose padding bits have been looked at, once for all searches."""
        return Codes(self.codes, self.bits)

    @cached_property
    def flat(self) -> FlatIndex:
        """The exact index over `codes`, made on demand: some widths must be copied for it."""
        return FlatIndex.from_packed(self.codes, self.bits)

    def allowed(self, allow: Allow | None) -> NDArray[np.bool_] | None:
        """The mask over the rows that `allow` stands for, without deleted ones; None for all rows."""
        mask = allowed_rows(allow, self.state.slots)
        if self.live is None:
            return mask
        return self.live if mask is None else self.live & mask
