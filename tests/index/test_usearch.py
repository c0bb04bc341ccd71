import json
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.index import FlatIndex, Index, UsearchIndex, make_index, recall_against_exact

LIGHT = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def build(packed, bits, keys=None):
    index = UsearchIndex(bits)
    index.add(packed, keys)
    return index


def clustered(count, bits, seed):
    """Codes near 30 centres: more like real ones than uniform codes, in which a graph finds little."""
    rng = np.random.default_rng(seed)
    centres = rng.random((30, bits)) < 0.5
    return Codes.pack(centres[rng.integers(0, 30, count)] ^ (rng.random((count, bits)) < 0.1)).packed


@LIGHT
@given(
    bits=st.one_of(st.integers(1, 100), st.sampled_from([256, 300])),
    count=st.integers(0, 60),
    distinct=st.one_of(st.none(), st.integers(1, 6)),
    queries=st.integers(0, 5),
    k=st.integers(1, 80),
    with_keys=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_small_index_is_exact(reference, make_codes, bits, count, distinct, queries, k, with_keys, seed):
    """The graph sees all of so few codes. Every trap is here: short results, padding bits, repeated codes."""
    packed, asked = make_codes(count, bits, seed, distinct), make_codes(queries, bits, seed + 1)
    keys = np.random.default_rng(seed).permutation(1000)[:count] if with_keys else None
    index = build(packed, bits, keys)
    assert len(index) == count
    assert isinstance(index, Index)
    distances, found = index.search(asked, k)
    expected = reference(packed, asked, k, keys)
    np.testing.assert_array_equal(distances, expected[0])
    if k >= len(np.unique(packed, axis=0)):  # Else it may find others at the k-th distance.
        np.testing.assert_array_equal(found, expected[1])
    assert (distances.dtype, found.dtype) == (np.uint16, np.int64)


@LIGHT
@given(
    share=st.sampled_from([0, 0.02, 0.3, 0.9, 1]),
    k=st.sampled_from([1, 7, 300]),
    distinct=st.sampled_from([8, 400]),
    seed=st.integers(0, 1000),
)
def test_allowed_rows_are_found_in_full(make_codes, share, k, distinct, seed):
    rng = np.random.default_rng(seed)
    packed, asked = make_codes(500, 64, seed, distinct), make_codes(4, 64, seed + 1)
    keys = rng.permutation(1000)[:500]
    index = build(packed, 64, keys)
    mask = rng.random(500) < share
    distances, found = index.search(asked, k, allow=mask)
    wanted = min(k, int(mask.sum()))
    assert (found[:, wanted:] == -1).all()
    assert (distances[:, wanted:] == 65535).all()
    row_of = {key: row for row, key in enumerate(keys)}
    for query, near, those in zip(asked, distances, found[:, :wanted], strict=True):
        rows = np.array([row_of[key] for key in those], np.int64)
        assert mask[rows].all()
        away = np.bitwise_count(packed[rows] ^ query).sum(axis=1)
        np.testing.assert_array_equal(away, near[:wanted])
        assert np.array_equal(np.lexsort((rows, away)), np.arange(wanted))
        assert len(set(rows)) == wanted
    by_key = index.search(asked, k, allow=np.append(keys[mask], 5000))
    np.testing.assert_array_equal(by_key[0], distances)
    np.testing.assert_array_equal(by_key[1], found)


def test_a_narrow_filter_is_answered_exactly(reference):
    packed, asked = clustered(4000, 64, 1), clustered(20, 64, 2)
    mask = np.zeros(4000, bool)
    mask[::100] = True
    distances, _ = build(packed, 64).search(asked, 10, allow=mask)
    np.testing.assert_array_equal(distances, reference(packed, asked, 10, mask=mask)[0])


def test_repeated_codes_take_one_node_and_keep_their_order():
    packed = np.repeat(np.array([[0], [255], [1]], np.uint8), [50, 3, 2], axis=0)
    index = build(packed, 8, np.arange(55)[::-1])
    assert len(index) == 55
    assert len(index._graph) == 3
    distances, keys = index.search(np.zeros((1, 1), np.uint8), 54)
    assert distances[0].tolist() == [0] * 50 + [1] * 2 + [8] * 2
    assert keys[0].tolist() == [*range(54, 4, -1), 1, 0, 4, 3]


def test_added_bit_by_bit(reference, make_codes):
    packed, asked = make_codes(60, 64, 3, distinct=25), make_codes(6, 64, 4)
    index = UsearchIndex(64)
    for start in range(0, 60, 7):
        index.add(
            Codes(packed[start : start + 7], 64), None if start % 2 else np.arange(7)[: 60 - start] + start
        )
    found = index.search(asked, 60)
    expected = reference(packed, asked, 60)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_recall():
    packed, asked = clustered(5000, 64, 5), clustered(50, 64, 6)
    index, flat = build(packed, 64), FlatIndex.from_packed(packed, 64)
    assert recall_against_exact(index, flat, asked, 10) > 0.9
    assert recall_against_exact(flat, flat, asked, 10) == 1
    assert recall_against_exact(flat, flat, asked, 6000) == 1
    assert recall_against_exact(FlatIndex(64), flat, asked, 10) == 0
    assert recall_against_exact(FlatIndex(64), FlatIndex(64), asked, 10) == 1


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


def test_threads_take_turns():
    packed, asked = clustered(2000, 64, 7), clustered(30, 64, 8)
    index = build(packed, 64)
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
    for distances, keys in found:
        np.testing.assert_array_equal(distances, alone[0])
        np.testing.assert_array_equal(keys, alone[1])


@pytest.mark.parametrize("bits", [12, 64])
@pytest.mark.parametrize("with_keys", [False, True])
def test_saved_and_loaded(make_codes, tmp_path, bits, with_keys):
    packed, asked = make_codes(300, bits, 9, distinct=200), make_codes(8, bits, 10)
    index = UsearchIndex(bits, connectivity=8, expansion_add=40, expansion_search=30)
    index.add(packed, np.arange(300)[::-1] * 3 if with_keys else None)
    index.save(tmp_path / "codes.usearch")
    assert [path.name for path in tmp_path.iterdir()] == ["codes.usearch"]
    loaded = UsearchIndex.load(tmp_path / "codes.usearch")
    assert (loaded.bits, len(loaded), loaded._settings) == (bits, 300, index._settings)
    assert (loaded._graph.expansion_add, loaded._graph.expansion_search) == (40, 30)
    for allow in (None, np.arange(300) % 2 == 0):
        before, after = index.search(asked, 20, allow=allow), loaded.search(asked, 20, allow=allow)
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])
    loaded.add(asked, np.arange(8) + 5000)
    assert len(loaded) == 308
    assert (loaded.search(asked, 1)[0] == 0).all()


