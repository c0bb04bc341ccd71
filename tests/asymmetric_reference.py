"""What tests of the asymmetric search compare with."""

import numpy as np


def best_of(all_scores, own, packed, k, mask=None):
    """The k best rows by score (q, eligible rows), then distance to `own` codes (q, bytes), then row."""
    rows = np.arange(len(packed)) if mask is None else np.flatnonzero(mask)
    scores = np.full((len(own), k), -np.inf, np.float32)
    found = np.full((len(own), k), -1, np.int64)
    for i, code in enumerate(own):
        distances = np.bitwise_count(packed[rows] ^ code).sum(axis=1, dtype=np.int64)
        order = np.lexsort((rows, distances, -all_scores[i]))[:k]
        scores[i, : len(order)], found[i, : len(order)] = all_scores[i, order], rows[order]
    return scores, found


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].dtype == np.float32
    assert found[1].dtype == np.int64
