import json
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.index import mih, mih_search
from llmhash.index.base import RangeIndex
from llmhash.index.mih import MihIndex
from llmhash.index.mih_budget import Budget, budget
from llmhash.index.mih_tables import choose_tables

LIGHT = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# How a search is answered: through the tables however long it takes; by the scan as soon as it begins; some
# queries so and some so.
BUDGETS = {
    "tables": Budget(1e18, 1e18),
    "scan": Budget(1e-9, 1e-9),
    "both": Budget(6000.0, 20_000.0),
}


@pytest.fixture
def spend(monkeypatch):
    """Sets what queries may spend, whatever the flat scan would cost."""

    def set_budget(name):
        monkeypatch.setattr(mih_search, "budget", lambda *_: BUDGETS[name])

    return set_budget


@st.composite
def problems(draw):
    """Documents and queries: uniform, clustered or repeated, and an index's options that fit them."""
    bits = draw(st.one_of(st.integers(16, 320), st.sampled_from([16, 64, 128, 256, 512])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, queries = draw(st.integers(0, 300)), draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["uniform", "clustered", "repeated", "equal"]))
    base = rng.integers(0, 2, (max(1, count // 20), bits)).astype(bool)
    documents = base[rng.integers(0, len(base), count)]
    asked = base[rng.integers(0, len(base), queries)]
    if kind == "uniform":
        documents, asked = rng.random((count, bits)) < 0.5, rng.random((queries, bits)) < 0.5
    elif kind == "clustered":
        documents, asked = (
            documents ^ (rng.random((count, bits)) < 0.1),
            asked ^ (rng.random(asked.shape) < 0.05),
        )
    elif kind == "equal":
        documents[:] = base[0]
    # Substrings of at most 9 bits: to go through all of them must not take long.
    tables = draw(st.integers(-(-bits // 9), max(-(-bits // 9), bits // 4)))
    options = {"tables": tables, "regroup": draw(st.booleans())}
    return bits, Codes.pack(documents).packed, Codes.pack(asked).packed, options


@st.composite
def selections(draw, count):
    """allow and deny, as masks over rows or as row numbers, and the mask that they come to."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    masks = {}
    for name in ("allow", "deny"):
        if draw(st.booleans()):
            masks[name] = rng.random(count) < draw(st.floats(0, 1))
    allowed = masks.get("allow", np.ones(count, bool)) & ~masks.get("deny", np.zeros(count, bool))
    return masks, allowed


def assert_same(found, expected):
    assert [array.dtype for array in found] == [array.dtype for array in expected]
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def range_reference(reference, documents, queries, radius, keys=None, mask=None):
    """The numpy reference of a range search, through that of a search for as many as can be within."""
    bits = 8 * queries.shape[1]
    most = (Codes(queries, bits).hamming(Codes(documents, bits)) <= radius).sum(axis=1).max(initial=1)
    distances, found = reference(documents, queries, most, keys, mask)
    within = (distances <= radius) & (found >= 0)
    return np.cumsum([0, *within.sum(axis=1)]), distances[within], found[within]


@LIGHT
@given(
    problem=problems(),
    data=st.data(),
    spent=st.sampled_from(list(BUDGETS)),
    k=st.one_of(st.integers(1, 12), st.integers(250, 350)),
    with_keys=st.booleans(),
    threads=st.integers(1, 3),
)
def test_search_equals_the_reference(reference, spend, problem, data, spent, k, with_keys, threads):
    bits, documents, asked, options = problem
    spend(spent)
    masks, allowed = data.draw(selections(len(documents)))
    keys = np.random.default_rng(k).permutation(len(documents)) + 7 if with_keys else None
    index = MihIndex.from_packed(documents, bits, keys, **options)
    expected = reference(documents, asked, k, keys, allowed)
    assert_same(index.search(asked, k, threads=threads, **masks), expected)


@LIGHT
@given(
    problem=problems(),
    data=st.data(),
    spent=st.sampled_from(list(BUDGETS)),
    with_keys=st.booleans(),
    threads=st.integers(1, 3),
)
def test_range_search_equals_the_reference(reference, spend, problem, data, spent, with_keys, threads):
    bits, documents, asked, options = problem
    spend(spent)
    radius = data.draw(st.integers(0, bits))
    masks, allowed = data.draw(selections(len(documents)))
    keys = np.random.default_rng(radius).permutation(len(documents)) + 7 if with_keys else None
    index = MihIndex.from_packed(documents, bits, keys, **options)
    expected = range_reference(reference, documents, asked, radius, keys, allowed)
    assert_same(index.range_search(asked, radius, threads=threads, **masks), expected)


@pytest.mark.parametrize("spent", BUDGETS)
def test_range_search_at_every_radius(reference, make_codes, spend, spent):
    spend(spent)
    documents, asked = make_codes(200, 20, 1), make_codes(5, 20, 2)
    index = MihIndex.from_packed(documents, 20, tables=3)
    for radius in range(21):
        assert_same(index.range_search(asked, radius), range_reference(reference, documents, asked, radius))


@LIGHT
@given(
    problem=problems(),
    data=st.data(),
    spent=st.sampled_from(list(BUDGETS)),
    k=st.integers(1, 40),
    with_keys=st.booleans(),
)
def test_rows_after_the_tables_are_found(reference, spend, problem, data, spent, k, with_keys):
    bits, documents, asked, options = problem
    spend(spent)
    keys = np.random.default_rng(k).permutation(len(documents)) + 7 if with_keys else None
    cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), min_size=1, max_size=4)))
    index = MihIndex.from_packed(
        documents[: cuts[0]], bits, None if keys is None else keys[: cuts[0]], **options
    )
    for start, stop in zip(cuts, [*cuts[1:], len(documents)], strict=True):
        index.add(documents[start:stop], None if keys is None else keys[start:stop])
    assert (len(index), index.built_rows) == (len(documents), cuts[0])
    masks, allowed = data.draw(selections(len(documents)))
    radius = data.draw(st.integers(0, bits // 2))
    assert_same(index.search(asked, k, **masks), reference(documents, asked, k, keys, allowed))
    expected = range_reference(reference, documents, asked, radius, keys, allowed)
    assert_same(index.range_search(asked, radius, **masks), expected)


def test_the_tables_are_what_answers(make_codes, spend, monkeypatch):
    """Where the budget allows it, the flat scan has no part in it; where not, it has."""
    documents = make_codes(300, 64, 1)
    index = MihIndex.from_packed(documents, 64, tables=8)
    monkeypatch.setattr(mih_search, "nearest_rows", None)
    spend("tables")
    assert index.search(documents[:5], 3)[1][:, 0].tolist() == [0, 1, 2, 3, 4]
    spend("scan")
    with pytest.raises(TypeError):
        index.search(documents[:5], 3)


def test_a_batch_may_be_answered_both_ways(make_codes, spend, monkeypatch):
    """Queries with near neighbours are answered from the tables, and only the others are scanned for."""
    documents = make_codes(2000, 64, 1)
    near, far = documents[:7], make_codes(5, 64, 2)
    index = MihIndex.from_packed(documents, 64, tables=7)
    expected = index.search(np.concatenate([near, far]), 1)
    scan, scanned = mih_search.nearest_rows, []
    monkeypatch.setattr(
        mih_search,
        "nearest_rows",
        lambda words, queries, *rest: scanned.append(len(queries)) or scan(words, queries, *rest),
    )
    spend("both")
    for threads in (1, 4):
        assert_same(index.search(np.concatenate([near, far]), 1, threads=threads), expected)
    assert scanned == [5, 5]


@pytest.mark.parametrize("bits", [64, 100, 256])
def test_many_ties_overflow_the_candidates(reference, make_codes, spend, bits):
    """Thousands at one distance, met in no order of rows."""
    spend("tables")
    documents = make_codes(20_000, bits, 3, distinct=9)
    asked = documents[:3].copy()
    asked[0, 0] ^= 0b101
    index = MihIndex.from_packed(documents, bits, tables=-(-bits // 8))
    for k in (1, 10, 900, 5000):
        assert_same(index.search(asked, k), reference(documents, asked, k))
    assert_same(index.range_search(asked, 2), range_reference(reference, documents, asked, 2))


def test_candidates_in_descending_distance(reference, spend):
    """Whatever is met is nearer than all before, so that the bound falls again and again."""
    spend("tables")
    steps = np.triu(np.ones((256, 256), bool))
    documents = np.repeat(Codes.pack(steps).packed, 20, axis=0)
    asked = np.zeros((1, 32), np.uint8)
    index = MihIndex.from_packed(documents, 256, tables=32)
    for k in (1, 30, 700):
        assert_same(index.search(asked, k), reference(documents, asked, k))


def test_without_a_forced_budget(reference):
    """As users have it: close queries are answered from the tables, far ones are not."""
    count, k, radius = 450_000, 10, 8
    rng = np.random.default_rng(5)
    documents = rng.integers(0, 256, (count, 64), dtype=np.uint8)
    documents[::30_000] = documents[0]
    asked = np.concatenate([documents[:1], rng.integers(0, 256, (1, 64), dtype=np.uint8)])
    asked[0, 3] ^= 1
    index = MihIndex.from_packed(documents, 512)
    assert (index.tables, index.built_rows) == (27, count)
    mask = rng.random(count) < 0.9
    for allow in (None, mask):
        nearest = reference(documents, asked, k, mask=allow)
        within = range_reference(reference, documents, asked, radius, mask=allow)
        assert_same(index.range_search(asked, radius, allow=allow), within)
        assert_same(index.search(asked, k, allow=allow), nearest)
        for i in range(len(asked)):
            expected = [array[i : i + 1] for array in nearest]
            assert_same(index.search(asked[i : i + 1], k, allow=allow), expected)


def test_no_queries_and_no_codes(spend):
    spend("tables")
    nothing = np.empty((0, 8), np.uint8)
    index = MihIndex(64)
    assert isinstance(index, RangeIndex)
    assert index.search(nothing, 3)[0].shape == (0, 3)
    assert index.search(np.zeros((2, 8), np.uint8), 3)[1].tolist() == [[-1] * 3] * 2
    assert index.range_search(np.zeros((2, 8), np.uint8), 64)[0].tolist() == [0, 0, 0]
    index.add(np.zeros((4, 8), np.uint8))
    assert index.search(nothing, 3)[0].shape == (0, 3)
    assert index.range_search(nothing, 3)[0].tolist() == [0]
    assert (index.built_rows, index.nbytes) == (0, 0)


def test_tables_are_rebuilt_when_many_rows_come_after_them(reference, make_codes, monkeypatch):
    monkeypatch.setattr(mih, "_TAIL_ROWS", 100)
    documents, asked = make_codes(3000, 64, 1), make_codes(2, 64, 2)
    index = MihIndex(64)
    index.add(documents[:100])
    index.search(asked, 1)
    assert index.built_rows == 0
    index.add(documents[100:2000])
    assert index.built_rows == 0
    index.search(asked, 1)
    assert (index.built_rows, index.tables) == (2000, choose_tables(64, 2000))
    index.add(documents[2000:2250])
    index.range_search(asked, 1)
    assert index.built_rows == 2000
    index.add(documents[2250:2251])
    index.range_search(asked, 1)
    assert index.built_rows == 2251
    index.add(documents[2251:2300])
    index.rebuild(threads=1)
    assert index.built_rows == 2300
    assert index.nbytes == 4 * (
        2300 * index.tables + index.tables * 2 + sum(2**w for w in widths(64, index.tables))
    )


def widths(bits, tables):
    return [len(part) for part in np.array_split(np.arange(bits), tables)]


def test_the_number_of_tables():
    assert [choose_tables(64, rows) for rows in (10**6, 10**7, 10**8)] == [4, 3, 3]
    assert [choose_tables(128, rows) for rows in (10**6, 10**7, 10**8)] == [7, 6, 5]
    assert [choose_tables(256, rows) for rows in (10**6, 10**7, 10**8)] == [13, 12, 10]
    assert [choose_tables(16, rows) for rows in (0, 1, 2, 10**9)] == [4, 4, 4, 1]
    assert choose_tables(64, 2**32 - 1) == 3


@pytest.mark.parametrize("bits", [64, 130])
def test_regrouping_spreads_bits_that_depend_on_each_other(reference, bits, spend):
    """Bits come in equal runs, so that next to each other they say the same: buckets of hundreds."""
    rng = np.random.default_rng(0)
    runs = rng.integers(0, 2, (5000, -(-bits // 4)))
    documents = Codes.pack(np.repeat(runs, 4, axis=1)[:, :bits]).packed
    plain = MihIndex.from_packed(documents, bits, tables=6)
    spread = MihIndex.from_packed(documents, bits, tables=6, regroup=True)
    assert _met(spread) < _met(plain) / 20
    spend("tables")
    asked = documents[:4] ^ 1
    asked[:, -1] = documents[:4, -1]
    assert_same(spread.search(asked, 20), reference(documents, asked, 20))


def _met(index):
    """How many codes a code finds in its own buckets, on average."""
    split, starts = index._built.split, index._built.starts.astype(np.int64)
    sizes = [np.diff(starts[i : j - 1]) for i, j in zip(split.firsts[:-1], split.firsts[1:], strict=True)]
    return sum((size**2).sum() for size in sizes) / len(index)


def test_regrouping_spreads_constant_bits():
    documents = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8)
    documents[:, :4] = 3
    index = MihIndex.from_packed(documents, 64, tables=4, regroup=True)
    varying = [sum(bit >= 32 for bit in part) for part in np.split(index._built.split.order, 4)]
    assert varying == [8] * 4


@pytest.mark.parametrize("rows", [0, 1, 500])
@pytest.mark.parametrize("bits", [16, 64, 77, 512])
@pytest.mark.parametrize("regroup", [False, True])
def test_saved_and_loaded(tmp_path, reference, make_codes, spend, rows, bits, regroup):
    spend("tables")
    documents, asked = make_codes(rows + 40, bits, 1, distinct=30), make_codes(4, bits, 2)
    index = MihIndex.from_packed(documents[:rows], bits, tables=-(-bits // 8), regroup=regroup)
    index.save(tmp_path / "tables.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["tables.safetensors"]
    np.save(tmp_path / "codes.npy", documents)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    for packed in (documents[:rows], mapped):
        keys = np.arange(len(packed))[::-1] + 5
        loaded = MihIndex.load(tmp_path / "tables.safetensors", packed, bits, keys)
        assert (loaded.built_rows, loaded.tables, loaded.nbytes) == (rows, index.tables, index.nbytes)
        assert len(loaded) == len(packed)
        for k in (1, 20):
            assert_same(loaded.search(asked, k), reference(np.asarray(packed), asked, k, keys))


def test_saving_builds_what_is_not_built(tmp_path, make_codes):
    index = MihIndex(64)
    index.add(make_codes(50, 64, 1))
    index.save(tmp_path / "tables")
    assert index.built_rows == 50
    assert MihIndex.load(tmp_path / "tables", make_codes(50, 64, 1), 64).built_rows == 50


def test_saving_replaces_the_file(tmp_path, make_codes):
    documents = make_codes(90, 64, 1)
    for count in (50, 90):
        MihIndex.from_packed(documents[:count], 64).save(tmp_path / "tables")
        assert MihIndex.load(tmp_path / "tables", documents, 64).built_rows == count


def test_a_failed_save_leaves_what_was_there(tmp_path, make_codes, monkeypatch):
    documents = make_codes(90, 64, 1)
    MihIndex.from_packed(documents[:50], 64).save(tmp_path / "tables")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        MihIndex.from_packed(documents, 64).save(tmp_path / "tables")
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]
    assert MihIndex.load(tmp_path / "tables", documents, 64).built_rows == 50


@pytest.fixture
def saved(tmp_path, make_codes):
    documents = make_codes(60, 40, 1, distinct=20)
    path = tmp_path / "tables.safetensors"
    MihIndex.from_packed(documents, 40, tables=5).save(path)
    return path, documents


def test_flipped_bytes_change_no_answer(saved, spend):
    spend("tables")
    path, documents = saved
    whole = path.read_bytes()
    expected = MihIndex.load(path, documents, 40).search(documents[:3], 10)
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for place in [*range(header), *rng.integers(header, len(whole), 300)]:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            index = MihIndex.load(path, documents, 40)
        except FormatError:
            continue
        assert place < header  # Blanks and the like.
        assert_same(index.search(documents[:3], 10), expected)


def test_truncated_files_are_refused(saved):
    path, documents = saved
    whole = path.read_bytes()
    for length in [*range(0, 1200, 7), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="build the index again"):
            MihIndex.load(path, documents, 40)


def _rewritten(path, change, *, seal=True):
    """Change the tensors and the description of a file, and the checksum so that it fits them."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from llmhash.index import mih_file

    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = dict(file.metadata())
    change(tensors, description)
    if seal:
        description.pop("crc32")
        description["crc32"] = str(mih_file._checksum(description, tensors))
    save_file(tensors, path, metadata=description)


def _set(name, place, value):
    def change(tensors, _):
        tensors[name][place] = value

    return change


def _describe(**values):
    return lambda _, description: description.update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_describe(format="2"), "newer llmhash"),
        (_describe(kind="something else"), "holds no index tables"),
        (_describe(bits="48"), "tables for 60 codes of 48 bits, not for 60 of 40"),
        (_describe(rows="61"), "tables for 61 codes"),
        (_describe(rows="-1"), "tables for -1 codes"),
        (_describe(rows="59"), "out of bounds"),
        (_describe(tables="6"), "out of bounds"),
        (_describe(tables="0"), "no readable file"),
        (_describe(tables="many"), "no readable file"),
        (_set("rows", (2, 3), 60), "out of bounds"),
        (_set("starts", 0, 1), "out of bounds"),
        (_set("starts", 100, 61), "out of bounds"),
        (_set("starts", 2**8 + 1, 59), "out of bounds"),
        (_set("order", 3, 4), "no permutation"),
        (_set("order", 3, -1), "no permutation"),
        (lambda tensors, _: tensors.update(starts=tensors["starts"][:-1]), "out of bounds"),
        (lambda tensors, _: tensors.update(rows=tensors["rows"][:-1]), "out of bounds"),
        (lambda tensors, _: tensors.update(rows=tensors["rows"].astype(np.int16)), "no readable file"),
        (lambda tensors, _: tensors.pop("order"), "no readable file"),
        (lambda _, description: description.pop("kind"), "no readable file"),
    ],
)
def test_files_that_only_look_right_are_refused(saved, change, message):
    path, documents = saved
    _rewritten(path, change)
    with pytest.raises(FormatError, match=message):
        MihIndex.load(path, documents, 40)


def test_foreign_files_are_refused(tmp_path, saved):
    from safetensors.numpy import save_file

    path, documents = saved
    other = documents.copy()
    other[::2] ^= 1
    with pytest.raises(FormatError, match="other codes"):
        MihIndex.load(path, other, 40)
    with pytest.raises(FormatError, match="not for 59 of 40"):
        MihIndex.load(path, documents[:-1], 40)
    _rewritten(path, _set("rows", (0, 0), 1), seal=False)
    with pytest.raises(FormatError, match="checksum"):
        MihIndex.load(path, documents, 40)
    save_file({"weight": np.zeros(3)}, tmp_path / "weights")
    (tmp_path / "text").write_text("{}" * 100)
    (tmp_path / "nested").write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)
    header = json.dumps({"__metadata__": []}).encode()
    (tmp_path / "list").write_bytes(len(header).to_bytes(8, "little") + header)
    for name in ("weights", "text", "nested", "list"):
        with pytest.raises(FormatError, match="build the index again"):
            MihIndex.load(tmp_path / name, documents, 40)
    with pytest.raises(InputError, match="does not exist"):
        MihIndex.load(tmp_path / "nothing", documents, 40)


def test_arguments_that_do_not_fit(make_codes):
    for bits in (15, 513):
        with pytest.raises(InputError, match="16 to 512"):
            MihIndex(bits)
    for tables in (0, 2, 65, 2.0, True, "4"):
        with pytest.raises(InputError, match="from 3 to 64"):
            MihIndex(64, tables)
    index = MihIndex.from_packed(make_codes(10, 64, 1), 64)
    with pytest.raises(InputError, match="128 bits do not fit"):
        index.search(Codes(make_codes(1, 128, 1), 128), 3)
    with pytest.raises(InputError, match="k must be"):
        index.search(make_codes(1, 64, 1), 0)
    with pytest.raises(InputError, match="radius must be"):
        index.range_search(make_codes(1, 64, 1), 65)
    with pytest.raises(InputError, match="mask of 3 rows"):
        index.search(make_codes(1, 64, 1), 3, allow=np.ones(3, bool))


def test_row_numbers_must_fit_32_bits(monkeypatch, make_codes):
    monkeypatch.setattr(mih, "MOST_ROWS", 20)
    index = MihIndex.from_packed(make_codes(20, 64, 1), 64)
    with pytest.raises(InputError, match="several indexes"):
        index.add(make_codes(1, 64, 2))
    with pytest.raises(InputError, match="several indexes"):
        MihIndex.from_packed(make_codes(21, 64, 1), 64)


def test_several_threads_search_at_once_while_the_tables_are_built(reference, make_codes, spend, monkeypatch):
    monkeypatch.setattr(mih, "_TAIL_ROWS", 10)
    spend("both")
    documents, asked = make_codes(4000, 64, 1, distinct=500), make_codes(20, 64, 2)
    index = MihIndex(64, 8)
    index.add(documents)
    expected = reference(documents, asked, 15)
    within = range_reference(reference, documents, asked, 20)
    failures, start = [], threading.Barrier(4)

    def search():
        start.wait()
        try:
            for _ in range(10):
                assert_same(index.search(asked, 15, threads=2), expected)
                assert_same(index.range_search(asked, 20, threads=2), within)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert index.built_rows == 4000


def test_the_budget():
    """It grows with the scan that it saves, and is nothing where a call alone costs as much."""
    assert budget(10_000, 10_000, 1, 1, 1).trial < 0
    large = budget(10**7, 10**7, 1, 1, 1)
    assert 0.05 * 10**7 < large.trial < 0.1 * 10**7 < large.most < 10**7
    assert budget(10**7, 10**7, 2, 1, 1).most == 2 * large.most
    # Threads share a scan, not a query, and memory is not twice as fast for two of them.
    assert budget(4 * 10**6, 4 * 10**6, 1, 1, 2).most == budget(4 * 10**6, 4 * 10**6, 1, 1, 1).most / 2
    assert large.most / 2 < budget(10**7, 10**7, 1, 1, 2).most < large.most
    assert budget(10**7, 10**7, 1, 64, 2).most == budget(10**7, 10**7, 1, 64, 1).most < large.most
    assert budget(10**7, 10**4, 1, 1, 1).most < large.most / 10  # Few allowed codes are copied out.
    assert budget(10**7, 10**7, 1, 0, 2).most == 0
