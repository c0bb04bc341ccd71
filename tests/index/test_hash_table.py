import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes, bytes_per_code
from llmhash.errors import InputError
from llmhash.index.hash_table import HashTableIndex

LIGHT = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# How the ball is searched: each of its codes looked for, or all codes held compared.
WAYS = pytest.mark.parametrize("look_up_cost", [0, 10**9], ids=["looked up", "compared"])


class Model:
    """What the table should hold, as plain arrays in order of insertion."""

    def __init__(self, bits):
        self.codes, self.keys = np.empty((0, bytes_per_code(bits)), np.uint8), np.empty(0, np.int64)

    def add(self, codes, keys):
        self.codes, self.keys = np.concatenate([self.codes, codes]), np.concatenate([self.keys, keys])

    def remove(self, keys):
        kept = ~np.isin(self.keys, keys)
        self.codes, self.keys = self.codes[kept], self.keys[kept]
        return int((~kept).sum())

    def within(self, queries, radius, mask=None):
        rows = np.arange(len(self.keys)) if mask is None else np.flatnonzero(mask)
        lims, distances, keys = [0], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for query in queries:
            away = np.bitwise_count(self.codes[rows] ^ query).sum(axis=1, dtype=np.int64)
            order = np.argsort(away, kind="stable")
            order = order[away[order] <= radius]
            lims.append(lims[-1] + len(order))
            distances.append(away[order])
            keys.append(self.keys[rows[order]])
        return np.array(lims), np.concatenate(distances), np.concatenate(keys)


