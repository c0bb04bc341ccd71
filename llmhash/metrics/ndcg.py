"""Normalized discounted cumulative gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.ranks import Ranks, ratio


def ndcg(ranks: Ranks, k: int = 10) -> NDArray[np.float64]:
    """nDCG@k with linear gain and the discount 1 / log2(position + 1), as trec_eval's `ndcg_cut`.

    With C(p) the sum of the first p discounts, a relevant document of gain g with a documents above and
    t tied contributes g * (C(min(a + t, k)) - C(min(a, k))) / t in expectation: each of its t positions is
    equally likely, and the expectation of a sum is the sum of the expectations. The ideal ranking, which
    holds all relevant documents, is a constant.

    Returns:
        float64 (q,); NaN for a query without a relevant document.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    cumulative = np.concatenate([[0.0], np.cumsum(discount)])
    reached = cumulative[np.minimum(ranks.above + ranks.tied, k)] - cumulative[np.minimum(ranks.above, k)]
    gained = ranks.sum(ranks.gains * reached / np.maximum(ranks.tied, 1))

    descending = np.lexsort((-ranks.gains, ranks.query))
    position = np.arange(len(ranks.gains)) - ranks.offsets[ranks.query]
    ideal = ranks.sum(
        np.where(position < k, discount[np.minimum(position, k - 1)], 0.0) * ranks.gains[descending]
    )
    return ratio(gained, ideal)
