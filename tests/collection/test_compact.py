"""Compaction: a new generation of files without the deleted rows, or the old one untouched."""

from pathlib import Path

import numpy as np
import pytest

from llmhash.collection import Collection
from llmhash.collection.compaction import RowsWriter
from llmhash.collection.rows_file import BLOCK_ROWS
from llmhash.collection.scoring import best_documents
from llmhash.collection.transaction import Transaction


def files(collection):
    return sorted(path.name for path in collection.path.glob("*.bin"))


def snapshot_of(collection):
    rows = collection.rows()
    return rows.tolist(), list(collection.iterate()), collection.codes_at(rows).tolist()


@pytest.fixture
def holed(create, random_codes):
    """A collection of 300 documents and a sidecar, every third of which is deleted."""
    collection = create(40, sidecar="float16", dim=3)
    vectors = np.arange(900).reshape(300, 3)
    texts = [f"text {i}" for i in range(300)]
    collection.add(random_codes(300, 40), texts=texts, vectors=vectors)
    collection.delete([str(i) for i in range(0, 300, 3)])
    return collection


def test_rows_and_results_stay(holed, random_codes):
    queries = random_codes(5, 40, seed=1)
    before, found = snapshot_of(holed), holed.search(queries, 250)
    within, logits = holed.range_search(queries, 18), queries.to_pm1(np.float32)
    scored = holed.asymmetric_search(logits, 250)
    holed.compact()
    assert files(holed) == ["codes-2.bin", "rows-2.bin", "vectors-2.bin"]
    assert (holed.path / "codes-2.bin").stat().st_size == 64 + 200 * 5
    holed.verify()
    for collection in (holed, Collection.open(holed.path, readonly=True)):
        assert snapshot_of(collection) == before
        assert len(collection) == len(collection.codes) == 200
        for old, new in zip(
            (*found, *within, *scored),
            (
                *collection.search(queries, 250),
                *collection.range_search(queries, 18),
                *collection.asymmetric_search(logits, 250),
            ),
            strict=True,
        ):
            assert np.array_equal(old, new)
        rows = np.array([299, 1, 2])
        assert collection.vectors(rows).tolist() == (rows[:, None] * 3 + np.arange(3)).tolist()
        assert collection.search(queries, 3, allow=np.array([0, 1, 3, 4]))[1][0, 2] == -1
        assert np.isfinite(collection.rescore(logits[:1], scored[1][:1, :200])).all()
        assert np.isneginf(collection.rescore(logits[:1], np.array([[0, -1]]))).all()


def test_scorings_are_the_same_afterwards(holed, random_codes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 40)).astype(np.float32)
    features = rng.normal(size=(4, 3)).astype(np.float32)
    ways = ("hamming", "asymmetric", "asymmetric_scan", "float16")
    before = [best_documents(holed, how, logits, features, 20) for how in ways]
    holed.compact()
    for how, (scores, rows) in zip(ways, before, strict=True):
        after = best_documents(holed, how, logits, features, 20)
        assert np.array_equal(after[0], scores)
        assert np.array_equal(after[1], rows)


def test_life_goes_on_after_it(holed, random_codes):
    for generation in range(2, 6):
        holed.compact()
        assert files(holed) == [f"{name}-{generation}.bin" for name in ("codes", "rows", "vectors")]
        codes = random_codes(4, 40, seed=generation)
        ids = [f"{generation}-{i}" for i in range(4)]
        holed.add(codes, ids=ids, vectors=np.ones((4, 3)))
        rows = holed.find(ids)
        assert rows.tolist() == list(range(300 + 4 * (generation - 2), 304 + 4 * (generation - 2)))
        assert np.array_equal(holed.codes_at(rows), codes.packed)
        holed.delete([ids[1], ids[3], str(generation * 9 + 1)])
        holed.verify()
    assert holed.info()["generation"] == 5


def test_nothing_to_do(create, random_codes):
    collection = create()
    collection.compact()
    collection.add(random_codes(3, 64))
    collection.compact()
    assert files(collection) == ["codes-1.bin"]
    collection.delete(["0", "1", "2"])
    collection.compact()
    assert (len(collection), collection.codes.shape) == (0, (0, 8))
    assert collection.search(random_codes(1, 64), 1)[1].tolist() == [[-1]]
    assert collection.add(random_codes(1, 64)) == ["3"]
    assert collection.search(random_codes(1, 64), 1)[1].tolist() == [[3]]
    collection.verify()


def test_blocks_of_many_rows(create, random_codes):
    collection = create(8)
    codes = random_codes(3 * BLOCK_ROWS, 8)
    collection.add(codes)
    gone = np.random.default_rng(0).random(len(codes)) < 0.4
    collection.delete([str(i) for i in np.flatnonzero(gone)])
    collection.compact()
    rows = np.flatnonzero(~gone)
    assert np.array_equal(collection.rows(), rows)
    assert np.array_equal(collection.codes, codes.packed[rows])
    collection.verify()


