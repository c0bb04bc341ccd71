import numpy as np
import pytest
from asymmetric_reference import assert_same, best_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llvmlite.binding import get_host_cpu_features

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import TableQueries, asymmetric_scores, asymmetric_search, lookup, rescore
from llmhash.index.asymmetric_queries import own_codes
from llmhash.index.jit import frozen
from llmhash.index.tables import Best, make_tables, score_tables

LIGHT = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WIDTHS = st.one_of(st.integers(1, 72), st.integers(8, 320), st.sampled_from([64, 128, 256, 320]))
KINDS = ["normal", "near", "additive", "constant", "zero", "huge", "tiny", "whole", "raised", "peaked"]


def score_reference(queries, packed):
    """The definition: entries added in float32, from 0, the first byte first."""
    scores = np.zeros((len(queries), len(packed)), np.float32)
    for byte in range(packed.shape[1]):
        scores += queries.tables[:, byte, packed[:, byte]]
    return scores


def search_reference(queries, packed, k, mask=None):
    eligible = packed if mask is None else packed[mask]
    return best_of(score_reference(queries, eligible), own_codes(queries).packed, packed, k, mask)


def make_queries(count, bits, seed, kind="normal"):
    rng = np.random.default_rng(seed)
    width = -(-bits // 8)
    logits = rng.standard_normal((count, bits)).astype(np.float32)
    tables = rng.standard_normal((count, width, 256))
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * 2.0 - 1
    additive = np.einsum("vb,qwb->qwv", signs, rng.standard_normal((count, width, 8)))
    tables = {
        "normal": tables,
        "near": additive + 0.2 * tables,
        "additive": additive,
        "constant": np.full_like(tables, -1.75),
        "zero": np.zeros_like(tables),
        "huge": tables * 1e35,
        "tiny": tables * 1e-44,  # Subnormal, and few different ones.
        "whole": np.round(tables),  # Many equal scores at different distances.
        "raised": tables + 1e6,  # Most of what tells documents apart is lost to rounding.
        "peaked": np.where(rng.random(tables.shape) < 0.01, tables * 1e4, tables),
    }[kind]
    return TableQueries(Codes.from_logits(logits), tables.astype(np.float32))


@LIGHT
@given(
    bits=WIDTHS,
    count=st.integers(0, 200),
    queries=st.integers(0, 6),
    k=st.one_of(st.integers(1, 12), st.integers(100, 250)),
    kind=st.sampled_from(KINDS),
    distinct=st.one_of(st.none(), st.integers(1, 10)),
    share=st.one_of(st.none(), st.floats(0, 1)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_three_equal_the_reference(
    make_codes, bits, count, queries, k, kind, distinct, share, threads, seed
):
    packed, asked = make_codes(count, bits, seed, distinct), make_queries(queries, bits, seed, kind)
    mask = None if share is None else np.random.default_rng(seed).random(count) < share
    np.testing.assert_array_equal(
        asymmetric_scores(asked, packed, threads=threads), score_reference(asked, packed)
    )
    scores, rows = asymmetric_search(asked, packed, k, allow=mask, threads=threads)
    assert_same((scores, rows), search_reference(asked, packed, k, mask))
    np.testing.assert_array_equal(rescore(asked, packed, rows), scores)


@pytest.mark.parametrize("bits", [8, 20, 64, 100, 320])
@pytest.mark.parametrize("kind", KINDS)
def test_many_documents(make_codes, bits, kind):
    """More than a tile, with a sample for the eight queries and without one for the last."""
    packed, asked = make_codes(20_011, bits, 1), make_queries(8, bits, 2, kind)
    mask = np.arange(len(packed)) % 3 > 0
    for k in (1, 10, 700):
        for allow in (None, mask):
            expected = search_reference(asked[-1:], packed, k, allow)
            scores, rows = asymmetric_search(asked, packed, k, allow=allow, threads=1)
            assert_same((scores[-1:], rows[-1:]), expected)
            assert_same(asymmetric_search(asked[-1:], packed, k, allow=allow, threads=1), expected)


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("bits", [64, 128])
def test_documents_that_get_better_and_better(make_codes, bits, ascending):
    """What leaves a chance shrinks from tile to tile, so that steps are made again and again; or never."""
    packed, asked = make_codes(50_000, bits, 3), make_queries(1, bits, 4)
    order = np.argsort(score_reference(asked, packed)[0])
    packed = packed[order if ascending else order[::-1]]
    for k in (1, 40):
        assert_same(asymmetric_search(asked, packed, k, threads=1), search_reference(asked, packed, k))


def test_rows_are_shared_among_threads(make_codes, monkeypatch):
    monkeypatch.setattr("llmhash.index.asymmetric._BYTES_PER_THREAD", 100)
    packed, asked = make_codes(3001, 64, 5, distinct=40), make_queries(2, 64, 6, "whole")
    mask = np.arange(3001) >= 2500  # The first threads' rows are all left out.
    for k in (1, 50, 1500, 4000):
        assert_same(asymmetric_search(asked, packed, k, threads=4), search_reference(asked, packed, k))
        found = asymmetric_search(asked, packed, k, allow=mask, threads=4)
        assert_same(found, search_reference(asked, packed, k, mask))
    np.testing.assert_array_equal(asymmetric_scores(asked, packed, threads=4), score_reference(asked, packed))


def test_a_misleading_sample_changes_nothing():
    """The sampled rows suit most queries best, and no others do: the first floor is far too high."""
    packed = np.zeros((64 * 300, 8), np.uint8)
    packed[np.arange(300) * 64] = 255
    asked = make_queries(9, 64, 7)
    tables = asked.tables.copy()
    tables[:8, :, 255] = 50
    asked = TableQueries(asked.codes, tables)
    for k in (299, 301, 5000):
        assert_same(asymmetric_search(asked, packed, k, threads=1), search_reference(asked, packed, k))


@LIGHT
@given(bits=st.integers(1, 320), share=st.floats(0.05, 0.9), seed=st.integers(0, 2**32 - 1))
def test_the_bound_is_a_bound_and_a_tight_one(make_codes, bits, share, seed):
    """Told that only a certain loss leaves a chance, the scan passes over documents that lose more.

    It may not pass over any that loses less, and as each byte's steps are rounded down, it may keep documents
    that lose up to a step a byte more. No loss at all is no length for steps, and all are kept.
    """
    packed, asked = make_codes(500, bits, seed), make_queries(1, bits, seed)
    made, losses = make_tables(asked), np.zeros(500)
    for byte, table in enumerate(asked.tables[0].astype(np.float64)):
        losses += table.max() - table[packed[:, byte]]
    chance = float(np.quantile(losses, share))
    floor = np.float32(-1e4)  # Below all scores, but far from 1e4 for a double's precision.
    told = made._replace(floor=np.array([floor]), most=np.array([float(floor) + chance]), slack=np.zeros(1))
    words = -(-packed.shape[1] // 8)
    planes, best = np.zeros((words, 512), np.uint64), Best.empty(1, 500)
    everywhere = frozen(np.empty(0, np.uint8))
    lookup.scan_by_bytes(frozen(packed), 0, 500, told.frozen(), everywhere, planes, best)
    found = np.zeros(500, bool)
    found[best.rows[0, : best.held[0]]] = True
    assert found[losses < chance * (1 - 1e-9)].all()
    if chance and get_host_cpu_features().get("avx512vbmi"):
        assert not found[losses > chance * (255 + packed.shape[1]) / 254].any()


def test_parts_of_queries(make_codes):
    packed, asked = make_codes(300, 90, 8), make_queries(40, 90, 9)
    scores, rows = asymmetric_search(asked, packed, 7)
    for part in (slice(3, 17), np.array([5, 0, 5]), np.arange(40) % 7 == 1, slice(0, 0)):
        assert (len(asked[part]), asked[part].bits) == (len(np.arange(40)[part]), 90)
        assert_same(asymmetric_search(asked[part], packed, 7), (scores[part], rows[part]))
        np.testing.assert_array_equal(rescore(asked[part], packed, rows[part]), scores[part])


def test_a_codebook_scores_what_it_rebuilds(make_codes):
    """Entries that are dot products with vectors score the dot product with the sum of a code's vectors."""
    rng = np.random.default_rng(10)
    packed, queries = make_codes(200, 64, 11), rng.standard_normal((5, 24))
    codebook = rng.standard_normal((8, 256, 24))
    tables = np.einsum("qd,wvd->qwv", queries, codebook).astype(np.float32)
    rebuilt = codebook[np.arange(8), packed].sum(axis=1)
    asked = TableQueries(Codes.from_logits(rng.standard_normal((5, 64))), tables)
    scores = asymmetric_scores(asked, Codes(packed, 64))
    np.testing.assert_allclose(scores, queries @ rebuilt.T, atol=1e-4)
    assert np.abs(scores).max() > 10


@pytest.mark.parametrize("bits", [64, 100])
def test_tables_made_of_logits_search_like_logits(make_codes, bits):
    packed = make_codes(5000, bits, 12)
    logits = np.random.default_rng(13).standard_normal((6, bits))
    asked = TableQueries(Codes.from_logits(logits), score_tables(logits))
    assert_same(asymmetric_search(asked, packed, 50), asymmetric_search(logits, packed, 50))
    np.testing.assert_array_equal(asymmetric_scores(asked, packed), asymmetric_scores(logits, packed))


def test_bits_beyond_the_code_are_looked_up_as_stored():
    tables = np.zeros((1, 1, 256), np.float32)
    tables[0, 0, 0b10100000] = 3
    asked = TableQueries(Codes.from_logits(np.array([[1.0, -1.0, 1.0]])), tables)
    packed = np.array([[0], [0b10100000]], np.uint8)
    assert asymmetric_search(asked, packed, 2)[1].tolist() == [[1, 0]]
    assert asymmetric_scores(asked, packed).tolist() == [[0, 3]]


def test_tables_of_another_layout(make_codes):
    packed, asked = make_codes(500, 64, 14), make_queries(12, 64, 15)
    turned = np.asfortranarray(asked.tables)
    turned.flags.writeable = False
    other = TableQueries(asked.codes, turned)
    assert_same(asymmetric_search(other, packed, 20), asymmetric_search(asked, packed, 20))


OWN, TABLES = Codes.pack(np.ones((2, 12))), np.zeros((2, 2, 256), np.float32)
PACKED = np.zeros((3, 2), np.uint8)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: TableQueries(OWN, TABLES[:, :1]), r"shape \(2, 2, 256\), not float32 \(2, 1, 256\)"),
        (lambda: TableQueries(OWN, TABLES[:1]), r"shape \(2, 2, 256\)"),
        (lambda: TableQueries(OWN, TABLES[:, :, :255]), r"shape \(2, 2, 256\)"),
        (lambda: TableQueries(OWN, TABLES.astype(np.float64)), "not float64"),
        (lambda: TableQueries(OWN, TABLES * np.nan), "tables hold NaN"),
        (lambda: TableQueries(OWN, TABLES - np.float32(np.inf)), "tables hold NaN or infinity"),
        (lambda: TableQueries(OWN, TABLES - np.float32(1e38)), "scale them down"),
        (lambda: asymmetric_scores(TableQueries(OWN, TABLES), Codes(PACKED, 16)), "16 bits do not fit"),
        (lambda: asymmetric_search(TableQueries(OWN, TABLES), PACKED[:, :1], 1), r"shape \(n, 2\)"),
        (
            lambda: rescore(TableQueries(OWN, TABLES), PACKED, np.zeros((1, 1), int)),
            r"shape \(2, candidates\)",
        ),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()