def test_an_empty_index_is_saved_and_loaded(tmp_path):
    UsearchIndex(64).save(tmp_path / "empty")
    index = UsearchIndex.load(tmp_path / "empty")
    assert len(index) == 0
    assert index.search(np.zeros((1, 8), np.uint8), 2)[1].tolist() == [[-1, -1]]
    index.add(np.zeros((1, 8), np.uint8))
    assert index.search(np.zeros((1, 8), np.uint8), 2)[1].tolist() == [[0, -1]]


def test_damaged_files(make_codes, tmp_path):
    path = tmp_path / "codes.usearch"
    build(make_codes(300, 64, 12), 64).save(path)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="does not exist"):
        UsearchIndex.load(tmp_path / "absent")
    for size in (0, 1, 30, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError):
            UsearchIndex.load(path)
    for place in range(100, len(whole), len(whole) // 60):
        flipped = bytearray(whole)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        try:
            UsearchIndex.load(path)
        except FormatError:
            continue
        # What the archive does not check is what it does not need: names and sizes that it holds twice.
        assert whole[place - 40 : place + 40].count(b".npy"), place
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(FormatError):
        UsearchIndex.load(tmp_path / "plain.npy")


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
        ({"about": {"format": 2}}, "newer llmhash"),
        ({"about": {"kind": "else"}}, "not a USearch index"),
        ({"about": {"bits": 65}}, "whole"),
        ({"about": {"bits": "64"}}, "whole"),
        ({"about": {"connectivity": 1}}, "whole"),
        ({"graph": None}, "whole"),
        ({"graph": np.zeros(1000, np.uint8)}, "whole"),
        ({"codes": np.zeros((2, 8), np.uint8)}, "whole"),
        ({"owners": np.full(300, 7)}, "whole"),
        ({"owners": np.zeros(300)}, "whole"),
        ({"keys": np.arange(3)}, "whole"),
    ],
)
def test_files_whose_parts_do_not_fit(make_codes, tmp_path, changes, message):
    path = tmp_path / "codes.usearch"
    build(make_codes(300, 64, 12), 64).save(path)
    rewrite(path, **changes)
    assert zipfile.is_zipfile(path)
    with pytest.raises(FormatError, match=message):
        UsearchIndex.load(path)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: UsearchIndex(0), "from 1 to 4096"),
        (lambda: UsearchIndex(64, connectivity=1), "connectivity must be"),
        (lambda: UsearchIndex(64, expansion_add=0), "expansion_add must be"),
        (lambda: UsearchIndex(64, expansion_search=2.5), "expansion_search must be"),
        (lambda: UsearchIndex(64).add(np.zeros((1, 9), np.uint8)), r"shape \(n, 8\)"),
        (lambda: UsearchIndex(60).add(np.full((1, 8), 255, np.uint8)), "must be zero"),
        (lambda: UsearchIndex(64).add(np.zeros((2, 8), np.uint8), np.array([5, 5])), "more than once"),
        (lambda: UsearchIndex(64).search(np.zeros((1, 8), np.uint8), 0), "k must be"),
        (lambda: make_index("faiss", 64), "auto, flat, usearch"),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()


def test_make_index():
    assert isinstance(make_index("auto", 64), FlatIndex)
    assert isinstance(make_index("flat", 64), FlatIndex)
    assert isinstance(make_index("usearch", 64), UsearchIndex)
