"""Deleting and replacing documents."""

import numpy as np
import pytest

from llmhash.collection import Collection, Record
from llmhash.collection.transaction import Transaction
from llmhash.errors import InputError

IDS = [f"d{i}" for i in range(20)]


@pytest.fixture
def filled(create, random_codes):
    """Twenty documents of 64 bits with an int8 sidecar; `year` is declared."""
    collection = create(sidecar="int8", dim=2, fields=["year"])
    collection.add(
        random_codes(20, 64),
        ids=IDS,
        texts=[f"täxt {i}" if i % 2 else None for i in range(20)],
        metadata=[{"year": 1980 + i} if i % 3 else None for i in range(20)],
        vectors=np.arange(40).reshape(20, 2),
    )
    return collection


def test_deleted_documents_are_gone(filled, random_codes):
    codes = random_codes(20, 64)
    assert filled.delete(["d3", "d5", "d3"]) == 2
    assert len(filled) == filled.count() == 18
    assert filled.get(["d3", "d4"]) == [None, Record(4, "d4", None, {"year": 1984})]
    assert filled.find(["d5", "d6"]).tolist() == [-1, 6]
    rest = [row for row in range(20) if row not in (3, 5)]
    assert filled.rows().tolist() == rest
    assert [record.row for record in filled.iterate(batch_size=7)] == rest
    assert sorted(filled.search(codes[3:4], 20)[1][0].tolist()) == [-1, -1, *rest]
    assert filled.range_search(codes[3:4], 64)[0].tolist() == [0, 18]
    logits = codes.to_pm1(np.float32)[3:4]
    assert sorted(filled.asymmetric_search(logits, 20)[1][0].tolist()) == [-1, -1, *rest]
    assert np.isneginf(filled.rescore(logits, np.array([[3, 4, -1]]))).tolist() == [[True, False, True]]
    filled.verify()
    with Collection.open(filled.path, readonly=True) as reader:
        assert reader.rows().tolist() == rest


def test_what_asks_for_a_deleted_row_is_told(filled):
    filled.delete(["d3"])
    assert filled.at([2, 3])[1] is None
    for read in (filled.records, filled.codes_at, filled.vectors):
        with pytest.raises(InputError, match="no document in row 3"):
            read([2, 3])
        with pytest.raises(InputError, match="row"):
            read([20])
    with pytest.raises(InputError, match="rows must be from 0 to 19"):
        filled.rescore(np.ones((1, 64)), np.array([[20]]))


def test_deleting_by_a_filter(filled):
    assert filled.delete(where={"year": {">=": 1990}}) == 7
    assert filled.count({"year": {"exists": True}}) == 6
    assert filled.delete(where={"year": {">=": 1990}}) == 0
    assert filled.delete(where={"year": {"exists": False}}) == 7
    assert [record.metadata["year"] for record in filled.iterate()] == [1981, 1982, 1984, 1985, 1987, 1988]
    filled.verify()
    assert filled.delete(where={"not": {"year": 0}}) == 6
    assert len(filled) == 0
    filled.verify()


BAD_DELETES = {
    "an unknown id": ({"ids": ["d1", "x", "y"]}, r"ids\[1\] is 'x', which .* not hold \(2 of the 3"),
    "an id that is no string": ({"ids": ["d1", 3]}, r"ids\[1\] is 3"),
    "one string": ({"ids": "d1"}, "ids must be a list"),
    "nothing": ({}, "one of the two"),
    "both": ({"ids": ["d1"], "where": {"year": 1981}}, "one of the two"),
    "an undeclared field": ({"where": {"language": "en"}}, "language"),
    "an unknown operator": ({"where": {"year": {"~": 3}}}, "~"),
}


@pytest.mark.parametrize("name", BAD_DELETES)
def test_bad_deletes_are_refused_and_nothing_is_lost(filled, name):
    arguments, message = BAD_DELETES[name]
    with pytest.raises(InputError, match=message):
        filled.delete(**arguments)
    assert len(filled) == 20
    assert filled.get(["d1"])[0].text == "täxt 1"
    filled.verify()


