"""Average precision (its mean over queries is MAP)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.ranks import Ranks, ratio


def average_precision(ranks: Ranks) -> NDArray[np.float64]:
    """Average precision over the whole ranking, as trec_eval's `map`.

    It adds up `expected_precision` of the relevant documents and divides by their number, retrieved or not.

    Returns:
        float64 (q,); NaN for a query without a relevant document.
    """
    earlier, together = _relevant_neighbours(ranks)
    expected = expected_precision(ranks.above, ranks.tied, earlier, together)
    return ratio(ranks.sum(np.where(ranks.tied > 0, expected, 0.0)), ranks.relevant)


def expected_precision(
    above: NDArray[np.int64], tied: NDArray[np.int64], earlier: NDArray[np.int64], together: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Precision at the place of a relevant document that ties with others, in expectation.

    Take a relevant document in a group of t tied documents, r of them relevant, with a documents above the
    group, A of them relevant. At the j-th place of the group it has (j - 1) * (r - 1) / (t - 1) relevant
    members of the group before it in expectation. Averaged over j, its precision is

        ((A + 1) * h + (r - 1) / (t - 1) * (t - (a + 1) * h)) / t,    h = H(a + t) - H(a),

    H being the harmonic numbers: the sum of 1 / (a + j) is h, that of (j - 1) / (a + j) is t - (a + 1) * h.

    Args:
        above: a, of any shape.
        tied: t. Where it is 0, the value means nothing.
        earlier: A.
        together: r, likewise.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int((above + tied).max(initial=0)) + 1))])
    h = harmonic[above + tied] - harmonic[above]
    within = (together - 1) / np.maximum(tied - 1, 1) * (tied - (above + 1) * h)
    expected: NDArray[np.float64] = ((earlier + 1) * h + within) / np.maximum(tied, 1)
    return expected


def _relevant_neighbours(ranks: Ranks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each entry: relevant documents that score higher (A), and as high, itself included (r).

    Entries that were not retrieved get meaningless counts.
    """
    query = ranks.query
    # Last within their query, so that nobody counts them as standing above.
    key = np.where(ranks.tied > 0, ranks.above, np.iinfo(np.int64).max)
    order = np.lexsort((key, query))
    new_group = np.ones(len(order), dtype=bool)
    new_group[1:] = (np.diff(query[order]) != 0) | (np.diff(key[order]) != 0)
    starts = np.flatnonzero(new_group)
    group = np.cumsum(new_group) - 1
    earlier = np.empty(len(order), dtype=np.int64)
    together = np.empty(len(order), dtype=np.int64)
    earlier[order] = starts[group] - ranks.offsets[query[order]]
    together[order] = np.diff(np.append(starts, len(order)))[group]
    return earlier, together
