import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhash.errors import InputError
from llmhash.index import postings as module
from llmhash.index.postings import Postings, nearest

LIGHT = settings(max_examples=40, deadline=None)


def numbered(packed):
    """What the rows' codes are called, in plain Python."""
    numbers: dict = {}
    return np.array([numbers.setdefault(bytes(row), len(numbers)) for row in packed], np.int32)


def random_rows(count, width, distinct, seed):
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (distinct, width), dtype=np.uint8)
    return pool[rng.integers(0, distinct, count)]


def filled(packed, step=None):
    postings = Postings(packed.shape[1])
    for start in range(0, len(packed), step or max(1, len(packed))):
        postings.add(packed[start : start + (step or len(packed))])
    return postings


@LIGHT
@given(
    count=st.integers(0, 200),
    width=st.sampled_from([1, 3, 8, 9, 32]),
    distinct=st.sampled_from([1, 5, 300]),
    step=st.one_of(st.none(), st.integers(1, 50)),
    seed=st.integers(0, 1000),
)
def test_codes_are_numbered_as_they_come(count, width, distinct, step, seed):
    packed = random_rows(count, width, distinct, seed)
    postings = filled(packed, step)
    assert len(postings) == count
    np.testing.assert_array_equal(postings.owners, numbered(packed))
    np.testing.assert_array_equal(postings.codes[postings.owners], packed)
    assert len(np.unique(postings.codes, axis=0)) == len(postings.codes)
    again = Postings.of(postings.codes.copy(), postings.owners.astype(np.int64))
    again.add(packed[:7])
    np.testing.assert_array_equal(again.owners, numbered(np.concatenate([packed, packed[:7]])))


def test_a_batch_is_numbered_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 64)
    packed = random_rows(1000, 8, 400, 1)
    postings = filled(packed)
    np.testing.assert_array_equal(postings.owners, numbered(packed))
    # At most half full, or a search for what is not there goes on for long.
    assert np.count_nonzero(postings._table >= 0) == len(postings.codes) <= len(postings._table) / 2


@LIGHT
@given(
    k=st.sampled_from([1, 3, 20, 200]),
    share=st.sampled_from([None, 0, 0.1, 0.8]),
    distinct=st.sampled_from([2, 30, 300]),
    threads=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_the_nearest_rows(k, share, distinct, threads, seed):
    rng = np.random.default_rng(seed)
    packed = random_rows(150, 4, distinct, seed)
    postings = filled(packed, 40)
    codes = len(postings.codes)
    numbers = np.stack([rng.permutation(codes) for _ in range(5)])
    distances = np.sort(rng.integers(0, 4, numbers.shape), axis=1).astype(np.uint16)
    numbers[1, codes // 2 :] = -1
    numbers[2] = -1
    allowed = None if share is None else rng.random(150) < share
    near, found = nearest(numbers, distances, k, postings.rings(allowed), threads)
    for query in range(5):
        of = dict(zip(numbers[query], distances[query], strict=True))
        pairs = sorted(
            (int(of[owner]), row)
            for row, owner in enumerate(postings.owners)
            if owner in of and (allowed is None or allowed[row])
        )[:k]
        pairs += [(65535, -1)] * (k - len(pairs))
        assert list(zip(near[query].tolist(), found[query].tolist(), strict=True)) == pairs


def test_work_is_shared_among_threads(monkeypatch):
    monkeypatch.setattr(module, "_CANDIDATES_PER_THREAD", 10)
    shared = []
    run = module.run
    monkeypatch.setattr(
        module, "run", lambda tasks, threads: (shared.append((len(tasks), threads)), run(tasks, threads))
    )
    postings = filled(random_rows(50, 4, 300, 2))
    numbers = np.tile(np.arange(20), (9, 1))
    distances = np.tile(np.arange(20, dtype=np.uint16), (9, 1))
    alone = nearest(numbers, distances, 5, postings.rings(None), 1)
    together = nearest(numbers, distances, 5, postings.rings(None), 4)
    np.testing.assert_array_equal(alone[1], together[1])
    assert shared == [(1, 1), (4, 4)]


def test_rings_of_allowed_rows_are_ordered_by_their_first():
    postings = filled(np.array([[7], [8], [9], [8], [7]], np.uint8))
    allowed = np.array([False, False, True, True, True])
    assert postings.rings(allowed).order.tolist() == [2, 1, 0]
    assert len(postings.rings(allowed)) == len(postings.rings(None)) == 3
    assert len(postings.rings(np.zeros(5, bool))) == 0


def test_adding_a_few_rows_copies_nothing_that_is_held():
    postings = filled(np.random.default_rng(3).integers(0, 256, (20_000, 8), dtype=np.uint8))
    postings.add(random_rows(1, 8, 10, 4))  # Makes room.
    arrays = ("_codes", "_owners", "_last", "_following", "_table")
    before = [getattr(postings, name) for name in arrays]
    postings.add(random_rows(1000, 8, 1000, 5))
    assert all(getattr(postings, name) is array for name, array in zip(arrays, before, strict=True))


@pytest.mark.parametrize(
    ("codes", "owners", "message"),
    [
        (np.zeros(3, np.uint8), np.zeros(3, np.int32), "another type"),
        (np.zeros((1, 3), np.int8), np.zeros(3, np.int32), "another type"),
        (np.zeros((1, 3), np.uint8), np.zeros(3), "another type"),
        (np.zeros((1, 3), np.uint8), np.array([0, 1]), "not there"),
        (np.zeros((1, 3), np.uint8), np.array([-1, 0]), "not there"),
        (np.zeros((2, 3), np.uint8), np.array([0, 1]), "twice"),
        (np.array([[1], [2]], np.uint8), np.array([1, 0]), "numbered"),
        (np.array([[1], [2]], np.uint8), np.array([0, 0]), "numbered"),
        (np.array([[1], [2]], np.uint8), np.empty(0, np.int32), "numbered"),
    ],
)
def test_parts_that_do_not_fit(codes, owners, message):
    with pytest.raises(ValueError, match=message):
        Postings.of(codes, owners)


def test_more_rows_than_can_be_numbered(monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 10)
    postings = filled(np.zeros((8, 1), np.uint8))
    with pytest.raises(InputError, match="at most 10 codes"):
        postings.add(np.zeros((3, 1), np.uint8))
    assert len(postings) == 8
