"""What all approximate engines promise, and the base class with an engine whose every answer is known."""

import json
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.index import FlatIndex, Index, UsearchIndex
from llmhash.index.approximate import DistinctCodesIndex, recall_against_exact
from llmhash.index.faiss import FaissIndex

LIGHT = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytest.importorskip("faiss")

# Few lists, or ivf would not be built over the few codes of these tests.
ENGINES = {
    "usearch": lambda bits: UsearchIndex(bits),
    "flat": lambda bits: FaissIndex(bits, "flat"),
    "hnsw": lambda bits: FaissIndex(bits, "hnsw"),
    "ivf": lambda bits: FaissIndex(bits, "ivf", nlist=8, nprobe=4),
    "hash": lambda bits: FaissIndex(bits, "hash"),
    "multihash": lambda bits: FaissIndex(bits, "multihash"),
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("LLMHASH_THREADS", "1")


@pytest.fixture
def few(monkeypatch):
    """Engines that are built beyond 100 codes."""
    monkeypatch.setattr(DistinctCodesIndex, "few", 100)


@pytest.fixture(params=ENGINES)
def make(request):
    return ENGINES[request.param]


def clustered(count, bits, seed):
    """Codes near 30 centres: more like real ones than uniform codes, in which a graph finds little."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).random((30, bits)) < 0.5
    return Codes.pack(centres[rng.integers(0, 30, count)] ^ (rng.random((count, bits)) < 0.1)).packed


def build(index, packed, keys=None):
    index.add(packed, keys)
    return index


def same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


class Counting(DistinctCodesIndex):
    """An exact engine, in numpy, that finds codes with even numbers only if it is told to, and counts."""

    _title, _kind, _part = "counting index", "test.counting", "numbers"

    def __init__(self, bits, even=False):
        super().__init__(bits)
        self.even, self.codes, self.asked, self.fails = even, None, [], False

    def _describe(self):
        return {"even": self.even}

    @classmethod
    def _described(cls, about):
        return cls(about["bits"], about["even"])

    def _held(self):
        return 0 if self.codes is None else len(self.codes)

    def _hold(self, codes, threads):
        if self.fails:
            raise MemoryError
        self.codes = codes.copy()

    def _find(self, asked, count, threads):
        self.asked.append((len(asked), count))
        away = np.bitwise_count(self.codes[None] ^ asked[:, None]).sum(axis=2, dtype=np.uint16)
        if self.even:
            away[:, 1::2] = 65535
        numbers = np.argsort(away, axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(away, numbers, axis=1)
        return np.where(distances == 65535, -1, numbers), distances

    def _dump(self):
        return self.codes.reshape(-1)

    def _restore(self, image):
        self.codes = image.reshape(-1, (self.bits + 7) // 8)


@LIGHT
@given(
    name=st.sampled_from([*ENGINES]),
    bits=st.one_of(st.integers(1, 100), st.sampled_from([256, 300])),
    count=st.integers(0, 60),
    distinct=st.one_of(st.none(), st.integers(1, 6)),
    queries=st.integers(0, 5),
    k=st.integers(1, 80),
    with_keys=st.booleans(),
    share=st.sampled_from([None, 0, 0.1, 0.8]),
    seed=st.integers(0, 1000),
)
def test_a_small_index_is_exact(
    reference, make_codes, name, bits, count, distinct, queries, k, with_keys, share, seed
):
    """Ties included: up to 10,000 distinct codes the scan answers."""
    rng = np.random.default_rng(seed)
    packed, asked = make_codes(count, bits, seed, distinct), make_codes(queries, bits, seed + 1)
    keys = rng.permutation(1000)[:count] if with_keys else None
    mask = None if share is None else rng.random(count) < share
    index = build(ENGINES[name](bits), packed, keys)
    assert len(index) == count
    assert isinstance(index, Index)
    found = index.search(asked, k, allow=mask)
    same(found, reference(packed, asked, k, keys, mask))
    assert (found[0].dtype, found[1].dtype) == (np.uint16, np.int64)
    if mask is not None:
        same(index.search(asked, k, deny=~mask), found)


@pytest.mark.parametrize("k", [1, 7, 700])
@pytest.mark.parametrize("share", [None, 0.02, 0.3, 0.9])
def test_results_are_in_order_and_in_full(few, make, k, share):
    """Through the engine itself, which need not find the nearest, but as many as there are, in order."""
    rng, bits = np.random.default_rng(0), 60
    packed, asked = clustered(800, bits, 1), clustered(4, bits, 2)
    packed[600:] = packed[:200]
    keys = rng.permutation(1000)[:800]
    mask = np.ones(800, bool) if share is None else rng.random(800) < share
    index = build(make(bits), packed, keys)
    assert index._held() == 600
    distances, found = index.search(asked, k, allow=None if share is None else mask)
    wanted = min(k, int(mask.sum()))
    assert (found[:, wanted:] == -1).all()
    assert (distances[:, wanted:] == 65535).all()
    row_of = {key: row for row, key in enumerate(keys)}
    for query, near, those in zip(asked, distances, found[:, :wanted], strict=True):
        rows = np.array([row_of[key] for key in those], np.int64)
        assert mask[rows].all()
        away = np.bitwise_count(packed[rows] ^ query).sum(axis=1)
        np.testing.assert_array_equal(away, near[:wanted])
        np.testing.assert_array_equal(np.lexsort((rows, away)), np.arange(wanted))
        assert len(set(rows)) == wanted
    if share is not None:
        same(index.search(asked, k, allow=np.append(keys[mask], 5000)), (distances, found))
        same(index.search(asked, k, deny=keys[~mask]), (distances, found))


def test_an_engine_is_built_beyond_few_codes(few, make):
    index = make(64)
    packed = clustered(101, 64, 3)
    packed[100] = packed[0]
    index.add(packed)
    held = index._held()
    assert held == (100 if index.few == 0 else 0)
    index.add(clustered(400, 64, 4))
    assert index._held() == 500


def test_an_index_grown_by_many_adds(few, make):
    packed, asked = clustered(1200, 64, 5), clustered(20, 64, 6)
    index = make(64)
    for start in range(0, 1200, 70):
        index.add(packed[start : start + 70])
    assert index._held() == len(index) == 1200
    flat = FlatIndex.from_packed(packed, 64)
    assert recall_against_exact(index, flat, asked, 5) > 0.8
    assert (index.search(packed[::50], 1)[0] == 0).mean() > 0.9


def test_repeated_codes_are_held_once_and_keep_their_order(few, make):
    rng = np.random.default_rng(7)
    packed = rng.integers(0, 256, (400, 8), dtype=np.uint8)
    packed = np.concatenate([packed, packed[:5], packed[:5]])
    index = build(make(64), packed, np.arange(410)[::-1])
    assert index._held() == 400
    distances, keys = index.search(packed[:5], 3)
    assert (distances == 0).all()
    assert keys.tolist() == [[409 - row, 9 - row, 4 - row] for row in range(5)]


def test_keys_may_begin_late(few, make):
    packed = clustered(800, 64, 8)
    index = build(make(64), packed[:300])
    index.add(packed[300:600], np.arange(300) + 5000)
    index.add(packed[600:])
    keys = np.concatenate([np.arange(300), np.arange(300) + 5000, np.arange(600, 800)])
    found = index.search(packed, 1)[1][:, 0]
    assert (found == keys).mean() > 0.9
    assert np.isin(found, keys).all()


def test_threads_take_turns(few, make):
    packed, asked = clustered(1000, 64, 9), clustered(30, 64, 10)
    index = build(make(64), packed)
    alone = index.search(asked, 10)
    found: list = []
    workers = [
        threading.Thread(target=lambda: found.append(index.search(asked, 10, threads=2))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for result in found:
        same(result, alone)


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("count", [0, 50, 600])
def test_saved_and_loaded(few, make, tmp_path, with_keys, count):
    bits = 60
    packed, asked = clustered(count, bits, 11), clustered(8, bits, 12)
    index = build(make(bits), packed, np.arange(count)[::-1] * 3 if with_keys else None)
    index.save(tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    loaded = type(index).load(tmp_path / "index")
    assert (loaded.bits, len(loaded), loaded._describe()) == (bits, count, index._describe())
    assert loaded._held() == (0 if count <= loaded.few else count)
    for allow in (None, np.arange(count) % 2 == 0):
        same(index.search(asked, 10, allow=allow), loaded.search(asked, 10, allow=allow))
    more = clustered(300, bits, 13)
    for either in (index, loaded):
        either.add(more, np.arange(300) + 5000)
    assert len(loaded) == count + 300
    assert loaded._held() == index._held()
    # A graph draws its levels anew once it is loaded, so it goes on otherwise.
    distances, keys = loaded.search(more[:100], 1)
    assert (distances == 0).mean() > 0.9
    if count < 600:
        assert (keys >= 5000).all()


def test_damaged_files(few, make, tmp_path):
    path = tmp_path / "index"
    index = build(make(64), clustered(500, 64, 14))
    index.save(path)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="does not exist"):
        type(index).load(tmp_path / "absent")
    for size in (0, 1, 30, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError):
            type(index).load(path)
    for place in range(100, len(whole), len(whole) // 60):
        flipped = bytearray(whole)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        try:
            type(index).load(path)
        except FormatError:
            continue
        # What the archive does not check is what it does not need: names and sizes that it holds twice.
        assert whole[place - 40 : place + 40].count(b".npy"), place
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(FormatError):
        type(index).load(tmp_path / "plain.npy")


def rewrite(path, **changes):
    with np.load(path) as archive:
        parts = {name: archive[name] for name in archive.files}
    about = json.loads(parts["about"].tobytes()) | changes.pop("about", {})
    parts |= {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)} | changes
    with path.open("wb") as file:
        np.savez(file, **{name: part for name, part in parts.items() if part is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"about": {"format": 3}}, "newer llmhash"),
        ({"about": {"kind": "else"}}, "is not a (USearch|FAISS) index"),
        ({"about": {"bits": 65}}, "whole"),
        ({"about": {"bits": 72}}, "whole"),
        ({"about": {"bits": "64"}}, "whole"),
        ({"part": None}, "whole"),
        ({"part": np.zeros(1000, np.uint8)}, "whole"),
        ({"codes": np.zeros((2, 8), np.uint8)}, "whole"),
        ({"codes": np.eye(128, 8, dtype=np.uint8)}, "whole"),
        ({"owners": np.full(300, 7)}, "whole"),
        ({"owners": np.arange(300, dtype=np.float64)}, "whole"),
        ({"owners": np.arange(300)[::-1]}, "whole"),
        ({"keys": np.arange(3)}, "whole"),
        ({"keys": np.full(300, -5)}, "whole"),
        ({"keys": np.array([{}] * 300)}, "not a readable"),
    ],
)
def test_files_whose_parts_do_not_fit(few, make, tmp_path, changes, message):
    path = tmp_path / "index"
    index = build(make(64), clustered(300, 64, 15))
    if isinstance(index, FaissIndex) and index.kind == "ivf":
        index.add(clustered(100, 64, 16))
    index.save(path)
    changes = {index._part if name == "part" else name: value for name, value in changes.items()}
    rewrite(path, **changes)
    assert zipfile.is_zipfile(path)
    with pytest.raises(FormatError, match=message):
        type(index).load(path)


def test_an_engine_of_other_codes_is_refused(few, make, tmp_path):
    index = build(make(64), clustered(500, 64, 17))
    for name, bits, count in (("fewer", 64, 400), ("wider", 72, 500)):
        build(make(bits), clustered(count, bits, 18)).save(tmp_path / name)
        with np.load(tmp_path / name) as other:
            image = other[index._part]
        index.save(tmp_path / "index")
        rewrite(tmp_path / "index", **{index._part: image})
        with pytest.raises(FormatError, match="whole"):
            type(index).load(tmp_path / "index")


def test_recall_does_not_mind_which_ties_are_returned():
    packed = np.array([[1], [2], [4], [8], [255]], np.uint8)
    other = FlatIndex(8)
    other.add(packed[::-1])
    flat = FlatIndex.from_packed(packed, 8)
    asked = np.zeros((1, 1), np.uint8)
    assert other.search(asked, 2)[1].tolist() != flat.search(asked, 2)[1].tolist()
    assert recall_against_exact(other, flat, asked, 2) == 1
    far = FlatIndex.from_packed(packed[[0, 4]], 8)
    assert recall_against_exact(far, flat, asked, 4) == 0.25
    assert recall_against_exact(flat, flat, asked, 6000) == 1
    assert recall_against_exact(FlatIndex(8), flat, asked, 10) == 0
    assert recall_against_exact(FlatIndex(8), FlatIndex(8), asked, 10) == 1


def test_a_query_that_finds_too_few_is_scanned(few, reference):
    packed, asked = clustered(400, 64, 19), clustered(6, 64, 20)
    index = build(Counting(64, even=True), packed)
    # Half of what is wide open is too few of the codes that it looks at; all of the codes is too much to ask.
    mask = np.arange(400) % 2 == 1
    same(index.search(asked, 9, allow=mask), reference(packed, asked, 9, mask=mask))
    assert index.asked == [(6, 36)]
    near, found = index.search(asked, 9)
    assert (found % 2 == 0).all()
    assert (near[:, 1:] >= near[:, :-1]).all()


def test_how_many_codes_are_fetched(few, reference):
    packed, asked = clustered(4000, 64, 21), clustered(6, 64, 22)
    index = build(Counting(64), packed)
    rows = np.arange(4000)
    for mask, count in [
        (None, 5),
        (rows < 4000, 5),  # Nothing is filtered.
        (rows % 2 == 0, 20),
        (rows % 10 == 0, 100),
        (rows % 20 == 0, None),  # 200 for 5 are too many.
        (rows < 0, None),
    ]:
        index.asked.clear()
        same(index.search(asked, 5, allow=mask), reference(packed, asked, 5, mask=mask))
        assert index.asked == ([] if count is None else [(6, count)])
    index.asked.clear()
    same(index.search(asked, 500), reference(packed, asked, 500))
    same(index.search(asked, 501), reference(packed, asked, 501))
    assert index.asked == [(6, 500)]  # More than an eighth is left to the scan.


def test_an_engine_that_failed_is_not_asked(few, reference, tmp_path):
    packed, asked = clustered(900, 64, 23), clustered(6, 64, 24)
    index = build(Counting(64), packed[:800])
    index.fails = True
    with pytest.raises(MemoryError):
        index.add(packed[800:850])
    assert len(index) == 850
    same(index.search(asked, 5), reference(packed[:850], asked, 5))
    assert index.asked == []
    index.save(tmp_path / "index")
    for either in (index, Counting.load(tmp_path / "index")):
        either.fails = False
        either.add(packed[850:])
        assert either._held() == 900
        same(either.search(asked, 5), reference(packed, asked, 5))
        assert either.asked == [(6, 5)]


def test_files_of_format_1_are_read(few, tmp_path):
    """Their rows' numbers have eight bytes, and they do not say that the engine holds all codes."""
    packed, asked = clustered(500, 64, 25), clustered(6, 64, 26)
    for count in (50, 500):
        index = build(Counting(64), packed[:count])
        index._hold(index._postings.codes, 1)
        parts = {"codes": index._postings.codes, "owners": index._postings.owners.astype(np.int64)}
        about = {"format": 1, "kind": "test.counting", "bits": 64, "even": False}
        described = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(tmp_path / "index.npz", about=described, numbers=index._dump(), **parts)
        loaded = Counting.load(tmp_path / "index.npz")
        assert loaded._held() == (500 if count == 500 else 0)
        same(loaded.search(asked, 5), index.search(asked, 5))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda index: index.add(np.zeros((1, 9), np.uint8)), r"shape \(n, 8\)"),
        (lambda index: index.add(np.full((1, 8), 255, np.uint8)), "must be zero"),
        (lambda index: index.add(np.zeros((2, 8), np.uint8), np.array([5, 5])), "more than once"),
        (lambda index: index.search(np.zeros((1, 8), np.uint8), 0), "k must be"),
        (lambda index: index.search(np.zeros((1, 8), np.uint8), 1, allow=np.zeros(3, bool)), "mask of 3"),
        (lambda index: index.search(np.zeros((1, 8), np.uint8), 1, threads=0), "threads must be"),
    ],
)
def test_bad_input(make, action, message):
    index = build(make(60), np.zeros((1, 8), np.uint8))
    with pytest.raises(InputError, match=message):
        action(index)
    assert len(index) == 1
