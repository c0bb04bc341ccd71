import numpy as np
import pytest

from llmhash.collection import Collection
from llmhash.index import UsearchIndex


def graphs(path):
    return sorted(file.name for file in path.glob("graph-*"))


def share_found(collection, codes, first=0):
    """The share of rows, from `first` on, that come first for their own code: a graph may miss a few."""
    rows = collection.search(codes, 1)[1][:, 0]
    return np.mean(rows == np.arange(first, first + len(codes)))


@pytest.fixture
def counted(monkeypatch):
    """The rows that graphs were given, one number an `add`."""
    added = []
    original = UsearchIndex.add

    def add(self, codes, *args, **settings):
        added.append(len(codes))
        return original(self, codes, *args, **settings)

    monkeypatch.setattr(UsearchIndex, "add", add)
    return added


def test_a_graph_keeps_up_with_the_rows(create, random_codes, counted):
    collection = create(engine="usearch")
    assert collection.engine == "usearch"
    codes = random_codes(1100, 64)
    assert collection.search(codes[:1], 3)[1].tolist() == [[-1, -1, -1]]
    collection.add(codes[:1000])
    assert share_found(collection, codes[:1000]) > 0.9
    assert len(graphs(collection.path)) == 1
    saved = graphs(collection.path)
    collection.add(codes[1000:])
    assert share_found(collection, codes[1000:], 1000) > 0.9
    assert graphs(collection.path) == saved
    assert counted == [1000, 100]
    assert collection.engine_recall(k=5) > 0.9
    assert collection.engine_recall(random_codes(20, 64, seed=1), k=5) > 0.5
    collection.close()
    assert len(graphs(collection.path)) == 1
    assert graphs(collection.path) != saved

    with Collection.open(collection.path, readonly=True) as again:
        assert share_found(again, codes) > 0.9
    assert counted == [1000, 100]


def test_the_flat_engine_is_exact(create, random_codes):
    collection = create(engine="auto")
    collection.add(random_codes(10, 64))
    assert collection.engine_recall() == 1.0


def test_a_damaged_graph_is_built_again(create, random_codes, counted):
    codes = random_codes(200, 64)
    collection = create(engine="usearch")
    collection.add(codes)
    collection.search(codes[:1], 1)
    collection.close()
    (name,) = graphs(collection.path)
    data = bytearray((collection.path / name).read_bytes())
    data[len(data) // 2] ^= 255
    (collection.path / name).write_bytes(data)
    with Collection.open(collection.path, readonly=True) as reader:
        assert share_found(reader, codes) > 0.9
    assert counted == [200, 200]
    assert graphs(collection.path) == [name]
    with Collection.open(collection.path) as writer:
        writer.search(codes[:1], 1)
    with Collection.open(collection.path, readonly=True) as reader:
        reader.search(codes[:1], 1)
    assert counted == [200, 200, 200]


def test_a_graph_of_other_rows_is_not_used(create, random_codes, counted):
    codes = random_codes(100, 64)
    collection = create(engine="usearch")
    collection.add(codes)
    collection.search(codes[:1], 1)
    collection.close()
    (name,) = graphs(collection.path)
    graph = (collection.path / name).read_bytes()
    other = create(engine="usearch", name="other")
    other.add(random_codes(100, 64, seed=1))
    other.search(codes[:1], 1)
    (elsewhere,) = graphs(other.path)
    assert counted == [100, 100]
    (collection.path / name).unlink()
    for rebuilt, foreign in enumerate((elsewhere, name.replace("-1-", "-2-"), name.replace("-100-", "-99-"))):
        (collection.path / foreign).write_bytes(graph)
        with Collection.open(collection.path, readonly=True) as reader:
            assert share_found(reader, codes) > 0.9
        assert counted == [100] * (3 + rebuilt)


def test_a_full_disk_costs_the_graph_only(create, random_codes, monkeypatch):
    def fail(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(UsearchIndex, "save", fail)
    codes = random_codes(100, 64)
    collection = create(engine="usearch")
    collection.add(codes)
    assert share_found(collection, codes) > 0.9
    collection.close()
    assert graphs(collection.path) == []


def test_a_reader_saves_nothing(create, random_codes):
    collection = create(engine="usearch")
    collection.add(random_codes(50, 64))
    with Collection.open(collection.path, readonly=True) as reader:
        reader.search(random_codes(1, 64), 1)
    assert graphs(collection.path) == []


def test_a_filter_holds_for_the_graph(create, random_codes):
    codes = random_codes(300, 64)
    collection = create(engine="usearch")
    collection.add(codes)
    rows = collection.search(codes[:4], 5, allow=np.array([5, 200]))[1]
    assert [set(line) for line in rows.tolist()] == [{5, 200, -1}] * 4