def test_readers_keep_the_old_generation_until_they_refresh(holed, random_codes):
    queries = random_codes(5, 40, seed=1)
    with Collection.open(holed.path, readonly=True) as reader:
        snapshot = reader.snapshot()
        before = reader.search(queries, 20)
        holed.compact()
        holed.add(queries, ids=list("abcde"), vectors=np.ones((5, 3)))
        assert np.array_equal(reader.search(queries, 20)[1], before[1])
        reader.refresh()
        assert reader.search(queries, 1)[1][:, 0].tolist() == [300, 301, 302, 303, 304]
        assert np.array_equal(snapshot.search(queries, 20)[1], before[1])
        assert np.array_equal(snapshot.codes_at(before[1][0]), holed.codes_at(before[1][0]))


def test_a_snapshot_of_a_graph_stays(create, random_codes):
    collection = create(engine="usearch")
    codes = random_codes(200, 64)
    collection.add(codes)
    snapshots = [collection.snapshot()]
    collection.add(codes[:5], ids=list("abcde"))
    collection.search(codes[:1], 1)
    snapshots.append(collection.snapshot())
    collection.delete(["0", "1"])
    collection.compact()
    collection.search(codes[:1], 1)
    for snapshot, count in zip(snapshots, (200, 205), strict=True):
        distances, rows = snapshot.search(codes[:2], count)
        assert rows[:, 0].tolist() == [0, 1]
        assert (distances[:, 0] == 0).all()
        assert rows.max() < count
    assert (collection.search(codes[:2], 1)[1][:, 0] >= 200).all()


def test_a_reader_that_comes_in_between(holed, monkeypatch):
    """It has read the state of a generation whose files are gone when it opens them."""
    from llmhash.collection import view as module

    original = module.files_of
    late = []

    def files_of(folder, manifest, generation):
        if not late:
            late.append(generation)
            holed.compact()
        return original(folder, manifest, generation)

    with monkeypatch.context() as patch:
        patch.setattr(module, "files_of", files_of)
        reader = Collection.open(holed.path, readonly=True)
    assert late == [1]
    assert snapshot_of(reader) == snapshot_of(holed)
    reader.close()


@pytest.mark.parametrize("owner, name", [(RowsWriter, "write"), (Transaction, "put_checksums")])
def test_a_failing_compaction_changes_nothing(holed, monkeypatch, owner, name):
    before = snapshot_of(holed)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(KeyboardInterrupt):
            holed.compact()
    assert files(holed) == ["codes-1.bin", "vectors-1.bin"]
    assert snapshot_of(holed) == before
    holed.verify()
    holed.compact()
    assert snapshot_of(holed) == before
    holed.verify()


def test_an_interrupt_behind_the_commit_keeps_the_new_generation(holed, monkeypatch):
    before = snapshot_of(holed)
    original = type(holed._records).transaction

    def interrupted(self):
        manager = original(self)

        class Manager:
            def __enter__(self):
                return manager.__enter__()

            def __exit__(self, *error):
                manager.__exit__(*error)
                raise KeyboardInterrupt

        return Manager()

    with monkeypatch.context() as patch:
        patch.setattr(type(holed._records), "transaction", interrupted)
        with pytest.raises(KeyboardInterrupt):
            holed.compact()
    holed.refresh()
    assert files(holed) == ["codes-2.bin", "rows-2.bin", "vectors-2.bin"]
    assert snapshot_of(holed) == before
    holed.verify()


def test_what_a_killed_writer_left_is_removed_by_the_next(holed):
    holed.close()
    for name in ("codes-2.bin", "vectors-2.bin", "rows-2.bin", "codes-7.bin"):
        (holed.path / name).write_bytes(b"half a file")
    with Collection.open(holed.path, readonly=True) as reader:
        reader.verify()
        assert len(files(reader)) == 6
    with Collection.open(holed.path) as writer:
        writer.lock()
        assert files(writer) == ["codes-1.bin", "vectors-1.bin"]
        writer.compact()
        writer.verify()


def test_the_database_gives_pages_back(create, random_codes):
    collection = create()
    collection.add(random_codes(300, 64), texts=["x" * 5000] * 300)
    collection.close()
    database = collection.path / "records.sqlite"
    size = database.stat().st_size
    with Collection.open(collection.path) as again:
        again.delete([str(i) for i in range(200)])
        again.compact()
        again.verify()
    assert database.stat().st_size < size * 0.5


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_old_files_are_let_go(holed):
    for name in ("1", "2", "4"):
        holed.compact()
        holed.delete([name])
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert any("codes-4.bin" in line for line in maps if str(holed.path) in line)
    assert not [line for line in maps if str(holed.path) in line and "(deleted)" in line]
