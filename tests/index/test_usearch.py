import numpy as np
import pytest
from usearch.index import Index as Graph
from usearch.index import MetricKind

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import FlatIndex, UsearchIndex, make_index
from llmhash.index.approximate import recall_against_exact
from llmhash.index.base import RangeIndex


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """On which a graph comes out the same every time."""
    monkeypatch.setenv("LLMHASH_THREADS", "1")


def clustered(count, bits, seed):
    """Codes near 500 centres: more like real ones than uniform codes, in which a graph finds little."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).random((500, bits)) < 0.5
    return Codes.pack(centres[rng.integers(0, 500, count)] ^ (rng.random((count, bits)) < 0.1)).packed


def small_graph(packed, **settings):
    """An index that has its graph, however few the codes."""
    index = UsearchIndex(8 * packed.shape[1], **settings)
    index.few = 0
    index.add(packed)
    return index


def raw(bits, packed):
    graph = Graph(ndim=bits, metric=MetricKind.Hamming, dtype="b1")
    graph.add(np.arange(len(packed)), packed, threads=1)
    return graph


@pytest.fixture(scope="module")
def built():
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LLMHASH_THREADS", "1")
        packed = clustered(12_000, 64, 5)
        index = UsearchIndex(64)
        index.add(packed[:9000])
        assert index._graph is None
        index.add(packed[9000:])
        return packed, index


def test_recall(built):
    """Measured: 1.0 at k = 10, 0.996 at k = 100."""
    packed, index = built
    flat, asked = FlatIndex.from_packed(packed, 64), clustered(100, 64, 6)
    assert len(index._graph) == len(np.unique(packed, axis=0)) > index.few
    assert recall_against_exact(index, flat, asked, 10) > 0.97
    assert recall_against_exact(index, flat, asked, 100) > 0.97


def test_under_filters(built):
    packed, index = built
    flat, asked = FlatIndex.from_packed(packed, 64), clustered(50, 64, 7)
    for share, floor in ((0.5, 0.97), (0.1, 0.97), (0.01, 1)):
        mask = np.random.default_rng(8).random(len(packed)) < share
        found, exact = index.search(asked, 10, allow=mask), flat.search(asked, 10, allow=mask)
        assert mask[found[1]].all()
        assert (found[0] <= exact[0][:, -1:]).mean() >= floor
    np.testing.assert_array_equal(found[1], exact[1])


def test_settings_reach_the_graph_and_are_saved(tmp_path):
    index = small_graph(clustered(50, 64, 9), connectivity=8, expansion_add=40, expansion_search=30)
    graph = index._graph
    assert (graph.connectivity, graph.expansion_add, graph.expansion_search) == (8, 40, 30)
    index.save(tmp_path / "index")
    loaded = UsearchIndex.load(tmp_path / "index")
    assert loaded._describe() == {"connectivity": 8, "expansion_add": 40, "expansion_search": 30}
    loaded.few = 0
    loaded._restore(index._dump())
    assert (loaded._graph.expansion_add, loaded._graph.expansion_search) == (40, 30)


@pytest.mark.parametrize("queries", [1, 3])
def test_trap_short_results_are_padded_with_the_key_0(queries):
    packed = clustered(5, 64, 10)
    matches = raw(64, packed).search(packed[:3], 8)
    assert (matches.keys[:, 5:] == 0).all()
    assert np.isnan(matches.distances[:, 5:]).all()
    numbers, distances = small_graph(packed)._find(packed[:queries], 8, 1)
    assert (np.sort(numbers[:, :5], axis=1) == np.arange(5)).all()
    assert (numbers[:, 5:] == -1).all()
    assert (distances[:, 5:] == 65535).all()


def test_trap_dirty_padding_bits_are_counted():
    packed = np.array([[0, 0], [0, 15]], np.uint8)
    assert raw(12, packed).search(np.zeros(2, np.uint8), 2).distances.tolist() == [0, 4]
    index = UsearchIndex(12)
    with pytest.raises(InputError, match="must be zero"):
        index.add(packed)
    with pytest.raises(InputError, match="must be zero"):
        index.search(packed, 1)


def test_trap_a_radius_is_ignored():
    packed = np.array([[0], [3], [255]], np.uint8)
    asked = np.zeros((2, 1), np.uint8)
    assert raw(8, packed).search(asked, 3, radius=1.0).distances.max() == 8
    assert isinstance(FlatIndex(8), RangeIndex)
    assert not isinstance(UsearchIndex(8), RangeIndex)


def test_trap_removing_frees_nothing():
    packed = clustered(2000, 64, 11)
    graph = raw(64, packed)
    before = graph.memory_usage, len(graph.save())
    graph.remove(np.arange(1900))
    assert (graph.memory_usage, len(graph.save())) == before
    index = small_graph(packed)
    assert not hasattr(index, "remove")
    # So the removed are denied, and are gone once the index is built anew.
    found = index.search(packed[:20], 10, deny=np.arange(1900))[1]
    assert (found >= 1900).all()
    anew = small_graph(packed[1900:])
    assert anew._graph.memory_usage < index._graph.memory_usage
    assert len(anew._dump()) < len(index._dump()) / 10


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: UsearchIndex(0), "from 1 to 4096"),
        (lambda: UsearchIndex(64, connectivity=1), "connectivity must be"),
        (lambda: UsearchIndex(64, expansion_add=0), "expansion_add must be"),
        (lambda: UsearchIndex(64, expansion_search=2.5), "expansion_search must be"),
        (lambda: make_index("annoy", 64), "no index engine 'annoy'"),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()


def test_make_index():
    assert isinstance(make_index("flat", 64), FlatIndex)
    assert isinstance(make_index("usearch", 64), UsearchIndex)