def test_upsert_replaces_and_adds(filled, random_codes):
    fresh = random_codes(3, 64, seed=5)
    ids = ["d7", "new", "d0"]
    vectors = -np.ones((3, 2))
    metadata = [{"year": 2020}, None, {"year": 2021}]
    assert filled.upsert(fresh, ids=ids, texts=["a", "b", None], metadata=metadata, vectors=vectors) == ids
    assert len(filled) == 21
    assert filled.get(ids) == [
        Record(20, "d7", "a", {"year": 2020}),
        Record(21, "new", "b", {}),
        Record(22, "d0", None, {"year": 2021}),
    ]
    assert np.array_equal(filled.codes_at([20, 21, 22]), fresh.packed)
    assert np.array_equal(filled.vectors([20]), [[-1, -1]])
    assert filled.rows({"year": {">": 2000}}).tolist() == [20, 22]
    assert filled.at([7, 0]) == [None, None]
    assert filled.search(fresh, 1)[1][:, 0].tolist() == [20, 21, 22]
    assert [record.id for record in filled.iterate()][-3:] == ids
    filled.upsert(fresh[:1], ids=["d7"], vectors=vectors[:1])
    assert filled.get(["d7"]) == [Record(23, "d7", None, {})]
    filled.verify()


def test_bad_upserts_are_refused_and_nothing_is_lost(filled, random_codes):
    codes = random_codes(2, 64)
    vectors = np.ones((2, 2))
    for ids, message in ((["d1", "d1"], r"ids\[1\] is 'd1', and so is"), (None, "give the documents' ids")):
        with pytest.raises(InputError, match=message):
            filled.upsert(codes, ids=ids, vectors=vectors)
    with pytest.raises(InputError, match="needs the vectors"):
        filled.upsert(codes, ids=["d1", "d2"])
    assert filled.upsert(random_codes(0, 64), ids=[], vectors=vectors[:0]) == []
    assert filled.get(["d1"])[0].row == 1


def test_a_failing_upsert_changes_nothing(filled, random_codes, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "insert", fail)
        with pytest.raises(KeyboardInterrupt):
            filled.upsert(random_codes(1, 64, seed=1), ids=["d1"], vectors=np.ones((1, 2)))
    assert filled.get(["d1"])[0].text == "täxt 1"
    filled.verify()


def test_readers_see_deletions_when_they_refresh(filled, random_codes):
    codes = random_codes(20, 64)
    with Collection.open(filled.path, readonly=True) as reader:
        filled.delete(["d3"])
        assert reader.search(codes[3:4], 1)[1].tolist() == [[3]]
        assert len(reader) == 20
        reader.refresh()
        assert reader.search(codes[3:4], 1)[1].tolist() != [[3]]
        filled.upsert(codes[4:5], ids=["d4"], vectors=np.ones((1, 2)))
        filled.delete(["d5"])
        reader.refresh()
        assert reader.rows().tolist() == filled.rows().tolist()
        assert reader.search(codes[4:5], 1)[1].tolist() == [[20]]


def test_running_ids_do_not_come_again(create, random_codes):
    collection = create()
    collection.add(random_codes(3, 64))
    collection.delete(["2"])
    assert collection.add(random_codes(1, 64)) == ["3"]
    collection.delete(["3"])
    collection.compact()
    assert collection.add(random_codes(1, 64)) == ["4"]


def test_many_documents_at_once(create, random_codes):
    collection = create()
    collection.add(random_codes(5000, 64), texts=["x"] * 5000)
    assert collection.delete([str(i) for i in range(0, 5000, 2)]) == 2500
    assert collection.rows().tolist() == list(range(1, 5000, 2))
    assert collection.info()["deleted"] == 2500
    collection.verify()
