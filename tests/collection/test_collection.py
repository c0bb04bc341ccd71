import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection, Record
from llmhash.collection.records import Transaction
from llmhash.collection.rows_file import BLOCK_ROWS
from llmhash.errors import InputError


@pytest.mark.parametrize("bits", [1, 20, 64, 128, 300])
def test_round_trip_in_batches(create, random_codes, bits):
    collection = create(bits)
    codes = random_codes(300, bits)
    ids = [f"d{i}" for i in range(300)]
    for start in (0, 100, 200):
        part = slice(start, start + 100)
        added = collection.add(
            codes[part],
            ids=ids[part],
            texts=[f"text {i}" for i in range(start, start + 100)],
            metadata=[{"n": i} if i % 2 else None for i in range(start, start + 100)],
        )
        assert added == ids[part]
    collection.close()

    with Collection.open(collection.path, readonly=True) as again:
        assert (len(again), again.bits, again.engine, again.hasher_fingerprint) == (300, bits, "flat", "abc")
        assert np.array_equal(again.codes, codes.packed)
        assert again.get(["d7", "missing", "d4"]) == [
            Record(7, "d7", "text 7", {"n": 7}),
            None,
            Record(4, "d4", "text 4", {}),
        ]
        assert [r.id for r in again.records(np.array([5, 5, 0]))] == ["d5", "d5", "d0"]
        assert again.find(["d299", "nobody"]).tolist() == [299, -1]
        again.verify()


@pytest.mark.parametrize("bits", [20, 64])
def test_search_equals_the_reference(create, random_codes, bits):
    collection = create(bits)
    codes, queries = random_codes(500, bits), random_codes(7, bits, seed=1)
    collection.add(codes)
    expected = queries.hamming(codes)
    order = np.argsort(expected, axis=1, kind="stable")[:, :12]
    distances, rows = collection.search(queries, 12)
    assert np.array_equal(rows, order)
    assert np.array_equal(distances, np.take_along_axis(expected, order, axis=1))

    logits = np.random.default_rng(2).normal(size=(3, bits)).astype(np.float32)
    scores, rows = collection.asymmetric_search(logits, 5)
    products = logits @ codes.to_pm1(np.float32).T / np.abs(logits).sum(axis=1, keepdims=True)
    assert np.array_equal(rows, np.argsort(-products, axis=1, kind="stable")[:, :5])
    assert np.allclose(scores, -np.sort(-products, axis=1)[:, :5], atol=1e-6)
    assert np.array_equal(collection.rescore(logits, rows), scores)


def test_search_obeys_allow(create, random_codes):
    collection = create()
    collection.add(random_codes(100, 64))
    queries = random_codes(2, 64, seed=1)
    rows = collection.search(queries, 10, allow=np.array([3, 50, 99]))[1]
    assert set(rows[0].tolist()) == {3, 50, 99, -1}
    mask = np.zeros(100, dtype=bool)
    mask[[3, 50, 99]] = True
    assert np.array_equal(collection.search(queries, 10, allow=mask)[1], rows)
    scored = collection.asymmetric_search(queries.to_pm1(np.float32), 10, allow=mask)[1]
    assert np.array_equal(scored, rows)
    for wrong in (mask[:50], np.array([0.5])):
        with pytest.raises(InputError, match="mask"):
            collection.search(queries, 10, allow=wrong)


def test_deleted_rows_are_not_found(create, random_codes):
    collection = create()
    codes = random_codes(50, 64)
    collection.add(codes)
    assert collection.delete(["0", "7"]) == 2
    assert len(collection) == 48
    collection.verify()
    assert collection.get(["0", "1"])[0] is None
    everything = set(range(50)) - {0, 7}
    assert set(collection.search(codes[:1], 50)[1][0].tolist()) == everything | {-1}
    assert set(collection.asymmetric_search(codes.to_pm1(np.float32)[:1], 48)[1][0].tolist()) == everything
    assert set(collection.search(codes[:1], 3, allow=np.array([0, 7, 9]))[1][0].tolist()) == {9, -1}
    with pytest.raises(InputError, match="row 7"):
        collection.records([7])


def test_running_ids_avoid_taken_ones(create, random_codes):
    collection = create()
    assert collection.add(random_codes(2, 64)) == ["0", "1"]
    collection.add(random_codes(2, 64), ids=["5", "x"])
    assert collection.add(random_codes(3, 64)) == ["6", "7", "8"]
    assert collection.add(random_codes(0, 64)) == []
    assert len(collection) == 7


def test_an_empty_collection(create, random_codes):
    collection = create(20)
    distances, rows = collection.search(random_codes(2, 20), 3)
    assert distances.tolist() == [[65535] * 3] * 2
    assert rows.tolist() == [[-1] * 3] * 2
    assert collection.asymmetric_search(np.ones((1, 20)), 2)[1].tolist() == [[-1, -1]]
    assert collection.get(["a"]) == [None]
    collection.verify()


