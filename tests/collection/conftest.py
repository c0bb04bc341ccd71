"""Codes, collections and writer processes for the tests of the store."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection

# A process that adds batches of rows which anyone can compute again, and prints how many are acknowledged.
# With a point, it kills itself there in the batch numbered `fatal`.
WRITER = """
import os, signal, sys
import numpy as np
from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.collection.records import Transaction
from llmhash.collection.rows_file import RowsFile

path, point = sys.argv[1:3]
batches, size, fatal = map(int, sys.argv[3:])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def patch(owner, name, before=None, after=None):
    original = getattr(owner, name)
    def patched(self, *args):
        if armed and before:
            before(self, *args)
        result = original(self, *args)
        if armed and after:
            after(self, *args)
        return result
    setattr(owner, name, patched)

def half_append(self, rows, at):
    with self.path.open("r+b") as file:
        file.seek(64 + at * self.row_bytes)
        file.write(rows.tobytes()[: rows.nbytes // 2])
    die()

armed = False
if point == "half an append":
    patch(RowsFile, "append", before=half_append)
elif point == "after the append":
    patch(RowsFile, "append", after=lambda *_: die())
elif point == "within the transaction":
    patch(Transaction, "insert", after=lambda *_: die())
elif point == "before the commit":
    patch(Transaction, "put_checksums", after=lambda *_: die())

with Collection.open(path) as collection:
    first = len(collection)
    for batch in range(batches):
        numbers = np.arange(first + batch * size, first + (batch + 1) * size)
        codes = Codes((numbers[:, None] * 37 >> np.array([0, 8, 16]) & 255).astype(np.uint8), 24)
        armed = batch == fatal
        collection.add(
            codes,
            ids=[f"id-{n}" for n in numbers],
            texts=[f"text {n}" for n in numbers],
            metadata=[{"number": int(n)} for n in numbers],
        )
        if batch == fatal and point == "after the commit":
            die()
        print(len(collection), flush=True)
"""


def numbered_codes(rows: np.ndarray) -> np.ndarray:
    """The packed codes of 24 bits that WRITER gives the rows."""
    return (rows[:, None] * 37 >> np.array([0, 8, 16]) & 255).astype(np.uint8)


@pytest.fixture
def start_writer() -> Iterator[Callable[..., subprocess.Popen]]:
    started = []

    def start(path: Path, batches: int, size: int, point: str = "never", fatal: int = -1) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER, str(path), point, str(batches), str(size), str(fatal)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def check_numbered() -> Callable[[Collection], None]:
    """Checks that a collection holds what WRITER adds, whole and in order, and nothing else."""

    def check(collection: Collection) -> None:
        rows = np.arange(len(collection))
        assert np.array_equal(collection.codes, numbered_codes(rows))
        records = collection.records(rows)
        assert [r.id for r in records] == [f"id-{n}" for n in rows]
        assert [r.text for r in records] == [f"text {n}" for n in rows]
        assert [r.metadata for r in records] == [{"number": n} for n in rows]

    return check


@pytest.fixture
def random_codes() -> Callable[..., Codes]:
    def make(count: int, bits: int, seed: int = 0) -> Codes:
        return Codes.pack(np.random.default_rng(seed).random((count, bits)) < 0.5)

    return make


@pytest.fixture
def create(tmp_path: Path) -> Iterator[Callable[..., Collection]]:
    """Makes collections under tmp_path, closed at the end."""
    made = []

    def make(bits: int = 64, name: str = "collection", **settings) -> Collection:
        collection = Collection.create(tmp_path / name, bits=bits, hasher_fingerprint="abc", **settings)
        made.append(collection)
        return collection

    yield make
    for collection in made:
        collection.close()


@pytest.fixture
def edit_json() -> Callable[..., None]:
    def edit(path: Path, **changes) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit
