"""Compaction: the files of a generation written anew without the deleted rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmhash.collection.disk import sync_folder
from llmhash.collection.manifest import Manifest
from llmhash.collection.records import Records
from llmhash.collection.rows_file import BLOCK_ROWS, RowsFile, RowsWriter
from llmhash.collection.view import Mask, View, files_of, runs_file
from llmhash.collection.writing import remove_superseded


def compact(folder: Path, manifest: Manifest, records: Records, view: View) -> None:
    """Put a new generation in force that holds the documents of `view`, the last commit, and nothing else.

    The caller is the writer. Files are streamed and complete before one transaction puts them in force; until
    then, and for readers that have the old ones mapped also afterwards, the old generation is what counts.

    Raises:
        FormatError: A block of the old files is corrupt: it is not sealed by a new checksum.
    """
    state, live = view.state, view.live
    if live is None:
        return
    generation = state.generation + 1
    try:
        with records.moment() as moment:
            stored = {
                kind: (file, moment.checksums(file.path.name))
                for kind, file in files_of(folder, manifest, state.generation).items()
            }
        written: dict[str, dict[int, int]] = {}
        for kind, target in files_of(folder, manifest, generation).items():
            source, checksums = stored[kind]
            written[target.path.name] = _copy_live(source, checksums, target, live)
        runs = np.concatenate(view.rows.without(live)).astype("<i8")
        target = runs_file(folder, generation)
        with RowsWriter(target) as writer:
            writer.write(runs.view(np.uint8).reshape(-1, 8))
        written[target.path.name] = writer.checksums
        sync_folder(folder)
        with records.transaction() as transaction:
            transaction.begin_generation(generation, state.documents, len(runs) // 2)
            for name, sums in written.items():
                transaction.put_checksums(name, list(sums.items()))
    finally:
        # Of the two generations, that which is not in force, whichever way this ended.
        remove_superseded(folder, records)
    records.shrink()


def _copy_live(source: RowsFile, checksums: dict[int, int], target: RowsFile, live: Mask) -> dict[int, int]:
    """Write the rows of `source` that are live to `target`, and return its checksums."""
    with RowsWriter(target) as writer:
        for block, rows in enumerate(source.blocks(len(live), checksums)):
            start = block * BLOCK_ROWS
            writer.write(rows[live[start : start + len(rows)]])
    return writer.checksums