BAD_ADDS = {
    "an empty id": ({"ids": ["a", ""]}, r"ids\[1\] is ''"),
    "a NUL": ({"ids": ["a", "b\0"]}, r"ids\[1\]"),
    "an id that is no string": ({"ids": ["a", 3]}, r"ids\[1\] is 3"),
    "a duplicate in the batch": ({"ids": ["b", "b"]}, r"ids\[1\] is 'b', and so is ids\[0\]"),
    "an id that is taken": (
        {"ids": ["new", "old"]},
        r"ids\[1\] is 'old', which the collection already holds",
    ),
    "too few ids": ({"ids": ["a"]}, "2 documents but 1 ids"),
    "one string for ids": ({"ids": "ab"}, "ids must be a list"),
    "too many texts": ({"texts": ["a", "b", "c"]}, "2 documents but 3 texts"),
    "a text that is no string": ({"texts": ["a", b"b"]}, r"texts\[1\]"),
    "a lone surrogate": ({"texts": ["a", "\ud800"]}, r"texts\[1\] holds a lone surrogate"),
    "metadata beyond JSON": ({"metadata": [None, {"a": {1}}]}, r"metadata\[1\] cannot be stored as JSON"),
    "NaN in metadata": (
        {"metadata": [{"a": float("nan")}, None]},
        r"metadata\[0\] cannot be stored as JSON",
    ),
    "metadata that is no dictionary": ({"metadata": [{}, ["a"]]}, r"metadata\[1\]"),
    "a key that is no string": ({"metadata": [{1: 2}, None]}, r"metadata\[0\]"),
    "vectors without a sidecar": ({"vectors": np.ones((2, 3))}, "keeps no vectors"),
}


@pytest.mark.parametrize("name", BAD_ADDS)
def test_bad_documents_are_refused_and_nothing_is_lost(create, random_codes, name):
    collection = create()
    collection.add(random_codes(1, 64), ids=["old"], texts=["kept"])
    arguments, message = BAD_ADDS[name]
    with pytest.raises(InputError, match=message):
        collection.add(random_codes(2, 64), **arguments)
    collection.refresh()
    assert len(collection) == 1
    assert collection.get(["old"]) == [Record(0, "old", "kept", {})]
    collection.verify()
    assert collection.add(random_codes(2, 64), ids=["a", "b"]) == ["a", "b"]


def test_codes_of_another_width_are_refused(create, random_codes):
    collection = create()
    with pytest.raises(InputError, match="64 bits, not 32"):
        collection.add(random_codes(2, 32))
    with pytest.raises(InputError, match="64 bits"):
        collection.asymmetric_search(np.ones((1, 32)), 1)
    with pytest.raises(InputError):
        collection.search(random_codes(1, 32), 1)


def test_a_failing_commit_adds_nothing(create, random_codes, monkeypatch):
    collection = create()
    collection.add(random_codes(3, 64))

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "put_checksums", fail)
        with pytest.raises(KeyboardInterrupt):
            collection.add(random_codes(5, 64, seed=1))
    collection.refresh()
    assert len(collection) == 3
    codes = random_codes(4, 64, seed=2)
    collection.add(codes)
    assert np.array_equal(collection.codes[3:], codes.packed)
    collection.verify()


def test_readers_see_commits_only(create, random_codes, monkeypatch):
    collection = create()
    collection.add(random_codes(3, 64))
    original = Transaction.put_checksums
    seen = []

    with Collection.open(collection.path, readonly=True) as reader:

        def look(self, *args):
            original(self, *args)
            for handle in (reader, collection):
                handle.refresh()
                found = handle.search(random_codes(1, 64), 9)[1]
                seen.append((len(handle), np.sum(found >= 0), handle.get(["3"])))

        monkeypatch.setattr(Transaction, "put_checksums", look)
        collection.add(random_codes(5, 64))
        assert seen == [(3, 3, [None])] * 2
        assert len(reader) == 3
        reader.refresh()
        assert len(reader) == 8
        assert reader.get(["3"])[0].row == 3


def test_one_writer_at_a_time(create, random_codes):
    collection = create()
    collection.add(random_codes(1, 64))
    with Collection.open(collection.path) as other:
        assert len(other) == 1
        with pytest.raises(InputError, match="being written through another handle"):
            other.add(random_codes(1, 64))
        with pytest.raises(InputError, match="being written through another handle"):
            other.lock()
        collection.close()
        assert other.add(random_codes(1, 64)) == ["1"]


