"""A copy of a collection as of one commit, taken while others read and write it."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from llmhash.collection.disk import all_or_nothing, remove_contents, storage_errors, sync_file, sync_folder
from llmhash.collection.manifest import Manifest
from llmhash.collection.moment import Moment
from llmhash.collection.records import Records
from llmhash.collection.rows_file import RowsFile, RowsWriter
from llmhash.collection.view import committed_files, last_commit, superseded
from llmhash.errors import FormatError


def back_up(folder: Path, manifest: Manifest, records: Records, target: Path) -> None:
    """Copy the collection at `folder` to `target`, an empty folder outside of it, or none.

    What others derive from the rows, such as a graph, is left out: it is built again.

    Raises:
        FormatError: Something is corrupt; no copy is made.
        StorageError: The disk is full or cannot be written; no copy is made.
    """
    try:
        made = not target.exists()
        with storage_errors(target, "no copy was made"), all_or_nothing(target, made=made):
            target.mkdir(parents=True, exist_ok=True)
            while not _copy_commit(folder, manifest, records, target):
                remove_contents(target)
            for source in folder.iterdir():
                if source.is_dir():
                    _copy_tree(source, target / source.name)
            manifest.save(target)
            sync_folder(target.resolve().parent)
    except FormatError as error:
        # What is corrupt in the copy came from here.
        raise FormatError(str(error).replace(str(target), str(folder))) from error


def _copy_commit(folder: Path, manifest: Manifest, records: Records, target: Path) -> bool:
    """Copy the last commit's database and the files it needs; False where a compaction has removed one."""
    records.copy_to(target)
    with closing(Records(target, unshared=True)) as copy:
        with copy.moment() as moment:
            try:
                _copy_files(committed_files(folder, manifest, moment.state), moment, target)
            except FormatError:
                if not superseded(records, moment.state):
                    raise
                return False
        with last_commit(target, manifest, copy) as (moment, view):
            moment.verify(view.rows)
    return True


def _copy_files(files: dict[RowsFile, int], moment: Moment, target: Path) -> None:
    """Copy the first rows of each file; a block that does not match its checksum is not copied."""
    for source, rows in files.items():
        name = source.path.name
        with RowsWriter(source.at(target / name)) as writer:
            for block in source.blocks(rows, moment.checksums(name)):
                writer.write(block)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in [*target.rglob("*"), target]:
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
