import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes, bytes_per_code
from llmhash.errors import InputError
from llmhash.index import FlatIndex, Index
from llmhash.index.base import RangeIndex
from llmhash.index.jit import frozen
from llmhash.index.ranges import _scan_part as _collect_part
from llmhash.index.scan import _scan_part

LIGHT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].dtype == np.uint16
    assert found[1].dtype == np.int64


@LIGHT
@given(
    bits=st.one_of(st.integers(1, 320), st.sampled_from([384, 511, 512, 768, 1000, 1024, 2048, 4095, 4096])),
    count=st.integers(0, 200),
    queries=st.integers(0, 20),
    k=st.one_of(st.integers(1, 12), st.integers(150, 250)),
    distinct=st.one_of(st.none(), st.integers(1, 10)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(reference, make_codes, bits, count, queries, k, distinct, threads, seed):
    documents = make_codes(count, bits, seed, distinct)
    asked = make_codes(queries, bits, seed + 1)
    index = FlatIndex(bits)
    index.add(documents)
    assert_same(index.search(asked, k, threads=threads), reference(documents, asked, k))


@pytest.mark.parametrize("first", range(1, 321, 40))
def test_every_width(reference, make_codes, first):
    for bits in range(first, first + 40):
        documents, asked = make_codes(83, bits, bits, distinct=70), make_codes(5, bits, bits + 1)
        index = FlatIndex.from_packed(documents, bits)
        for queries in (asked, asked[:1]):
            for k in (1, 10, 90):
                assert_same(index.search(queries, k, threads=1), reference(documents, queries, k))


@pytest.mark.parametrize("bits", [7, 64, 128, 192, 256, 300, 512, 1024])
@pytest.mark.parametrize("count", [15, 16, 17, 5000, 40_003])
@pytest.mark.parametrize("queries", [1, 3, 4, 9, 70])
def test_every_path_equals_the_reference(reference, make_codes, bits, count, queries):
    documents, asked = make_codes(count, bits, 1), make_codes(queries, bits, 2)
    index = FlatIndex.from_packed(documents, bits)
    for k in (1, 10, 600):
        expected = reference(documents, asked[-1:], k)
        for threads in (1, 4):
            distances, keys = index.search(asked, k, threads=threads)
            assert_same((distances[-1:], keys[-1:]), expected)


@pytest.mark.parametrize("bits", [64, 100])
def test_rows_are_shared_among_threads(reference, make_codes, bits, monkeypatch):
    monkeypatch.setattr("llmhash.index.scan._WORDS_PER_THREAD", 100)
    documents, asked = make_codes(3001, bits, 3, distinct=40), make_codes(2, bits, 4)
    index = FlatIndex.from_packed(documents, bits)
    mask = np.arange(3001) >= 2500  # The first threads' rows are all left out.
    for k in (1, 50, 1500, 4000):
        assert_same(index.search(asked, k, threads=4), reference(documents, asked, k))
        assert_same(index.search(asked, k, allow=mask, threads=4), reference(documents, asked, k, mask=mask))


@pytest.mark.parametrize("bits", [256, 512, 768, 1024, 4096])
def test_long_codes_in_clusters(reference, make_codes, bits):
    """A query's limit is far below most codes' distances, and comparing them ends early."""
    rng = np.random.default_rng(bits)
    documents = make_codes(4000, bits, 1, distinct=50) ^ Codes.pack(rng.random((4000, bits)) < 0.1).packed
    asked = make_codes(20, bits, 1, distinct=50)
    index = FlatIndex.from_packed(documents, bits)
    for k in (1, 10, 100):
        assert_same(index.search(asked, k, threads=1), reference(documents, asked, k))
        assert_same(index.search(asked[:2], k, threads=1), reference(documents, asked[:2], k))


def test_a_misleading_sample_changes_nothing(reference):
    """The sampled rows equal the query, and hardly any others do: the first limit is far too low."""
    bits, count = 64, 64 * 300
    documents = np.zeros((count, 8), np.uint8)
    documents[:] = 255
    documents[np.arange(300) * 64] = 0
    queries = np.zeros((9, 8), np.uint8)
    index = FlatIndex.from_packed(documents, bits)
    for asked in (queries, queries[:1]):
        for k in (299, 300, 301, 5000):
            assert_same(index.search(asked, k, threads=1), reference(documents, asked, k))


def test_candidates_in_descending_distance(reference):
    """Every code is nearer than all before it, so all become candidates and the buffers overflow."""
    bits = 4096
    steps = np.triu(np.ones((bits, bits), bool))
    documents = Codes.pack(steps).packed
    queries = np.zeros((9, bits // 8), np.uint8)
    index = FlatIndex.from_packed(documents, bits)
    for asked in (queries, queries[:2]):
        for k in (1, 5, 700):
            assert_same(index.search(asked, k, threads=1), reference(documents, asked, k))


@LIGHT
@given(data=st.data(), bits=st.sampled_from([8, 64, 65, 200]), seed=st.integers(0, 1000))
def test_added_batch_by_batch(reference, make_codes, data, bits, seed):
    sizes = data.draw(st.lists(st.integers(0, 40), max_size=8))
    documents = make_codes(sum(sizes), bits, seed, distinct=20)
    index, start = FlatIndex(bits), 0
    labels = []
    for size in sizes:
        batch = documents[start : start + size]
        keys = data.draw(st.sampled_from([None, np.arange(size)[::-1] + 10_000 * (start + 1)]))
        index.add(Codes(batch, bits) if size % 2 else batch, keys)
        labels.append(np.arange(start, start + size) if keys is None else keys)
        start += size
    assert len(index) == len(documents)
    asked = make_codes(5, bits, seed + 1)
    keys = np.concatenate(labels) if labels else np.empty(0, np.int64)
    assert_same(index.search(asked, 30), reference(documents, asked, 30, keys))


@LIGHT
@given(
    bits=st.sampled_from([64, 96, 256]),
    share=st.floats(0, 1),
    queries=st.integers(1, 20),
    k=st.integers(1, 60),
    with_keys=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_allowed_rows_and_keys(reference, make_codes, bits, share, queries, k, with_keys, seed):
    rng = np.random.default_rng(seed)
    documents, asked = make_codes(700, bits, seed, distinct=300), make_codes(queries, bits, seed + 1)
    keys = rng.permutation(10_000)[:700] if with_keys else np.arange(700)
    mask = rng.random(700) < share
    index = FlatIndex(bits)
    index.add(documents, keys if with_keys else None)
    expected = reference(documents, asked, k, keys, mask)
    assert_same(index.search(asked, k, allow=mask), expected)
    strangers = np.array([20_000, 2**62, -5])
    assert_same(
        index.search(asked, k, allow=rng.permutation(np.concatenate([keys[mask], strangers]))), expected
    )


@LIGHT
@given(
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    as_keys=st.tuples(st.booleans(), st.booleans()),
    only_deny=st.booleans(),
    with_keys=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_denied_rows_and_keys(reference, make_codes, shares, as_keys, only_deny, with_keys, seed):
    rng = np.random.default_rng(seed)
    documents, asked = make_codes(500, 64, seed, distinct=200), make_codes(6, 64, seed + 1)
    keys = rng.permutation(10_000)[:500] if with_keys else np.arange(500)
    index = FlatIndex(64)
    index.add(documents, keys if with_keys else None)
    allow, deny = (rng.random(500) < share for share in shares)
    allowed, denied = (
        keys[mask] if named else mask for mask, named in zip((allow, deny), as_keys, strict=True)
    )
    mask = ~deny if only_deny else allow & ~deny
    found = index.search(asked, 20, allow=None if only_deny else allowed, deny=denied)
    assert_same(found, reference(documents, asked, 20, keys, mask))


def test_a_filter_that_leaves_little_is_copied_out(reference, make_codes):
    documents, asked = make_codes(50_000, 64, 5), make_codes(30, 64, 6)
    index = FlatIndex.from_packed(documents, 64)
    for allowed in ([], [49_999], [7, 3], range(0, 50_000, 100), range(1, 50_000)):
        mask = np.zeros(50_000, bool)
        mask[list(allowed)] = True
        assert_same(index.search(asked, 20, allow=mask), reference(documents, asked, 20, mask=mask))
        assert_same(
            index.search(asked, 20, allow=np.array(allowed)), reference(documents, asked, 20, mask=mask)
        )


def test_memory_mapped_codes_are_not_copied(reference, make_codes, tmp_path: Path):
    documents, asked = make_codes(2000, 128, 7), make_codes(4, 128, 8)
    path = tmp_path / "codes.bin"
    path.write_bytes(b"header! " + documents.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=8, shape=documents.shape)
    index = FlatIndex.from_packed(mapped, 128)
    assert np.shares_memory(index._words, mapped)
    assert_same(index.search(asked, 10), reference(documents, asked, 10))
    index.add(asked)
    assert len(index) == 2004
    assert_same(index.search(asked, 10), reference(np.concatenate([documents, asked]), asked, 10))
    assert path.read_bytes() == b"header! " + documents.tobytes()


def test_a_filter_whose_codes_are_too_many_to_copy(reference, make_codes, monkeypatch):
    monkeypatch.setattr("llmhash.index.scan._MOST_COPIED", 10)
    documents, asked = make_codes(3000, 64, 5), make_codes(9, 64, 6)
    index = FlatIndex.from_packed(documents, 64)
    for allowed in ([3, 7], range(0, 3000, 100)):
        mask = np.zeros(3000, bool)
        mask[list(allowed)] = True
        assert_same(index.search(asked, 20, allow=mask), reference(documents, asked, 20, mask=mask))
        assert index.range_search(asked, 64, allow=mask)[0].tolist() == [mask.sum() * i for i in range(10)]


def resident_bytes(kind):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    return None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_a_mapped_file_stays_on_disk(tmp_path: Path):
    """Opening touches no page of the codes, and a search brings none of them into memory of its own."""
    path = tmp_path / "codes.bin"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    mapped = np.memmap(path, np.uint8, "r", shape=(1 << 30, 8))
    asked, some = np.ones((5, 8), np.uint8), 1 << 20
    FlatIndex.from_packed(mapped[:100], 64).search(asked, 3)  # What compiling takes is not counted.
    before = resident_bytes("VmRSS")
    FlatIndex.from_packed(mapped, 64)
    assert resident_bytes("VmRSS") - before < 1 << 22
    index, own = FlatIndex.from_packed(mapped[-some:], 64), resident_bytes("RssAnon")
    distances, keys = index.search(asked, 3, threads=1)
    assert resident_bytes("RssAnon") - own < some
    assert (distances == 8).all()
    assert (keys == [0, 1, 2]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="needs files with holes")
def test_rows_beyond_32_bits(reference, make_codes, tmp_path: Path):
    """The last rows of 2^32 + 1000 codes, in a file that is a hole but for them."""
    count, first = 2**32 + 1000, 2**32 - 1000
    with (tmp_path / "codes.bin").open("wb") as file:
        file.truncate(count * 8)
    words = np.memmap(tmp_path / "codes.bin", np.uint64, "r+", shape=(count, 1))
    documents, asked = make_codes(2000, 64, 1, distinct=500), make_codes(9, 64, 2)
    words[first:] = documents.view(np.uint64)
    for queries in (asked, asked[:1]):
        distances = np.empty((len(queries), 20), np.uint16)
        rows = np.empty(distances.shape, np.int64)
        _scan_part(
            frozen(words),
            first,
            count,
            queries.view(np.uint64),
            k=20,
            bits=64,
            allowed=None,
            sample=frozen(words[:0]),
            distances=distances,
            rows=rows,
        )
        nearest = reference(documents, queries, 20)
        assert_same((distances, rows - first), nearest)
        found = {}
        radii = nearest[0][:, 5].astype(np.int64)
        _collect_part(frozen(words), first, count, queries.view(np.uint64), radii, None, found)
        part = found[first]
        order = np.lexsort((part.rows[: part.held[0]], part.distances[: part.held[0]]))
        of_first = order[part.queries[order] == 0]
        np.testing.assert_array_equal(part.rows[of_first][:6] - first, nearest[1][0][:6])


@pytest.mark.parametrize("bits", [24, 64, 72])
def test_strided_and_unaligned_codes(reference, make_codes, bits):
    width = bytes_per_code(bits)
    documents = make_codes(500, bits, 9)
    loose = np.zeros((1000, width + 3), np.uint8)
    loose[::2, 1 : 1 + width] = documents
    shifted = np.zeros(500 * width + 1, np.uint8)
    shifted[1:] = documents.ravel()
    asked = make_codes(3, bits, 10)
    for view in (loose[::2, 1 : 1 + width], shifted[1:].reshape(500, width)):
        index = FlatIndex.from_packed(view, bits)
        assert_same(index.search(asked, 5), reference(documents, asked, 5))


def test_changing_what_was_added_changes_nothing(make_codes):
    documents, keys = make_codes(100, 64, 11), np.arange(100)
    index = FlatIndex(64)
    index.add(documents, keys)
    before = index.search(documents.copy(), 1)
    asked = documents.copy()
    documents[:] = 0
    keys[:] = 0
    assert_same(index.search(asked, 1), before)


def test_two_threads_search_one_index(reference, make_codes):
    documents = make_codes(30_000, 64, 12)
    index = FlatIndex.from_packed(documents, 64)
    asked = [make_codes(40, 64, 100 + i) for i in range(4)]
    found: list[list] = [[] for _ in asked]

    def work(i):
        for _ in range(5):
            found[i].append(index.search(asked[i], 25, threads=2))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, batch in enumerate(asked):
        expected = reference(documents, batch, 25)
        assert len(found[i]) == 5
        for result in found[i]:
            assert_same(result, expected)


def test_many_neighbours(reference, make_codes):
    documents, asked = make_codes(60_000, 64, 13), make_codes(10, 64, 14)
    index = FlatIndex.from_packed(documents, 64)
    for k in (20_000, 60_000, 60_001):
        distances, keys = index.search(asked, k)
        assert_same((distances[:1], keys[:1]), reference(documents, asked[:1], k))


def test_an_empty_index():
    index = FlatIndex(64)
    distances, keys = index.search(np.zeros((2, 8), np.uint8), 3)
    assert (distances == 65535).all()
    assert (keys == -1).all()
    assert distances.shape == keys.shape == (2, 3)
    assert index.search(np.zeros((0, 8), np.uint8), 3)[0].shape == (0, 3)
    assert isinstance(index, Index)
    assert isinstance(index, RangeIndex)


def filled(bits=64, count=10):
    index = FlatIndex(bits)
    index.add(np.zeros((count, bits // 8), np.uint8))
    return index


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: FlatIndex(0), "from 1 to 4096"),
        (lambda: FlatIndex(4097), "from 1 to 4096"),
        (lambda: filled().add(np.zeros((2, 9), np.uint8)), r"shape \(n, 8\)"),
        (lambda: filled().add(np.zeros((2, 8), np.int8)), "uint8"),
        (lambda: filled().add(Codes(np.zeros((2, 4), np.uint8), 32)), "32 bits do not fit an index of 64"),
        (lambda: filled().add(np.zeros((2, 8), np.uint8), np.array([1])), "one a code"),
        (lambda: filled().add(np.zeros((2, 8), np.uint8), np.array([1.0, 2.0])), "whole numbers"),
        (lambda: filled().add(np.zeros((2, 8), np.uint8), np.array([3, 3])), "3 comes more than once"),
        (lambda: filled().add(np.zeros((2, 8), np.uint8), np.array([3, -1])), "-1 is not"),
        (lambda: filled().search(np.zeros((2, 7), np.uint8), 1), r"shape \(n, 8\)"),
        (lambda: filled().search(np.zeros(8, np.uint8), 1), r"shape \(n, 8\)"),
        (lambda: filled().search(np.zeros((1, 8), np.uint8), 0), "k must be"),
        (lambda: filled().search(np.zeros((1, 8), np.uint8), 1.5), "k must be"),
        (lambda: filled().search(np.zeros((1, 8), np.uint8), 1, threads=0), "threads must be"),
        (lambda: filled().search(np.zeros((1, 8), np.uint8), 1, allow=np.ones(9, bool)), "mask of 9 rows"),
        (lambda: filled().search(np.zeros((1, 8), np.uint8), 1, allow=np.ones(10)), "boolean mask or keys"),
        (lambda: FlatIndex.from_packed(np.full((1, 2), 255, np.uint8), 12), "must be zero"),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()


def test_a_refused_batch_leaves_the_index_as_it_was():
    index = filled()
    with pytest.raises(InputError):
        index.add(np.zeros((2, 8), np.uint8), np.array([3, 3]))
    assert len(index) == 10
    assert index.search(np.zeros((1, 8), np.uint8), 20)[1][0].tolist() == [*range(10), *[-1] * 10]