def assert_same(found, expected):
    for got, wanted, dtype in zip(found, expected, (np.int64, np.uint16, np.int64), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == dtype


def near_codes(rng, pool, count, bits):
    """Codes that differ from one of a pool in 0 to 3 bits."""
    flips = np.zeros((count, bits), np.uint8)
    for row in flips:
        row[rng.integers(0, bits, rng.integers(0, 4))] = 1
    return pool[rng.integers(0, len(pool), count)] ^ Codes.pack(flips).packed


@WAYS
@pytest.mark.parametrize("first", range(1, 321, 40))
def test_every_width(make_codes, first, look_up_cost, monkeypatch):
    monkeypatch.setattr("llmhash.index.hash_table._LOOK_UP_COST", look_up_cost)
    for bits in range(first, first + 40):
        rng, pool = np.random.default_rng(bits), make_codes(4, bits, bits)
        index, model = HashTableIndex(bits), Model(bits)
        codes = near_codes(rng, pool, 60, bits)
        index.add(codes)
        model.add(codes, np.arange(60))
        assert index.remove(np.arange(0, 60, 7)) == model.remove(np.arange(0, 60, 7))
        for radius in range(min(bits, 2) + 1):
            assert_same(index.range_search(pool, radius, threads=1), model.within(pool, radius))


@LIGHT
@given(
    data=st.data(),
    bits=st.sampled_from([1, 5, 64, 65, 128, 200]),
    look_up_cost=st.sampled_from([0, 10**9]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_sequence_of_operations(make_codes, data, bits, look_up_cost, threads, seed):
    rng, pool = np.random.default_rng(seed), make_codes(6, bits, seed)
    index, model = HashTableIndex(bits), Model(bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmhash.index.hash_table._LOOK_UP_COST", look_up_cost)
        patch.setattr("llmhash.index.hash_table._LEAST_CAPACITY", 4)
        patch.setattr("llmhash.index.hash_table._LOOK_UPS_PER_THREAD", 10)
        added = 0
        for _ in range(data.draw(st.integers(1, 8))):
            count, with_keys = data.draw(st.integers(0, 40)), data.draw(st.booleans())
            codes = near_codes(rng, pool, count, bits)
            keys = rng.permutation(60)[:count] if with_keys else np.arange(added, added + count)
            index.add(Codes(codes, bits) if count % 2 else codes, keys if with_keys else None)
            model.add(codes, keys)
            added += count
            gone = rng.integers(0, 80, data.draw(st.integers(0, 40)))
            assert index.remove(gone) == model.remove(gone)
            assert len(index) == len(model.keys)
            radius = data.draw(st.integers(0, min(bits, 2)))
            asked = pool[: data.draw(st.integers(0, 6))]
            assert_same(index.range_search(asked, radius, threads=threads), model.within(asked, radius))
            allow, deny = rng.random((2, len(index))) < 0.7
            denied = model.keys[deny] if with_keys else deny
            mask = ~np.isin(model.keys, denied) if with_keys else ~deny
            found = index.range_search(asked, radius, allow=allow, deny=denied, threads=threads)
            assert_same(found, model.within(asked, radius, allow & mask))


@WAYS
def test_codes_whose_hashes_are_equal(make_codes, look_up_cost, monkeypatch):
    monkeypatch.setattr("llmhash.index.hash_table._LOOK_UP_COST", look_up_cost)
    index, model = HashTableIndex(64), Model(64)
    index._mix[:] = 0
    codes = near_codes(np.random.default_rng(1), make_codes(5, 64, 1), 300, 64)
    index.add(codes)
    model.add(codes, np.arange(300))
    for radius in range(3):
        assert_same(index.range_search(codes[:20], radius), model.within(codes[:20], radius))


def test_a_cache_that_evicts(make_codes):
    """Ever the same number of codes, of which many repeat: memory stays as it is."""
    codes = make_codes(20_000, 64, 3, distinct=300)
    index, model, size = HashTableIndex(64), Model(64), 0
    for start in range(0, 20_000, 500):
        index.add(codes[start : start + 500])
        model.add(codes[start : start + 500], np.arange(start, start + 500))
        if start >= 2000:
            oldest = np.arange(start - 2000, start - 1500)
            assert index.remove(oldest) == model.remove(oldest) == 500
        if start == 10_000:
            size = index.nbytes
    assert index.nbytes == size
    assert_same(index.range_search(codes[:50], 1), model.within(codes[:50], 1))


def test_one_key_replaced_again_and_again(make_codes):
    codes = make_codes(3000, 64, 4)
    index = HashTableIndex(64)
    index.add(codes[:10])
    for code in codes[10:]:
        assert index.remove(np.array([3])) == 1
        index.add(code[None], np.array([3]))
    assert len(index) == 10
    assert index.range_search(codes[-1:], 0)[2].tolist() == [3]
    assert index.range_search(codes[3:4], 0)[2].size == 0
    assert index.nbytes < 1 << 20


def test_repeated_keys_are_removed_together():
    index = HashTableIndex(8)
    for code in (1, 2, 3):
        index.add(np.array([[code]], np.uint8), np.array([7]))
    assert index.remove([7, 7, 8]) == 3
    assert len(index) == 0
    assert index.remove(7) == 0


def test_many_members_and_few_codes_found_in_parts(make_codes, monkeypatch):
    monkeypatch.setattr("llmhash.index.hash_table._LOOK_UPS_PER_THREAD", 10)
    monkeypatch.setattr("llmhash.index.hash_table._LOOK_UP_COST", 0)
    codes = near_codes(np.random.default_rng(5), make_codes(9, 128, 5), 5000, 128)
    index, model = HashTableIndex(128), Model(128)
    index.add(codes)
    model.add(codes, np.arange(5000))
    for threads in (1, 2, 4):
        assert_same(index.range_search(codes[:30], 2, threads=threads), model.within(codes[:30], 2))


def test_two_threads_look_up_at_once(make_codes):
    codes = near_codes(np.random.default_rng(6), make_codes(50, 64, 6), 20_000, 64)
    index, model = HashTableIndex(64), Model(64)
    index.add(codes)
    model.add(codes, np.arange(20_000))
    expected = [model.within(codes[:40], radius) for radius in (1, 2)]
    right: list[bool] = []

    def find(radius):
        for _ in range(5):
            found = index.range_search(codes[:40], radius, threads=2)
            right.append(all(map(np.array_equal, found, expected[radius - 1])))

    workers = [threading.Thread(target=find, args=(radius,)) for radius in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [True] * 10


def test_an_empty_table(make_codes):
    index, asked = HashTableIndex(64), make_codes(3, 64, 7)
    nothing = np.zeros(4), np.empty(0), np.empty(0)
    assert index.nbytes == len(index) == index.remove([1]) == 0
    assert_same(index.range_search(asked, 2), nothing)
    index.add(make_codes(0, 64, 1))
    assert_same(index.range_search(asked, 2, allow=np.empty(0, bool)), nothing)
    index.add(asked)
    assert index.remove([0, 1, 2]) == 3
    assert_same(index.range_search(asked, 2), nothing)
    assert_same(index.range_search(asked[:0], 2), (np.zeros(1), np.empty(0), np.empty(0)))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda index, codes: HashTableIndex(0), "from 1 to 4096"),
        (lambda index, codes: index.range_search(codes, 3), "FlatIndex and MihIndex go further"),
        (lambda index, codes: index.range_search(codes, -1), "radius must be"),
        (lambda index, codes: index.range_search(codes[:, :7], 1), r"shape \(n, 8\)"),
        (lambda index, codes: index.range_search(codes, 1, allow=np.ones(9, bool)), "mask of 9 rows"),
        (lambda index, codes: index.range_search(codes, 1, threads=0), "threads must be"),
        (lambda index, codes: index.add(codes[:, :7]), r"shape \(n, 8\)"),
        (lambda index, codes: index.add(codes, np.array([1, 1])), "comes more than once"),
        (lambda index, codes: index.remove(np.array([1.5])), "keys must be whole numbers"),
        (lambda index, codes: index.remove(np.ones((2, 2), int)), "keys must be whole numbers"),
    ],
)
def test_bad_input(make_codes, action, message):
    index, codes = HashTableIndex(64), make_codes(2, 64, 8)
    index.add(codes)
    with pytest.raises(InputError, match=message):
        action(index, codes)
    assert len(index) == 2
    assert index.range_search(codes, 0)[2].tolist() == [0, 1]
