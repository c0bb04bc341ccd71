"""Holding everything that a collection stores against its checksums."""

from __future__ import annotations

from pathlib import Path

from llmhash.collection.manifest import Manifest
from llmhash.collection.moment import Moment
from llmhash.collection.records import Records
from llmhash.collection.view import committed_files, last_commit, superseded
from llmhash.errors import FormatError


def verify(folder: Path, manifest: Manifest, records: Records) -> None:
    """Read everything, as of the last commit.

    Raises:
        FormatError: Something is corrupt; the message names the file.
    """
    while True:
        with last_commit(folder, manifest, records) as (moment, view):
            try:
                _verify_files(folder, manifest, moment)
            except FormatError:
                # A compaction removes the files of the generation before it.
                if not superseded(records, moment.state):
                    raise
                continue
            moment.verify(view.rows)
        if Manifest.load(folder) != manifest:
            raise FormatError(f"{folder / 'collection.json'} has changed since it was opened; open it again.")
        return


def _verify_files(folder: Path, manifest: Manifest, moment: Moment) -> None:
    for file, rows in committed_files(folder, manifest, moment.state).items():
        file.verify(rows, moment.checksums(file.path.name))
