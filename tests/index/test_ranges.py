"""Range search and whole boundary ties of the flat index."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import FlatIndex

LIGHT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def in_range(documents, queries, radii, keys=None, mask=None):
    """All documents within a radius of each query, by (distance, row), the plain way."""
    rows = np.arange(len(documents)) if mask is None else np.flatnonzero(mask)
    parts = []
    for query, radius in zip(queries, np.broadcast_to(radii, len(queries)), strict=True):
        away = np.bitwise_count(documents[rows] ^ query).sum(axis=1, dtype=np.int64)
        order = np.argsort(away, kind="stable")
        order = order[away[order] <= radius]
        parts.append((away[order], rows[order]))
    lims = np.cumsum([0, *(len(rows) for _, rows in parts)])
    distances = np.concatenate([np.empty(0, np.uint16), *(away for away, _ in parts)])
    found = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in parts)])
    return lims, distances.astype(np.uint16), found if keys is None else keys[found]


def kth_distance(documents, queries, k, mask=None):
    """The distance of each query's k-th nearest, or of the farthest where there are fewer."""
    held = documents if mask is None else documents[mask]
    if not len(held):
        return np.zeros(len(queries), np.int64)
    away = np.bitwise_count(held[:, None] ^ queries).sum(axis=2, dtype=np.int64)
    return np.sort(away, axis=0)[min(k, len(held)) - 1]


