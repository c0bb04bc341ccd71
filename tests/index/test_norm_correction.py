"""Tables with a correction: distances from the sums of documents' vectors."""

import numpy as np
import pytest
from asymmetric_reference import assert_same, best_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index import (
    LocalMaps,
    NormCorrection,
    TableQueries,
    asymmetric_scores,
    asymmetric_search,
    rescore,
)
from llmhash.index.asymmetric_queries import own_codes

DIM = 21


def make_queries(count, bits, seed, dim=DIM, groups=0, rank=3):
    """Queries in the space of vectors, their tables holding offsets that have little to do with norms."""
    rng = np.random.default_rng(seed)
    width = -(-bits // 8)
    vectors = rng.standard_normal((width, 256, dim)).astype(np.float32)
    offsets = rng.standard_normal((width, 256)).astype(np.float32)
    points = rng.standard_normal((count, dim)).astype(np.float32)
    tables = np.einsum("qd,mad->qma", points, vectors) + offsets
    codes = Codes.from_logits(rng.standard_normal((count, bits)))
    local = make_maps(rng, groups, dim, rank) if groups else None
    correction = NormCorrection(vectors, offsets, local)
    asked = TableQueries(codes, tables.astype(np.float32), correction, points if local else None)
    return points, asked


def make_maps(rng, groups, dim, rank):
    down, up = (rng.standard_normal(shape).astype(np.float32) for shape in ((dim, rank), (rank, dim)))
    scales = np.linspace(-0.2, 0.3, groups, dtype=np.float32)[:, None, None]
    return LocalMaps(np.arange(256, dtype=np.uint8) % groups, scales * down, np.repeat(up[None], groups, 0))


def sums(asked, packed):
    return asymmetric_scores(TableQueries(asked.codes, asked.tables), packed)


def search_reference(asked, packed, k, most, mask=None):
    """The best by corrected scores of the `most` best by the tables' sums."""
    eligible = np.arange(len(packed)) if mask is None else np.flatnonzero(mask)
    scores, rows = [], []
    for query in range(len(asked)):
        one = asked[query : query + 1]
        own = own_codes(one).packed
        _, first = best_of(sums(one, packed[eligible]), own, packed[eligible], most)
        chosen = np.zeros(len(packed), bool)
        chosen[eligible[first[first >= 0]]] = True
        found = best_of(asymmetric_scores(one, packed[chosen]), own, packed, k, chosen)
        scores.append(found[0])
        rows.append(found[1])
    return np.concatenate(scores), np.concatenate(rows)


@pytest.mark.parametrize("bits", [8, 60, 64, 256])
@pytest.mark.parametrize("dim", [1, 16, 37])
@pytest.mark.parametrize("groups", [0, 1, 7])
def test_scores_are_distances(make_codes, bits, dim, groups):
    packed = make_codes(300, bits, 1)
    points, asked = make_queries(5, bits, 2, dim, groups)
    each = asked.correction.vectors[np.arange(packed.shape[1]), packed].astype(np.float64)
    vectors = each.sum(axis=1)
    if groups:
        local, own = asked.correction.local, packed[:, 0] % groups
        vectors += np.einsum("nd,ndr,nre->ne", each[:, 1:].sum(axis=1), local.down[own], local.up[own])
    expected = points.astype(np.float64) @ vectors.T - np.square(vectors).sum(axis=1) / 2
    scale = np.abs(expected).max()
    np.testing.assert_allclose(asymmetric_scores(asked, packed), expected, atol=1e-5 * scale)
    assert np.abs(sums(asked, packed) - expected).max() > 1e-2 * scale


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    bits=st.integers(1, 80),
    count=st.integers(0, 200),
    queries=st.integers(0, 6),
    k=st.one_of(st.integers(1, 12), st.integers(100, 250)),
    most=st.sampled_from([1, 5, 40, 1000]),
    distinct=st.one_of(st.none(), st.integers(1, 10)),
    share=st.one_of(st.none(), st.floats(0, 1)),
    threads=st.integers(1, 3),
    groups=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_search_corrects_its_best(
    make_codes, monkeypatch, bits, count, queries, k, most, distinct, share, threads, groups, seed
):
    monkeypatch.setattr("llmhash.index.asymmetric.CORRECTED", most)
    packed = make_codes(count, bits, seed, distinct)
    _, asked = make_queries(queries, bits, seed, groups=groups)
    mask = None if share is None else np.random.default_rng(seed).random(count) < share
    scores, rows = asymmetric_search(asked, packed, k, allow=mask, threads=threads)
    assert scores.shape == rows.shape == (queries, k)
    if queries:
        assert_same((scores, rows), search_reference(asked, packed, k, max(k, most), mask))
    np.testing.assert_array_equal(rescore(asked, packed, rows), scores)


@pytest.mark.parametrize("groups", [0, 5])
def test_rows_and_queries_are_shared_among_threads(make_codes, monkeypatch, groups):
    packed, (_, asked) = make_codes(3001, 64, 5, distinct=400), make_queries(150, 64, 6, groups=groups)
    alone = asymmetric_scores(asked, packed, threads=1), asymmetric_search(asked, packed, 30, threads=1)
    monkeypatch.setattr("llmhash.index.asymmetric._BYTES_PER_THREAD", 100)
    np.testing.assert_array_equal(asymmetric_scores(asked, packed, threads=3), alone[0])
    assert_same(asymmetric_search(asked, packed, 30, threads=3), alone[1])


@pytest.mark.parametrize("groups", [0, 5])
def test_equal_codes_have_equal_scores(make_codes, groups):
    packed, (_, asked) = make_codes(500, 64, 7, distinct=20), make_queries(3, 64, 8, groups=groups)
    scores = asymmetric_scores(asked, packed)
    for code in np.unique(packed, axis=0):
        same = (packed == code).all(axis=1)
        assert (scores[:, same] == scores[:, same][:, :1]).all()


@pytest.mark.parametrize("groups", [0, 5])
def test_a_part_of_the_queries_is_corrected_too(make_codes, groups):
    packed, (_, asked) = make_codes(50, 64, 7), make_queries(6, 64, 8, groups=groups)
    whole = asymmetric_scores(asked, packed)
    np.testing.assert_array_equal(asymmetric_scores(asked[2:4], packed), whole[2:4])


VECTORS, OFFSETS = np.zeros((2, 256, 3), np.float32), np.zeros((2, 256), np.float32)
GROUPS, DOWN, UP = np.zeros(256, np.uint8), np.zeros((1, 3, 2), np.float32), np.zeros((1, 2, 3), np.float32)


def asked_with(local, points):
    codes, tables = Codes(np.zeros((1, 2), np.uint8), 16), np.zeros((1, 2, 256), np.float32)
    return TableQueries(codes, tables, NormCorrection(VECTORS, OFFSETS, local), points)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: NormCorrection(VECTORS[0], OFFSETS), "vectors are a float32 array of 3 axes"),
        (lambda: NormCorrection(VECTORS[:, :9], OFFSETS), "the second 256 long"),
        (lambda: NormCorrection(VECTORS.astype(float), OFFSETS), "not float64"),
        (lambda: NormCorrection(VECTORS, OFFSETS * np.nan), "offsets hold NaN or infinity"),
        (lambda: NormCorrection(VECTORS, OFFSETS[:1]), "vectors for 2 bytes and offsets for 1"),
        (
            lambda: TableQueries(
                Codes(np.zeros((1, 1), np.uint8), 8),
                np.zeros((1, 1, 256), np.float32),
                NormCorrection(VECTORS, OFFSETS),
            ),
            "a correction for 2 bytes does not fit codes of 1",
        ),
        (
            lambda: LocalMaps(GROUPS[:9], DOWN, UP),
            r"groups of local maps are uint8 \(256,\), not uint8 \(9,\)",
        ),
        (lambda: LocalMaps(GROUPS, DOWN, UP[:, :1]), r"up of local maps are float32 \(1, 2, 3\)"),
        (lambda: LocalMaps(GROUPS, DOWN.astype(float), UP), "not float64"),
        (lambda: LocalMaps(GROUPS, DOWN * np.nan, UP), "down of local maps hold NaN"),
        (lambda: LocalMaps(GROUPS + np.uint8(1), DOWN, UP), "there are 1 local maps, and none for group 1"),
        (
            lambda: NormCorrection(VECTORS[:, :, :2], OFFSETS, LocalMaps(GROUPS, DOWN, UP)),
            "local maps of 3 dimensions do not fit vectors of 2",
        ),
        (lambda: asked_with(LocalMaps(GROUPS, DOWN, UP), None), "points where their correction has local"),
        (lambda: asked_with(None, VECTORS[0, :1]), "points where their correction has local"),
        (lambda: asked_with(LocalMaps(GROUPS, DOWN, UP), VECTORS[0, :2]), r"float32 \(1, 3\), not float32"),
        (
            lambda: asked_with(LocalMaps(GROUPS, DOWN, UP), VECTORS[0, :1] + np.inf),
            "points hold NaN or infinity",
        ),
    ],
)
def test_bad_input(action, message):
    with pytest.raises(InputError, match=message):
        action()
