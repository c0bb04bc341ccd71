"""Scoring by tables; by logits, see the tests of the collection and of the retriever."""

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection.scoring import best_documents
from llmhash.index import TableQueries

BITS, COUNT, DIM = 20, 400, 6


@pytest.fixture
def queries():
    rng = np.random.default_rng(1)
    tables = 5 * rng.standard_normal((4, 3, 256)).astype(np.float32)
    return TableQueries(Codes.from_logits(rng.standard_normal((4, BITS))), np.round(tables))


@pytest.fixture
def features():
    return np.random.default_rng(2).standard_normal((4, DIM)).astype(np.float32)


@pytest.fixture
def collection(create, random_codes):
    """Every third document is deleted, and rows are no longer slots."""
    made = create(BITS, sidecar="float16", dim=DIM)
    vectors = np.random.default_rng(3).standard_normal((COUNT, DIM))
    made.add(random_codes(COUNT, BITS), vectors=vectors)
    made.delete([str(row) for row in range(0, COUNT, 3)])
    made.compact()
    return made


def ranked(scores, distances, rows, k):
    """The k best of the rows, (q, k), by (score, distance, row)."""
    found = np.empty((len(rows), k), np.int64)
    for query, own in enumerate(rows):
        order = np.lexsort((own, distances[query, own], -scores[query, own]))
        found[query] = own[order[:k]]
    return np.take_along_axis(scores, found, axis=1), found


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "asymmetric_scan", "float16"])
def test_tables_equal_the_reference(collection, queries, features, random_codes, scoring):
    codes, rows = random_codes(COUNT, BITS), collection.rows()
    distances = queries.codes.hamming(codes).astype(int)
    by_tables = queries.tables[:, np.arange(3), codes.packed].sum(axis=2)
    vectors = np.zeros((COUNT, DIM), np.float32)
    vectors[rows] = collection.vectors(rows)
    norms = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(vectors[rows], axis=1)
    cosines = np.zeros((4, COUNT), np.float32)
    cosines[:, rows] = features @ vectors[rows].T / norms
    everything = np.tile(rows, (4, 1))
    scores, pool = {
        "hamming": (1 - distances * np.float32(2 / BITS), everything),
        "asymmetric": (by_tables, ranked(-distances, distances, everything, 30)[1]),
        "asymmetric_scan": (by_tables, everything),
        "float16": (cosines, ranked(by_tables, distances, everything, 30)[1]),
    }[scoring]
    expected = ranked(scores, distances, pool, 10)
    found = best_documents(collection, scoring, queries, features, 10, candidates=30)
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], expected[0], atol=1e-6)
    if scoring.startswith("asymmetric"):
        assert np.array_equal(found[0], expected[0])
        assert found[0].max() > 1


def test_the_collection_takes_tables(collection, queries, random_codes):
    codes = random_codes(COUNT, BITS)
    by_tables = queries.tables[:, np.arange(3), codes.packed].sum(axis=2)
    scores, rows = collection.asymmetric_search(queries, COUNT)
    held = len(collection)
    assert (np.sort(rows[:, :held], axis=1) == collection.rows()).all()
    assert np.array_equal(scores[:, :held], np.take_along_axis(by_tables, rows[:, :held], axis=1))
    assert (rows[:, held:] == -1).all()
    assert np.isneginf(scores[:, held:]).all()
    assert np.array_equal(collection.rescore(queries, rows), scores)
    assert np.isneginf(collection.rescore(queries, np.zeros((4, 1), int))).all()  # Row 0 is deleted.
    allow = np.arange(1, 50)
    assert collection.asymmetric_search(queries, 5, allow=allow)[1].max() < 50
