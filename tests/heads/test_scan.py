"""The scan head: codes for the asymmetric scan alone."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher, Retriever
from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.heads import fit_head
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook import Codebook
from llmhash.heads.query_model import inverse_root, query_model, shrinkage_at
from llmhash.heads.scan import fit_scan
from llmhash.index import TableQueries, asymmetric_scores

DIM, DOCUMENTS = 24, 3000
# How far queries are off their documents: much in half of the dimensions, little in the other.
SPREAD = np.where(np.arange(DIM) % 2, 0.9, 0.15).astype(np.float32)


def sample(documents=DOCUMENTS, queries=800, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(documents, DIM)).astype(np.float32)
    sources = rng.integers(documents, size=queries)
    near = rows[sources] + SPREAD * rng.normal(size=(queries, DIM)).astype(np.float32)
    return TrainingFeatures(rows, near, sources)


@pytest.fixture(scope="module")
def features():
    return sample()


@pytest.fixture(scope="module")
def head(features):
    return fit_scan(features, 32)


def scores(head, queries, documents):
    return asymmetric_scores(head.asymmetric_queries(queries), head.document_codes(documents))


def mean_reciprocal_rank(values, sources):
    own = values[np.arange(len(sources)), sources][:, None]
    return float((1 / (1 + (values > own).sum(axis=1))).mean())


def all_codes(book, x):
    """The squared distance of every code of two bytes, (n, 65536)."""
    vectors = (book.tables[0][:, None] + book.tables[1][None]).reshape(-1, book.dim)
    return np.square(x).sum(axis=1)[:, None] - 2 * x @ vectors.T + np.square(vectors).sum(axis=1)


def test_new_queries_find_their_documents_better_than_by_itq(features):
    documents, rng = features.documents, np.random.default_rng(5)
    sources = rng.integers(DOCUMENTS, size=400)
    queries = documents[sources] + SPREAD * rng.normal(size=(400, DIM)).astype(np.float32)
    # Queries that are off evenly in all directions.
    even = documents[:800] + 0.5 * rng.normal(size=(800, DIM)).astype(np.float32)
    blind = replace(features, queries=even, sources=np.arange(800))
    ours, theirs, without = (
        mean_reciprocal_rank(scores(head, queries, documents), sources)
        for head in (fit_scan(features, 16), fit_head("itq", features, 16), fit_scan(blind, 16))
    )
    assert ours > 1.5 * theirs
    assert ours > 1.05 * without


def test_scores_are_distances_in_the_mapped_space(features, head):
    book, queries = head.codebook, features.queries[:50]
    vectors = book.decode(head.document_codes(features.documents).packed)
    mapped = queries @ book.query_map.T + book.query_shift
    distances = np.square(mapped[:, None] - vectors[None]).sum(axis=2)
    expected = (np.square(mapped).sum(axis=1)[:, None] - distances) / 2
    np.testing.assert_allclose(scores(head, queries, features.documents), expected, rtol=1e-4, atol=1e-3)


def test_sums_of_the_tables_are_near_the_scores(features, head):
    """So that the best by one are among the first by the other."""
    codes = head.document_codes(features.documents)
    asked = head.asymmetric_queries(features.queries[:50])
    exact = asymmetric_scores(asked, codes)
    sums = asymmetric_scores(TableQueries(asked.codes, asked.tables), codes)
    bare = asymmetric_scores(TableQueries(asked.codes, asked.tables - head.codebook.offsets), codes)
    missed = np.sqrt(np.square(sums - exact).mean())
    assert 0 < missed < 0.8 * (bare - exact).std()


def test_a_code_of_one_byte_is_the_nearest_of_all(features):
    head = fit_scan(features, 8)
    book = head.codebook
    x = (features.documents[:200] - book.mean) @ book.document_map.T
    distances = np.square(x[:, None] - book.tables[0][None]).sum(axis=2)
    codes = head.document_codes(features.documents[:200]).packed[:, 0]
    found = distances[np.arange(200), codes]
    np.testing.assert_allclose(found, distances.min(axis=1), rtol=1e-4, atol=1e-4)


def test_a_code_of_two_bytes_is_nearly_the_nearest_of_all(features):
    head = fit_scan(features, 16)
    book = head.codebook
    x = (features.documents[:60] - book.mean) @ book.document_map.T
    distances = all_codes(book, x)
    codes = head.document_codes(features.documents[:60]).packed.astype(np.int64)
    found = distances[np.arange(60), 256 * codes[:, 0] + codes[:, 1]]
    best = distances.min(axis=1)
    assert (found >= best - 1e-3).all()
    assert (found < best + 1e-3).mean() > 0.7
    assert found.mean() < 1.02 * best.mean()


def test_wide_codes_are_searched_for_more_widely_than_those_that_serve_hamming_distance_too():
    rng, none = np.random.default_rng(0), np.zeros(DIM, np.float32)
    tables = (0.8 ** np.arange(32)[:, None, None] * rng.normal(size=(32, 256, DIM))).astype(np.float32)
    both = Codebook(tables, none, none[:1])
    same = np.eye(DIM, dtype=np.float32)
    scan = replace(both, document_map=same, query_map=same, query_shift=none)
    documents, logits = rng.normal(size=(500, DIM)).astype(np.float32), np.zeros((500, 256), np.float32)
    wide, narrow = (
        np.square(documents - book.decode(book.encode(documents, logits))).sum() for book in (scan, both)
    )
    assert wide < 0.9 * narrow


@pytest.mark.parametrize("queries", [False, True])
def test_without_sources_documents_stand_in_for_queries(features, queries):
    head = fit_scan(TrainingFeatures(features.documents, features.queries if queries else None), 16)
    assert head.codebook.scan_only
    assert head.query_bias is None


def test_wider_codes_lean_less_on_where_queries_lie(features):
    noise = query_model(features).noise
    for bits in (16, 256):
        expected = inverse_root(noise, shrinkage_at(bits))
        np.testing.assert_allclose(fit_scan(features, bits).codebook.query_map, expected, atol=1e-6)


def test_queries_have_their_own_mean_where_sides_are_alike(features):
    shift = np.full(DIM, 3.0, np.float32)
    moved = replace(features, queries=features.queries + shift)
    head, plain = fit_scan(moved, 32), fit_scan(features, 32)
    here, there, unaware = (
        mean_reciprocal_rank(scores(h, f.queries, f.documents), f.sources)
        for h, f in ((plain, features), (head, moved), (plain, moved))
    )
    assert there == pytest.approx(here, abs=0.03)
    assert unaware < 0.8 * here


def test_documents_that_are_all_alike_are_no_error():
    same = np.ones((300, DIM), np.float32)
    head = fit_scan(TrainingFeatures(same, same[:20], np.arange(20)), 16)
    assert len(head.document_codes(same)) == 300


def test_fewer_documents_than_values_of_a_byte():
    few = sample(documents=40, queries=30)
    head = fit_scan(few, 64)
    values = scores(head, few.documents, few.documents)
    assert (values.argmax(axis=1) == np.arange(40)).mean() > 0.9


def test_more_bits_than_dimensions_rank_as_the_floats_do(features):
    head = fit_scan(features, 64)
    values = scores(head, features.documents[:100], features.documents)
    assert (values.argmax(axis=1) == np.arange(100)).mean() > 0.9


def test_the_same_seed_gives_the_same_head(features, head):
    again, other = fit_scan(features, 32), fit_scan(features, 32, seed=1)
    np.testing.assert_array_equal(again.codebook.tables, head.codebook.tables)
    assert (other.codebook.tables != head.codebook.tables).any()


def test_codes_are_whole_bytes(features):
    with pytest.raises(InputError, match="ask for 24 bits, not 20"):
        fit_scan(features, 20)


def test_sides_that_differ_have_means_of_their_own(features):
    shift = np.full(DIM, 3.0, np.float32)
    moved = TrainingFeatures(
        features.documents, features.queries + shift, features.sources, sides_differ=True
    )
    head, plain = fit_scan(moved, 32), fit_scan(features, 32)
    here, there = (
        mean_reciprocal_rank(scores(h, f.queries, f.documents), f.sources)
        for h, f in ((plain, features), (head, moved))
    )
    assert there == pytest.approx(here, abs=0.03)


@pytest.mark.parametrize("bits", [8, 256])
def test_codes_of_any_width_are_fitted_in_the_same_rounds(features, bits):
    told = []
    fit_scan(features, bits, progress=lambda *state: told.append(state))
    assert [state[:2] for state in told] == [(turn + 1, 8) for turn in range(8)]


def test_tensors_and_back(head, features):
    loaded = AffineHead.from_tensors(head.tensors())
    np.testing.assert_array_equal(
        loaded.document_codes(features.documents).packed, head.document_codes(features.documents).packed
    )
    np.testing.assert_array_equal(
        scores(loaded, features.queries[:5], features.documents),
        scores(head, features.queries[:5], features.documents),
    )


@pytest.fixture(scope="module")
def hasher(features):
    return Hasher.fit("scan", corpus=features.documents, bits=32)


def test_a_hasher_says_what_its_codes_are_for(hasher, tmp_path):
    hasher.save(tmp_path / "h")
    loaded = Hasher.load(tmp_path / "h")
    assert loaded.scan_only
    assert loaded.head.codebook.use == "scan"
    assert not Hasher.fit("itq", corpus=np.eye(DIM, dtype=np.float32), bits=8).scan_only


def test_a_retriever_scans_whatever_the_size(hasher, features, tmp_path, monkeypatch):
    monkeypatch.setattr("llmhash.collection.scoring.ASYMMETRIC_SCAN_BYTES", 0)
    with Retriever.create(tmp_path / "c", hasher, sidecar="float16") as retriever:
        retriever.add(features.documents)
        for scoring in (None, "asymmetric_scan", "float16"):
            found = [
                hits[0].id for hits in retriever.search_batch(features.documents[:50], 1, scoring=scoring)
            ]
            assert np.mean([name == str(row) for row, name in enumerate(found)]) > 0.5
        for scoring in ("hamming", "asymmetric"):
            with pytest.raises(InputError, match="for the asymmetric scan alone: leave the scoring out"):
                retriever.search(features.documents[0], scoring=scoring)


@pytest.mark.parametrize("engine", ["usearch", "mih"])
def test_engines_that_go_by_hamming_distance_are_refused(hasher, tmp_path, engine):
    with pytest.raises(InputError, match="leave the engine out"):
        Retriever.create(tmp_path / "c", hasher, engine=engine)
    assert not (tmp_path / "c").exists()


def test_ready_codes_are_refused_by_search(hasher, features, tmp_path):
    from typer.testing import CliRunner

    from llmhash.cli.app import app

    with Retriever.create(tmp_path / "c", hasher) as retriever:
        retriever.add(features.documents[:10])
    Codes(np.zeros((1, 4), np.uint8), 32).save(tmp_path / "q.npy", side="query", hasher=hasher.fingerprint)
    result = CliRunner().invoke(app, ["search", str(tmp_path / "c"), "--codes", str(tmp_path / "q.npy")])
    assert isinstance(result.exception, InputError)
    assert "give the question's text" in str(result.exception)


def test_it_becomes_no_sentence_transformer(features):
    hasher = Hasher(fit_scan(features, 16))
    hasher.encoder = object()
    with pytest.raises(InputError, match="for the asymmetric scan alone"):
        hasher.to_sentence_transformers()


def test_map_of_documents_needs_the_rest():
    zeros = np.zeros((1, 256, 4), np.float32)
    with pytest.raises(InputError, match="a codebook with a map of documents has one of queries"):
        Codebook(zeros, zeros[0, 0], zeros[0, 0, :1], document_map=np.eye(4, dtype=np.float32))
