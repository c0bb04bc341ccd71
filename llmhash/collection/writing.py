"""Putting documents into a collection's files and database, and taking them out."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.collection.batch import Batch
from llmhash.collection.manifest import Manifest
from llmhash.collection.records import Records
from llmhash.collection.rows_file import RowsFile, block_checksums
from llmhash.collection.sidecar import check_vectors, encode_vectors
from llmhash.errors import InputError

_FILE = re.compile(r"(?:codes|vectors|rows)-(\d+)\.bin")


def stored_rows(
    folder: Path, manifest: Manifest, codes: Codes, vectors: ArrayLike | None
) -> dict[str, NDArray[np.uint8]]:
    """The rows to append to each file, uint8 (n, row bytes).

    Raises:
        InputError: The codes or vectors do not fit the collection.
    """
    if codes.bits != manifest.bits:
        raise InputError(f"the collection holds codes of {manifest.bits} bits, not {codes.bits}.")
    rows = {"codes": codes.packed}
    if (vectors is None) != (manifest.sidecar is None):
        wanted = "needs the vectors" if vectors is None else "keeps no vectors"
        raise InputError(f"{folder} {wanted} of its documents: its sidecar is {manifest.sidecar}.")
    if vectors is not None and manifest.sidecar is not None:
        checked = check_vectors(vectors, manifest.dim)
        if len(checked) != len(codes):
            raise InputError(f"there are {len(codes)} documents but {len(checked)} vectors.")
        rows["vectors"] = encode_vectors(manifest.sidecar, checked.astype(np.float32, copy=False))
    return rows


def insert(
    records: Records,
    files: dict[str, RowsFile],
    batch: Batch,
    rows: dict[str, NDArray[np.uint8]],
    *,
    replace: bool = False,
) -> list[str]:
    """Append the documents of a batch and commit; with `replace`, in place of those that have their ids.

    Args:
        records: The database.
        files: The files of the generation in force.
        batch: The documents.
        rows: What is appended to each file, uint8 (n, row bytes).
        replace: Delete documents under these ids rather than refuse the batch.

    Returns:
        The ids.

    Raises:
        InputError: An id is taken.
    """
    replaced = np.empty(0, np.int64)
    with records.moment() as moment:
        state = moment.state
        if batch.ids is None:
            names = moment.running_ids(batch.size)
        else:
            names = batch.ids
            if replace:
                known = moment.find(names)
                replaced = known[known >= 0]
            else:
                moment.refuse_known(names)
    for kind, file in files.items():
        file.append(rows[kind], state.slots)
    with records.transaction() as transaction:
        transaction.delete(replaced)
        transaction.insert(batch, names, state)
        for kind, file in files.items():
            unfinished = transaction.unfinished_checksum(file.path.name, state.slots)
            checksums = block_checksums(rows[kind], state.slots, unfinished)
            transaction.put_checksums(file.path.name, checksums)
    return names


def remove_superseded(folder: Path, records: Records) -> None:
    """Remove the files of rows of every generation but the one in force. The caller is the writer.

    A reader that has mapped one keeps it. Where the system does not let go of it, the next writer will.
    """
    with records.moment() as moment:
        generation = moment.state.generation
    with suppress(OSError):
        for path in folder.iterdir():
            name = _FILE.fullmatch(path.name)
            if name and int(name[1]) != generation:
                with suppress(OSError):
                    path.unlink()