def test_a_second_process_is_refused(create, random_codes):
    collection = create()
    collection.lock()
    script = (
        "import sys; from llmhash.collection import Collection\n"
        "try: Collection.open(sys.argv[1]).lock()\n"
        "except Exception as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", script, str(collection.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "InputError\n"


def test_readonly_and_closed_handles_refuse(create, random_codes):
    collection = create()
    collection.close()
    collection.close()
    with pytest.raises(InputError, match="closed"):
        collection.search(random_codes(1, 64), 1)
    with (
        Collection.open(collection.path, readonly=True) as reader,
        pytest.raises(InputError, match="read-only"),
    ):
        reader.add(random_codes(1, 64))


def test_create_refuses_a_taken_path(tmp_path, create):
    collection = create()
    with pytest.raises(InputError, match="not an empty folder"):
        create()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not an empty folder"):
        create(name="file")
    (tmp_path / "folder").mkdir()
    create(name="folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="not an empty folder"):
        create(name="other")
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["mine.txt"]
    assert len(collection) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"bits": 0},
        {"bits": 5000},
        {"engine": "annoy"},
        {"sidecar": "int4", "dim": 3},
        {"sidecar": "int8"},
        {"sidecar": "int8", "dim": 0},
    ],
)
def test_create_refuses_bad_settings(tmp_path, create, settings):
    with pytest.raises(InputError):
        create(**settings)
    assert not (tmp_path / "collection").exists()


@pytest.mark.parametrize("engine", ["flat", "usearch"])
def test_threads_may_share_a_handle(create, random_codes, engine):
    collection = create(engine=engine)
    codes = random_codes(2000, 64)
    collection.add(codes[:1000])
    collection.search(codes[:1], 1)

    def read():
        shares = []
        for _ in range(30):
            collection.refresh()
            rows = collection.search(codes[:20], 1)[1][:, 0]
            assert [record.row for record in collection.records(rows)] == rows.tolist()
            shares.append(np.mean(rows == np.arange(20)))
        return min(shares)

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for start in range(1000, 2000, 100):
            collection.add(codes[start : start + 100])
        least = 1 if engine == "flat" else 0.7
        assert all(reader.result() >= least for reader in readers)
    assert len(collection) == 2000


def test_info_counts_bytes(create, random_codes):
    collection = create(20, sidecar="float16", dim=6)
    texts = [f"äöü {i}" for i in range(1000)]
    collection.add(random_codes(1000, 20), texts=texts, vectors=np.ones((1000, 6)))
    collection.close()
    with Collection.open(collection.path, readonly=True) as again:
        info = json.loads(json.dumps(again.info()))
    assert (info["documents"], info["bits"], info["generation"], info["dim"]) == (1000, 20, 1, 6)
    assert info["text_bytes"] == sum(len(text.encode()) for text in texts)
    assert info["bytes_per_document"] == {"codes": 3, "vectors": 12}
    assert info["bytes_on_disk"]["codes-1.bin"] == 64 + 3000
    assert info["bytes_on_disk"]["vectors-1.bin"] == 64 + 12000
    assert 15 < info["bytes_beyond_text_per_document"] < 250


@pytest.mark.parametrize("kind", ["int8", "float16"])
def test_sidecar_vectors(create, random_codes, kind):
    collection = create(sidecar=kind, dim=5)
    vectors = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    vectors[3] = 0
    collection.add(random_codes(30, 64), vectors=vectors[:30])
    collection.add(random_codes(10, 64), vectors=vectors[30:].astype(np.float64))
    assert collection.sidecar == kind
    rows = np.array([39, 3, 0])
    near = np.abs(vectors).max() / 127 if kind == "int8" else 2e-3
    assert np.abs(collection.vectors(rows) - vectors[rows]).max() <= near
    assert not collection.vectors([3]).any()
    collection.verify()
    vectors[1, 2] = np.nan
    for wrong, message in (
        (None, "needs the vectors"),
        (vectors, "row 1"),
        (vectors[2:, :4], "dimensions"),
        (vectors[2:], "40 documents but 38 vectors"),
    ):
        with pytest.raises(InputError, match=message):
            collection.add(random_codes(40, 64), vectors=wrong)
    with pytest.raises(InputError, match="rows must be"):
        collection.vectors([40])
    assert len(collection) == 40


def test_blocks_of_checksums_grow_with_the_rows(create, random_codes):
    collection = create(8)
    codes = random_codes(2 * BLOCK_ROWS + 100, 8)
    for start, end in ((0, 10), (10, BLOCK_ROWS + 5), (BLOCK_ROWS + 5, len(codes))):
        collection.add(codes[start:end])
        collection.verify()
    with collection._records.moment() as moment:
        assert sorted(moment.checksums("codes-1.bin")) == [0, 1, 2]


def test_searching_needs_no_torch(create, random_codes):
    collection = create()
    collection.add(random_codes(10, 64), texts=["text"] * 10)
    script = (
        "import sys, numpy as np\n"
        "from llmhash import Codes, Collection\n"
        "with Collection.open(sys.argv[1], readonly=True) as collection:\n"
        "    distances, rows = collection.search(Codes(np.asarray(collection.codes[4:5]), 64), 1)\n"
        "    assert collection.records(rows[0])[0].text == 'text'\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "print(rows[0, 0])"
    )
    command = [sys.executable, "-c", script, str(collection.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "4\n"


def test_packed_queries_are_taken_as_they_are(create, random_codes):
    collection = create()
    codes = random_codes(10, 64)
    collection.add(codes)
    assert np.array_equal(collection.search(codes.packed, 3)[1], collection.search(codes, 3)[1])
    assert isinstance(collection.search(Codes(codes.packed, 64), 1)[0], np.ndarray)
