import numpy as np
import pytest

from llmhash.collection import Collection
from llmhash.index import FlatIndex, MihIndex, UsearchIndex, engines, mih


def graphs(path):
    return sorted(file.name for file in path.glob("usearch-*.index"))


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


@pytest.fixture
def builds(monkeypatch):
    """The rows that tables were built over, one number a build."""
    built = []
    original = MihIndex.rebuild

    def rebuild(self, threads=None):
        built.append(len(self))
        return original(self, threads)

    monkeypatch.setattr(MihIndex, "rebuild", rebuild)
    return built


@pytest.fixture
def short_tails(monkeypatch):
    """Tables are built again as soon as an eighth more codes have come."""
    monkeypatch.setattr(mih, "_TAIL_ROWS", 0)


def same_as_flat(collection, asked, k=5, **filters):
    flat = FlatIndex.from_packed(collection.codes, collection.bits)
    rows = collection.rows()
    distances, found = collection.search(asked, k, **filters)
    expected = flat.search(asked, k, allow=np.isin(np.arange(len(flat)), rows), **filters)
    assert np.array_equal(distances, expected[0])
    assert np.array_equal(found, expected[1])


def test_tables_keep_up_with_the_rows(create, random_codes, builds, short_tails):
    codes, asked = random_codes(1100, 64), random_codes(7, 64, seed=1)
    collection = create(engine="mih")
    assert collection.exact
    same_as_flat(collection, asked)
    collection.add(codes[:1000])
    same_as_flat(collection, asked)
    collection.add(codes[1000:])
    same_as_flat(collection, asked)
    same_as_flat(collection, codes[1000:], 1)
    assert builds == [1000]
    collection.delete(where=None, ids=[str(row) for row in range(0, 500, 7)])
    same_as_flat(collection, asked)
    collection.close()
    (name,) = [file.name for file in collection.path.glob("mih-*.index")]
    assert name.startswith("mih-1-1000-")

    with Collection.open(collection.path) as again:
        same_as_flat(again, asked)
        assert builds == [1000]
        again.add(random_codes(200, 64, seed=2))
        same_as_flat(again, asked)
        assert builds == [1000, 1300]
        again.compact()
        assert len(again.search(asked, 3)[1]) == 7
        assert builds == [1000, 1300, 1300 - 72]
        view = again.search(again.codes[:50], 1)
        assert np.array_equal(view[1][:, 0], again.rows()[:50])
    (name,) = [file.name for file in collection.path.glob("mih-*.index")]
    assert name.startswith("mih-2-1228-")


def test_damaged_tables_are_built_again(create, random_codes, builds, short_tails):
    asked = random_codes(7, 64, seed=1)
    collection = create(engine="mih")
    collection.add(random_codes(300, 64))
    collection.build_engine()
    (path,) = collection.path.glob("mih-*.index")
    collection.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with Collection.open(collection.path, readonly=True) as reader:
        same_as_flat(reader, asked)
    assert builds == [300, 300]


def test_the_automatic_engine_takes_tables_where_they_pay(
    create, random_codes, builds, short_tails, monkeypatch
):
    asked = random_codes(7, 64, seed=1)
    collection = create(engine="auto")
    collection.add(random_codes(300, 64))
    same_as_flat(collection, asked)
    assert (collection.engine, builds) == ("flat", [])
    monkeypatch.setattr(engines, "AUTO_MIH_CODES", 200)
    monkeypatch.setattr(engines, "AUTO_MIH_CODES_A_NEIGHBOUR", 20)
    same_as_flat(collection, asked)
    assert (collection.engine, builds) == ("mih", [300])
    same_as_flat(collection, asked, 16)
    assert collection.engine_recall() == 1.0
    assert collection.engine_recall(engine="usearch") == 1.0


def test_a_search_takes_the_codes_up_only_when_rows_have_come(create, random_codes, monkeypatch):
    """Codes that are no whole words are copied for it: 60 bits, as many as there are."""
    taken = []
    original = MihIndex.over

    def over(self, packed):
        taken.append(len(packed))
        return original(self, packed)

    monkeypatch.setattr(MihIndex, "over", over)
    asked = random_codes(3, 60, seed=1)
    collection = create(60, engine="mih")
    collection.add(random_codes(200, 60))
    for _ in range(3):
        same_as_flat(collection, asked)
    collection.delete(["7"])
    same_as_flat(collection, asked)
    assert taken == [200]
    collection.add(random_codes(50, 60, seed=2))
    same_as_flat(collection, asked)
    assert taken == [200, 250]
