"""A disk that is full, or refuses: one clear sentence, and the collection as it was."""

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection, rows_file
from llmhash.errors import StorageError

# Meets a limit on the size of files at each kind of write, and prints what it is told.
LIMITED = """
import resource, signal, sys
import numpy as np
from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng(0)

def codes(count):
    return Codes(rng.integers(0, 256, (count, 64), np.uint8), 512)

collection = Collection.create(sys.argv[1], bits=512, hasher_fingerprint="abc", fields=["n"])
collection.add(codes(3000), texts=["some text"] * 3000, metadata=[{"n": n} for n in range(3000)])
collection.delete([str(n) for n in range(100)])
before = list(collection.iterate())
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
for attempt in (
    lambda: collection.add(codes(2000)),
    lambda: collection.upsert(codes(2000), ids=[str(n) for n in range(2000)]),
    lambda: collection.delete([str(n) for n in range(100, 3000)]),
    lambda: collection.delete(where={"n": {">": 150}}),
    collection.compact,
    lambda: collection.declare(["m"]),
    lambda: collection.backup(sys.argv[1] + "-copy"),
):
    try:
        attempt()
    except StorageError as error:
        print(error)
    assert list(collection.iterate()) == before
    collection.verify()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
collection.add(codes(2000))
collection.compact()
assert collection.delete(where={"n": {">": 150}}) == 2849
assert len(collection) == 2051
collection.verify()
collection.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on resources")
def test_every_kind_of_write_at_a_limit(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "collection")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    outcomes = ["nothing was added"] * 2 + ["nothing was deleted"] * 2
    outcomes += ["nothing was changed", "nothing was declared", "no copy was made"]
    assert len(lines) == len(outcomes), lines
    for line, outcome in zip(lines, outcomes, strict=True):
        assert f"{outcome}; " in line
        assert "cannot be written" in line or "is full" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collection"]
    names = {path.name for path in (tmp_path / "collection").glob("*.bin")}
    assert names == {"codes-2.bin", "rows-2.bin"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    with pytest.raises(OSError, match="No space"), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_small_disk(small_disk, random_codes):
    codes, filler = random_codes(6000, 256), small_disk / "filler"
    with Collection.create(small_disk / "collection", bits=256, hasher_fingerprint="abc") as collection:
        collection.add(codes[:5000])
        collection.delete(["0"])
        fill(filler)
        before = collection.rows().tolist()
        known = [str(i + 1) for i in range(999)]
        for step, outcome in (
            (lambda: collection.add(codes), "nothing was added"),
            (lambda: collection.add(codes[:10], ids=list("abcdefghij")), "nothing was added"),
            (lambda: collection.upsert(codes[:999], ids=known), "nothing was added"),
            (collection.compact, "nothing was changed"),
            (lambda: collection.backup(small_disk / "copy"), "no copy was made"),
            (
                lambda: Collection.create(small_disk / "other", bits=256, hasher_fingerprint="abc"),
                "no collection was made",
            ),
        ):
            with pytest.raises(StorageError, match=f"is full: {outcome}; free some space and try again"):
                step()
            assert {path.name for path in small_disk.iterdir()} == {"collection", "filler"}
            assert [path.name for path in collection.path.glob("*.bin")] == ["codes-1.bin"]
            assert collection.rows().tolist() == before
            assert np.array_equal(collection.codes, codes.packed[:5000])
            collection.verify()
        filler.unlink()
        collection.add(codes[5000:])
        collection.compact()
        assert np.array_equal(collection.codes, codes.packed[1:])
        collection.verify()


class Full:
    """Stands in for a module's `os`: from the n-th sync on there is no space."""

    def __init__(self, syncs):
        self.left = syncs

    def fsync(self, descriptor):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.fsync(descriptor)

    def __getattr__(self, name):
        return getattr(os, name)


@pytest.mark.parametrize("step", ["add", "upsert", "compact", "create"])
@pytest.mark.parametrize("syncs", [0, 1])
def test_no_space_at_a_sync(create, random_codes, monkeypatch, step, syncs):
    collection = create(sidecar="int8", dim=2)
    vectors = np.ones((9, 2))
    collection.add(random_codes(9, 64), vectors=vectors)
    collection.delete(["3"])
    codes = Codes(random_codes(9, 64, seed=1).packed, 64)
    steps = {
        "add": lambda: collection.add(codes, vectors=vectors),
        "upsert": lambda: collection.upsert(codes, ids=list("012abcdef"), vectors=vectors),
        "compact": collection.compact,
        "create": lambda: create(name="other", sidecar="int8", dim=2),
    }
    before = list(collection.iterate())
    with monkeypatch.context() as patch:
        patch.setattr(rows_file, "os", Full(syncs))
        with pytest.raises(StorageError, match="is full: no"):
            steps[step]()
    assert not (collection.path.parent / "other").exists()
    assert sorted(path.name for path in collection.path.glob("*.bin")) == ["codes-1.bin", "vectors-1.bin"]
    assert list(collection.iterate()) == before
    collection.verify()
    steps[step]()
    collection.verify()
