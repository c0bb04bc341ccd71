import subprocess
import sys
import threading

import numpy as np
import pytest
from asymmetric_reference import assert_same, best_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import asymmetric_scores, asymmetric_search, rescore

LIGHT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WIDTHS = st.one_of(st.integers(1, 150), st.sampled_from([192, 256, 300, 384, 1024, 4095]))


def score_reference(logits, packed):
    """The definition in the module's docstring, spelled out in float32 additions."""
    bits = logits.shape[1]
    total = np.abs(logits.astype(np.float64)).sum(axis=1, keepdims=True)
    shares = (logits / np.where(total > 0, total, 1)).astype(np.float32)
    signs = np.where(np.unpackbits(packed, axis=1, count=bits) == 1, np.float32(1), np.float32(-1))
    scores = np.zeros((len(logits), len(packed)), np.float32)
    for start in range(0, bits, 8):
        part = np.zeros_like(scores)
        for bit in range(start, min(bits, start + 8)):
            part += shares[:, bit, None] * signs[None, :, bit]
        scores += part
    return np.clip(scores, -1, 1)


def search_reference(logits, packed, k, mask=None):
    eligible = packed if mask is None else packed[mask]
    return best_of(score_reference(logits, eligible), Codes.from_logits(logits).packed, packed, k, mask)


def make_logits(count, bits, seed, kind="normal"):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((count, bits)).astype(np.float32)
    if kind == "whole":  # Many equal scores at different distances.
        return np.round(logits)
    if kind == "equal":  # The score is then the Hamming distance.
        return np.sign(logits)
    if kind == "heavy":
        return logits**9
    if kind == "zero":
        return np.zeros_like(logits)
    return logits