def assert_same(found, expected):
    for got, wanted, dtype in zip(found, expected, (np.int64, np.uint16, np.int64), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == dtype


def neighbours(make_codes, count, bits, seed, share=0.1):
    """Codes in clusters: 20 random ones with a share of their bits flipped."""
    rng = np.random.default_rng(seed)
    flips = Codes.pack(rng.random((count, bits)) < share).packed
    return make_codes(count, bits, seed, distinct=20) ^ flips


@pytest.mark.parametrize("first", range(1, 321, 40))
def test_every_width(make_codes, first):
    for bits in range(first, first + 40):
        documents, asked = neighbours(make_codes, 83, bits, bits), neighbours(make_codes, 5, bits, bits)
        index = FlatIndex.from_packed(documents, bits)
        for queries in (asked, asked[:1]):
            for radius in (0, bits // 4, bits):
                expected = in_range(documents, queries, radius)
                assert_same(index.range_search(queries, radius, threads=1), expected)
            expected = in_range(documents, queries, kth_distance(documents, queries, 10))
            assert_same(index.search_with_ties(queries, 10, threads=1), expected)


@LIGHT
@given(
    bits=st.one_of(st.integers(1, 320), st.sampled_from([384, 511, 512, 768, 1000, 1024, 2048, 4095, 4096])),
    count=st.integers(0, 200),
    queries=st.integers(0, 20),
    distinct=st.one_of(st.none(), st.integers(1, 10)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_equals_the_reference(make_codes, bits, count, queries, distinct, threads, seed, data):
    radius = data.draw(st.one_of(st.integers(0, bits), st.just(bits // 2)))
    k = data.draw(st.integers(1, 250))
    documents, asked = make_codes(count, bits, seed, distinct), make_codes(queries, bits, seed + 1)
    index = FlatIndex(bits)
    index.add(documents)
    assert_same(index.range_search(asked, radius, threads=threads), in_range(documents, asked, radius))
    expected = in_range(documents, asked, kth_distance(documents, asked, k))
    assert_same(index.search_with_ties(asked, k, threads=threads), expected)


@LIGHT
@given(
    bits=st.sampled_from([64, 96, 256]),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    queries=st.integers(1, 12),
    as_keys=st.tuples(st.booleans(), st.booleans()),
    with_keys=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_allowed_and_denied(make_codes, bits, shares, queries, as_keys, with_keys, seed):
    rng = np.random.default_rng(seed)
    documents, asked = neighbours(make_codes, 700, bits, seed), make_codes(queries, bits, seed, distinct=20)
    keys = rng.permutation(10_000)[:700] if with_keys else np.arange(700)
    index = FlatIndex(bits)
    index.add(documents, keys if with_keys else None)
    allow, deny = (rng.random(700) < share for share in shares)
    allowed, denied = (
        keys[mask] if named else mask for mask, named in zip((allow, deny), as_keys, strict=True)
    )
    mask = allow & ~deny
    found = index.range_search(asked, bits // 5, allow=allowed, deny=denied)
    assert_same(found, in_range(documents, asked, bits // 5, keys, mask))
    found = index.search_with_ties(asked, 9, allow=allowed, deny=denied)
    assert_same(found, in_range(documents, asked, kth_distance(documents, asked, 9, mask), keys, mask))


@pytest.mark.parametrize("bits", [64, 100, 256, 512, 1024])
@pytest.mark.parametrize("queries", [1, 9])
def test_rows_are_shared_among_threads(make_codes, bits, queries, monkeypatch):
    monkeypatch.setattr("llmhash.index.scan._WORDS_PER_THREAD", 100)
    documents, asked = neighbours(make_codes, 30_001, bits, 3), make_codes(queries, bits, 3, distinct=20)
    index = FlatIndex.from_packed(documents, bits)
    for radius in (0, bits // 8, bits // 4):
        assert_same(index.range_search(asked, radius, threads=4), in_range(documents, asked, radius))


def test_everything_found(make_codes):
    """The buffers grow many times over."""
    documents, asked = make_codes(60_000, 32, 5), make_codes(9, 32, 6)
    index = FlatIndex.from_packed(documents, 32)
    assert_same(index.range_search(asked, 32, threads=1), in_range(documents, asked, 32))


def test_ties_at_the_boundary_are_all_there(make_codes):
    documents = np.repeat(np.array([[1], [0], [3]], np.uint8), [5, 2, 40], axis=0)
    index = FlatIndex.from_packed(documents, 8)
    lims, distances, keys = index.search_with_ties(np.zeros((1, 1), np.uint8), 3)
    assert lims.tolist() == [0, 7]
    assert distances.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert keys.tolist() == [5, 6, 0, 1, 2, 3, 4]


def test_nothing_to_find(make_codes):
    asked = make_codes(3, 64, 1)
    empty, index = FlatIndex(64), FlatIndex.from_packed(make_codes(10, 64, 2), 64)
    for found in (
        empty.range_search(asked, 64),
        empty.search_with_ties(asked, 2),
        index.range_search(asked, 64, deny=np.arange(10)),
        index.search_with_ties(asked, 2, allow=np.zeros(10, bool)),
        index.range_search(asked, 0),
    ):
        assert_same(found, (np.zeros(4), np.empty(0), np.empty(0)))
    for found in (index.range_search(asked[:0], 5), index.search_with_ties(asked[:0], 5)):
        assert_same(found, (np.zeros(1), np.empty(0), np.empty(0)))


def test_two_threads_use_one_index_in_both_ways(reference, make_codes):
    documents = neighbours(make_codes, 20_000, 64, 12)
    index = FlatIndex.from_packed(documents, 64)
    asked = make_codes(30, 64, 12, distinct=20)
    ranges, nearest = in_range(documents, asked, 12), reference(documents, asked, 25)
    right: list[bool] = []

    def find(action, expected):
        for _ in range(5):
            found = action()
            right.append(all(np.array_equal(*pair) for pair in zip(found, expected, strict=True)))

    workers = [
        threading.Thread(target=find, args=(lambda: index.range_search(asked, 12, threads=2), ranges)),
        threading.Thread(target=find, args=(lambda: index.search(asked, 25, threads=2), nearest)),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [True] * 10


@pytest.mark.parametrize("radius", [-1, 65, 1.5, True, "3"])
def test_bad_radius(make_codes, radius):
    with pytest.raises(InputError, match="radius must be a whole number from 0 to 64"):
        FlatIndex(64).range_search(make_codes(1, 64, 1), radius)


def test_bad_input(make_codes):
    index = FlatIndex.from_packed(make_codes(10, 64, 1), 64)
    with pytest.raises(InputError, match=r"shape \(n, 8\)"):
        index.range_search(make_codes(1, 72, 1), 3)
    with pytest.raises(InputError, match="deny is a mask of 9 rows"):
        index.range_search(make_codes(1, 64, 1), 3, deny=np.ones(9, bool))
    with pytest.raises(InputError, match="k must be"):
        index.search_with_ties(make_codes(1, 64, 1), 0)
