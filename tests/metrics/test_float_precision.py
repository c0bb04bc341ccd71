"""Float embeddings' precision by labels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.metrics import RadiusCounts, float_precision


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    queries, database = (
        rng.normal(size=(size, 6)).astype(np.float32) * rng.uniform(0.1, 9, (size, 1)) for size in (9, 40)
    )
    return (
        queries.astype(np.float32),
        database.astype(np.float32),
        rng.random((9, 4)) < 0.4,
        rng.random((40, 4)) < 0.4,
    )


def test_is_the_share_of_relevant_documents_by_cosine(case, monkeypatch):
    # The package's attribute of the module's name is the function.
    monkeypatch.setattr(sys.modules["llmhash.metrics.float_precision"], "_BLOCK_SCORES", 80)
    queries, database, query_labels, labels = case
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, database)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    relevant = np.take_along_axis((query_labels[:, None] & labels[None]).any(axis=2), order, axis=1)
    expected = [[row[:k].sum() / k for k in (5, 1, 40, 60)] for row in relevant]
    np.testing.assert_allclose(float_precision(*case, [5, 1, 40, 60]), expected, rtol=1e-12)


def test_ties_count_in_expectation_as_those_of_codes(case):
    # Plus and minus ones of 16 bits have exact cosines, which fall as Hamming distances rise.
    rng = np.random.default_rng(1)
    queries, codes = (Codes.pack(rng.integers(0, 2, (size, 16))) for size in (9, 40))
    counts = RadiusCounts.from_codes(queries, codes, *case[2:])
    floats = float_precision(queries.to_pm1(np.float32), codes.to_pm1(np.float32), *case[2:], [1, 7, 25])
    expected = np.stack([counts.precision(k) for k in (1, 7, 25)], axis=1)
    np.testing.assert_allclose(floats, expected, rtol=1e-12)


def test_sparse_features_have_the_same_cosines(case):
    queries, database, *labels = case
    queries[np.abs(queries) < 2] = 0
    database[np.abs(database) < 2] = 0
    database[3] = 0
    dense = float_precision(queries, database, *labels, [1, 5])
    held = csr_array(queries)
    before = held.data.copy()
    np.testing.assert_allclose(float_precision(held, csr_array(database), *labels, [1, 5]), dense)
    np.testing.assert_array_equal(held.data, before)


def test_a_zero_vector_is_as_near_to_everything(case):
    _, database, query_labels, labels = case
    values = float_precision(np.zeros((9, 6), np.float32), database, query_labels, labels, [10])[:, 0]
    np.testing.assert_allclose(values, (query_labels[:, None] & labels[None]).any(axis=2).mean(axis=1))


def test_wrong_input_is_refused(case):
    queries, database, *labels = case
    with pytest.raises(InputError, match="at least 1"):
        float_precision(*case, [10, 0])
    with pytest.raises(InputError, match="queries have 5 dimensions, documents 6"):
        float_precision(queries[:, :5], database, *labels, [10])
    database[2, 1] = np.nan
    with pytest.raises(InputError, match="documents hold NaN"):
        float_precision(queries, database, *labels, [10])