@LIGHT
@given(
    bits=WIDTHS,
    count=st.integers(0, 150),
    queries=st.integers(0, 6),
    k=st.one_of(st.integers(1, 12), st.integers(100, 200)),
    kind=st.sampled_from(["normal", "whole", "equal", "heavy", "zero"]),
    distinct=st.one_of(st.none(), st.integers(1, 10)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_three_equal_the_reference(make_codes, bits, count, queries, k, kind, distinct, threads, seed):
    packed, logits = make_codes(count, bits, seed, distinct), make_logits(queries, bits, seed, kind)
    expected = score_reference(logits, packed)
    np.testing.assert_array_equal(asymmetric_scores(logits, packed, threads=threads), expected)
    scores, rows = asymmetric_search(logits, packed, k, threads=threads)
    assert_same((scores, rows), search_reference(logits, packed, k))
    np.testing.assert_array_equal(rescore(logits, packed, rows), scores)


@pytest.mark.parametrize("bits", [12, 64, 100, 256, 384])
@pytest.mark.parametrize("count", [31, 32, 33, 9001, 50_007])
@pytest.mark.parametrize("kind", ["normal", "whole"])
def test_many_documents(make_codes, bits, count, kind):
    """More than a tile, more than a sample, blocks cut short."""
    packed, logits = make_codes(count, bits, 1), make_logits(3, bits, 2, kind)
    for k in (1, 30, 700):
        expected = search_reference(logits[-1:], packed, k)
        for threads in (1, 3):
            scores, rows = asymmetric_search(logits, packed, k, threads=threads)
            assert_same((scores[-1:], rows[-1:]), expected)


def test_rows_are_shared_among_threads(make_codes, monkeypatch):
    monkeypatch.setattr("llmhash.index.asymmetric._BYTES_PER_THREAD", 100)
    packed, logits = make_codes(3001, 64, 3, distinct=40), make_logits(2, 64, 4, "whole")
    mask = np.arange(3001) >= 2500  # The first threads' rows are all left out.
    for k in (1, 50, 1500, 4000):
        assert_same(asymmetric_search(logits, packed, k, threads=4), search_reference(logits, packed, k))
        found = asymmetric_search(logits, packed, k, allow=mask, threads=4)
        assert_same(found, search_reference(logits, packed, k, mask))
    np.testing.assert_array_equal(
        asymmetric_scores(logits, packed, threads=4), score_reference(logits, packed)
    )


def test_a_misleading_sample_changes_nothing():
    """The sampled rows suit the query perfectly, and no others do: the first floor is far too high."""
    packed = np.zeros((64 * 300, 8), np.uint8)
    packed[np.arange(300) * 64] = 255
    logits = np.abs(make_logits(9, 64, 5)) + 1
    logits[3] *= -1  # Its sample does not mislead.
    for k in (299, 301, 5000):
        assert_same(asymmetric_search(logits, packed, k, threads=1), search_reference(logits, packed, k))


@LIGHT
@given(
    bits=st.sampled_from([20, 64, 128]),
    share=st.floats(0, 1),
    queries=st.integers(1, 12),
    k=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_allowed_rows(make_codes, bits, share, queries, k, seed):
    rng = np.random.default_rng(seed)
    packed, logits = make_codes(700, bits, seed, distinct=300), make_logits(queries, bits, seed, "whole")
    mask = rng.random(700) < share
    expected = search_reference(logits, packed, k, mask)
    assert_same(asymmetric_search(logits, packed, k, allow=mask), expected)
    rows = rng.permutation(np.append(np.flatnonzero(mask), [700, 2**40, -1]))
    assert_same(asymmetric_search(logits, packed, k, allow=rows), expected)


def test_scores_mean_what_they_say(make_codes):
    packed = make_codes(200, 64, 6)
    logits = make_logits(4, 64, 7)
    logits[3] = np.sign(logits[3])
    exact = (logits / np.abs(logits).sum(axis=1, keepdims=True)) @ Codes(packed, 64).to_pm1(np.float64).T
    scores = asymmetric_scores(logits, Codes(packed, 64))
    np.testing.assert_allclose(scores, exact, atol=1e-6)
    distances = Codes.from_logits(logits[3:]).hamming(Codes(packed, 64))
    np.testing.assert_allclose(scores[3], 1 - 2 * distances[0] / 64, atol=1e-6)
    own = Codes.from_logits(logits).packed
    assert np.diag(asymmetric_scores(logits, own)).max() <= 1
    np.testing.assert_allclose(np.diag(asymmetric_scores(logits, own)), 1, atol=1e-6)


def test_one_query_scores_as_in_a_batch(make_codes):
    packed, logits = make_codes(50, 90, 8), make_logits(40, 90, 9)
    batch = asymmetric_scores(logits, packed)
    single = np.concatenate([asymmetric_scores(logits[i : i + 1], packed) for i in range(40)])
    np.testing.assert_array_equal(batch, single)


def test_memory_mapped_codes(make_codes, tmp_path):
    packed, logits = make_codes(2000, 72, 10), make_logits(3, 72, 11)
    np.save(tmp_path / "codes.npy", packed)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    assert_same(asymmetric_search(logits, mapped, 9), search_reference(logits, packed, 9))
    assert_same(asymmetric_search(logits, mapped[1::2], 9), search_reference(logits, packed[1::2], 9))


def test_two_threads_at_once(make_codes):
    packed = make_codes(20_000, 64, 12)
    logits = [make_logits(8, 64, seed) for seed in range(4)]
    found: list = [None] * 4

    def work(i):
        found[i] = asymmetric_search(logits[i], packed, 20, threads=2)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(4):
        assert_same(found[i], search_reference(logits[i], packed, 20))


def test_candidates_that_are_not_there(make_codes):
    packed, logits = make_codes(5, 16, 13), make_logits(2, 16, 14)
    rows = np.array([[0, -1, 4], [-1, -1, 2]])
    scores = rescore(logits, packed, rows)
    np.testing.assert_array_equal(np.isneginf(scores), rows == -1)
    np.testing.assert_array_equal(scores[0, [0, 2]], score_reference(logits, packed)[0, [0, 4]])
    assert rescore(logits, packed, np.empty((2, 0), np.int64)).shape == (2, 0)


LOGITS, PACKED = np.ones((2, 16), np.float32), np.zeros((3, 2), np.uint8)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: asymmetric_search(LOGITS * np.nan, PACKED, 1), "NaN"),
        (lambda: asymmetric_scores(LOGITS * np.inf, PACKED), "infinity"),
        (lambda: rescore(LOGITS[0], PACKED, np.zeros((1, 1), int)), r"shape \(q, bits\)"),
        (lambda: asymmetric_scores(LOGITS, PACKED[:, :1]), r"shape \(n, 2\)"),
        (lambda: asymmetric_scores(LOGITS, Codes(PACKED[:, :1], 8)), "8 bits do not fit"),
        (lambda: asymmetric_search(LOGITS, PACKED, 0), "k must be"),
        (lambda: asymmetric_search(LOGITS, PACKED, 1, allow=np.ones(2, bool)), "mask of 2 rows"),
        (lambda: asymmetric_search(LOGITS, PACKED, 1, threads=-1), "threads must be"),
        (lambda: rescore(LOGITS, PACKED, np.zeros((1, 1), int)), r"shape \(2, candidates\)"),
        (lambda: rescore(LOGITS, PACKED, np.full((2, 1), 3)), "from -1 to 2"),
        (lambda: rescore(LOGITS, PACKED, np.full((2, 1), -2)), "from -1 to 2"),
        (lambda: rescore(LOGITS, PACKED, np.zeros((2, 1))), "whole numbers"),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()


PORTABLE = """
import numpy as np
from llmhash.codes import Codes
from llmhash.index import FlatIndex, TableQueries, asymmetric_scores, asymmetric_search
rng = np.random.default_rng(0)
for bits in (64, 100, 256):
    packed = Codes.pack(rng.integers(0, 2, (3000, bits))).packed
    logits = rng.standard_normal((9, bits)).astype(np.float32)
    tables = rng.standard_normal((9, packed.shape[1], 256)).astype(np.float32)
    for queries in (logits, TableQueries(Codes.from_logits(logits), tables)):
        scores, rows = asymmetric_search(queries, packed, 20)
        full = asymmetric_scores(queries, packed)
        assert (np.take_along_axis(full, rows, axis=1) == scores).all()
        assert (scores == -np.sort(-full, axis=1)[:, :20]).all()
    index = FlatIndex.from_packed(packed, bits)
    own = Codes.from_logits(logits)
    away = own.hamming(Codes(packed, bits))
    order = np.argsort(away, axis=1, kind="stable")[:, :20]
    for asked in (slice(0, 9), slice(0, 1)):
        distances, keys = index.search(own[asked], 20)
        assert (keys == order[asked]).all()
        assert (distances == np.take_along_axis(away, order, axis=1)[asked]).all()
"""


def test_a_processor_without_vector_instructions(monkeypatch):
    """The same results from code for the oldest processor of this kind."""
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    subprocess.run([sys.executable, "-c", PORTABLE], check=True, timeout=300)
