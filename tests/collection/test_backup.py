"""Backups: collections of their own, as of one commit, whatever is written meanwhile."""

import sqlite3
import threading

import numpy as np
import pytest

from llmhash.collection import Collection
from llmhash.collection import backup as module
from llmhash.errors import FormatError, InputError, StorageError


@pytest.fixture
def collection(create, random_codes):
    collection = create(sidecar="int8", dim=2, fields=["n"])
    collection.add(
        random_codes(100, 64),
        texts=[f"text {i}" for i in range(100)],
        metadata=[{"n": i} for i in range(100)],
        vectors=np.ones((100, 2)),
    )
    collection.delete(["3", "5"])
    (collection.path / "hasher" / "head").mkdir(parents=True)
    (collection.path / "hasher" / "head" / "weights").write_bytes(b"weights")
    (collection.path / "graph-1-100-00000000.usearch").write_bytes(b"derived")
    return collection


def contents(collection):
    rows = collection.rows()
    return list(collection.iterate()), collection.codes_at(rows).tolist(), collection.vectors(rows).tolist()


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_backup_is_a_collection(collection, tmp_path, random_codes, compacted, there):
    if compacted:
        collection.compact()
    target = tmp_path / "deep" / "copy"
    if there:
        target.mkdir(parents=True)
    with Collection.open(collection.path, readonly=True) as reader:
        reader.backup(target)
    names = {"collection.json", "records.sqlite", "hasher"}
    names |= {"codes-2.bin", "vectors-2.bin", "rows-2.bin"} if compacted else {"codes-1.bin", "vectors-1.bin"}
    assert {path.name for path in target.iterdir()} == names
    assert (target / "hasher" / "head" / "weights").read_bytes() == b"weights"
    with Collection.open(target) as copy:
        copy.verify()
        assert contents(copy) == contents(collection)
        assert copy.rows({"n": {"<": 10}}).tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
        copy.add(random_codes(1, 64), vectors=np.ones((1, 2)))
        copy.compact()
        copy.verify()
    assert len(collection) == 98


def test_a_backup_while_others_write(collection, tmp_path, random_codes):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            ids = [f"w{number}-{i}" for i in range(10)]
            collection.upsert(random_codes(10, 64), ids=ids, texts=ids, vectors=np.ones((10, 2)))
            collection.delete(ids[:5])
            collection.compact()
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            collection.backup(tmp_path / f"copy{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        with Collection.open(tmp_path / f"copy{number}", readonly=True) as copy:
            copy.verify()
            # Whole batches: all ten of the last one, or the five that are left of it.
            assert (len(copy) - 98) % 5 == 0
            assert copy.get(["0"])[0].text == "text 0"


def test_a_compaction_in_between_is_caught_up_with(collection, tmp_path, monkeypatch):
    original = module.committed_files
    seen = []

    def committed_files(folder, manifest, state):
        seen.append(state.generation)
        if len(seen) == 1:
            collection.compact()
        return original(folder, manifest, state)

    monkeypatch.setattr(module, "committed_files", committed_files)
    collection.backup(tmp_path / "copy")
    assert seen == [1, 2]
    with Collection.open(tmp_path / "copy") as copy:
        copy.verify()
        assert contents(copy) == contents(collection)
    assert not list((tmp_path / "copy").glob("*-1.bin"))


def test_taken_targets_are_refused(collection, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for target in (tmp_path / "full", collection.path, tmp_path / "full" / "mine.txt"):
        with pytest.raises(InputError, match="not an empty folder"):
            collection.backup(target)
    with pytest.raises(InputError, match="within the collection"):
        collection.backup(collection.path / "copy")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_what_is_corrupt_is_not_copied(collection, tmp_path):
    collection.close()
    with sqlite3.connect(collection.path / "records.sqlite") as connection:
        connection.execute("UPDATE documents SET text = 'other' WHERE row = 7")
    connection.close()
    target = tmp_path / "copy"
    with Collection.open(collection.path) as damaged:
        with pytest.raises(FormatError, match=f"^{collection.path / 'records.sqlite'} is corrupt"):
            damaged.backup(target)
        assert not target.exists()
        target.mkdir()
        with pytest.raises(FormatError):
            damaged.backup(target)
        assert list(target.iterdir()) == []


def test_a_target_that_cannot_be_written(collection, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="no copy was made"):
        collection.backup(tmp_path / "file" / "copy")
