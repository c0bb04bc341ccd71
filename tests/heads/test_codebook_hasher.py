"""A hasher with a codebook: stored, measured and searched."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher, Retriever
from llmhash.codes import Codes
from llmhash.index import asymmetric_scores

BITS, DOCUMENTS, DIM = 16, 400, 20


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, DIM))
    rows = centres[rng.integers(30, size=DOCUMENTS + 20)] + rng.normal(0, 0.5, (DOCUMENTS + 20, 20))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def documents(vectors):
    return vectors[:DOCUMENTS]


@pytest.fixture(scope="module")
def queries(vectors):
    return vectors[DOCUMENTS:]


@pytest.fixture(scope="module")
def hasher(documents):
    return Hasher.distill(
        None, documents, bits=BITS, options={"steps": 20, "codebook": "always", "validate_every": 10}
    )


NO_ANCHORS = {"anchor_keys": None, "anchor_offsets": None, "anchor_votes": None}


def anchors(count):
    return {
        "anchor_keys": np.ones((count, DIM), np.float32),
        "anchor_offsets": np.zeros(count, np.float32),
        "anchor_votes": np.ones((count, BITS), np.float32),
    }


def changed(hasher, **arrays):
    book = replace(hasher.head.codebook, **arrays)
    return Hasher(replace(hasher.head, codebook=book))


def test_it_survives_saving(hasher, documents, queries, tmp_path):
    hasher.save(tmp_path / "h")
    loaded = Hasher.load(tmp_path / "h")
    codes = hasher.encode_documents(documents)
    assert (codes.packed != Codes.from_logits(hasher.head.document_logits(documents)).packed).any()
    np.testing.assert_array_equal(loaded.encode_documents(documents).packed, codes.packed)
    np.testing.assert_array_equal(
        asymmetric_scores(loaded.asymmetric_queries(queries), codes),
        asymmetric_scores(hasher.asymmetric_queries(queries), codes),
    )
    assert loaded.fingerprint == hasher.fingerprint


def test_the_fingerprint_knows_all_of_the_codebook(hasher):
    book = hasher.head.codebook
    others = [
        Hasher(replace(hasher.head, codebook=None)),
        changed(hasher, tables=book.tables + np.float32(0.5)),
        changed(hasher, mean=book.mean + np.float32(0.5)),
        changed(hasher, pull=book.pull + np.float32(0.5)),
        changed(hasher, offsets=np.zeros((BITS // 8, 256), np.float32)),
        changed(hasher, **NO_ANCHORS, query_mean=book.mean + np.float32(0.5)),
        changed(hasher, query_map=2 * np.eye(DIM, dtype=np.float32), query_shift=book.mean),
        changed(hasher, query_map=2 * np.eye(DIM, dtype=np.float32), query_shift=2 * book.mean),
        changed(hasher, query_mean=None, **anchors(3)),
        changed(hasher, query_mean=None, **anchors(4)),
    ]
    assert len({hasher.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_the_balance_in_the_training_facts_is_that_of_the_codes(hasher, documents):
    shares = hasher.encode_documents(documents).unpack().mean(axis=0)
    np.testing.assert_allclose(hasher.training["bit_balance"], shares, atol=1e-4)


def reference(hasher, documents, query, scoring, k, candidates):
    """Rows and scores by plain numpy."""
    codes = hasher.encode_documents(documents).packed
    own = hasher.encode_query_codes(query[None]).packed
    distances = np.bitwise_count(codes ^ own).sum(axis=1).astype(int)
    book = hasher.head.codebook
    vectors = book.decode(codes)
    asymmetric = vectors @ (book.query_map @ query + book.query_shift) - np.square(vectors).sum(axis=1) / 2
    pool = np.arange(len(codes))
    scores = 1 - 2 * distances / BITS if scoring == "hamming" else asymmetric
    if scoring == "asymmetric":
        pool = np.argsort(distances, kind="stable")[:candidates]
    if scoring == "int8":
        pool = np.lexsort((distances, -asymmetric))[:candidates]
        scores = documents @ query / np.linalg.norm(query)
    order = sorted(pool.tolist(), key=lambda row: (-scores[row], distances[row], row))[:k]
    return order, scores[order]


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "asymmetric_scan", "int8"])
def test_a_retriever_searches_it(hasher, documents, queries, scoring, tmp_path):
    with Retriever.create(tmp_path / "c", hasher, sidecar="int8") as retriever:
        retriever.add(documents, ids=[str(row) for row in range(DOCUMENTS)])
    # The copy of the hasher that lies in the collection carries the codebook.
    with Retriever.open(tmp_path / "c") as retriever:
        found = retriever.search_batch(queries, k=10, scoring=scoring, candidates=60)
    for query, hits in zip(queries, found, strict=True):
        rows, scores = reference(hasher, documents, query, scoring, 10, 60)
        tolerance = 0.02 if scoring == "int8" else 1e-4
        np.testing.assert_allclose([hit.score for hit in hits], scores, atol=tolerance)
        if scoring != "int8":
            assert [int(hit.id) for hit in hits] == rows
        else:
            exact = documents @ query
            assert exact[[int(hit.id) for hit in hits]].min() >= exact[rows].min() - 0.02


def test_its_asymmetric_scan_ranks_better_than_hamming(hasher, documents, queries, tmp_path):
    with Retriever.create(tmp_path / "c", hasher) as retriever:
        retriever.add(documents, ids=[str(row) for row in range(DOCUMENTS)])
        kept = {
            scoring: np.mean(
                [
                    len({int(hit.id) for hit in hits} & set(np.argsort(-(documents @ query))[:10].tolist()))
                    for query, hits in zip(
                        queries, retriever.search_batch(queries, k=10, scoring=scoring), strict=True
                    )
                ]
            )
            for scoring in ("hamming", "asymmetric_scan")
        }
    assert kept["asymmetric_scan"] > kept["hamming"] + 0.5


def test_another_codebook_is_another_hasher(hasher, documents, tmp_path):
    with Retriever.create(tmp_path / "c", hasher) as retriever:
        retriever.add(documents)
    other = changed(hasher, tables=hasher.head.codebook.tables * np.float32(2))
    with pytest.raises(ValueError, match="was built by another hasher"):
        Retriever.open(tmp_path / "c", other)


def test_truncating_a_hasher_drops_the_codebook(hasher, documents):
    shorter = hasher.truncated(BITS)
    assert shorter.head.codebook is None
    assert shorter.fingerprint != hasher.fingerprint
    np.testing.assert_array_equal(
        shorter.encode_documents(documents).packed,
        Codes.from_logits(hasher.head.document_logits(documents)).packed,
    )
