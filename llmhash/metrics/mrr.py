"""Mean reciprocal rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.ranks import Ranks


def mrr(ranks: Ranks, k: int | None = 10) -> NDArray[np.float64]:
    """MRR@k: the reciprocal position of the first relevant document, 0 where it stands below k.

    The first relevant document stands in the best group that holds one. With a documents above that group,
    t documents in it and r of them relevant, it takes the group's j-th place with probability
    P(j) = C(t - j, r - 1) / C(t, r), the minimum of a draw without replacement. The expectation is the sum
    of P(j) / (a + j) over j = 1, ..., min(t - r + 1, k - a), and P runs from P(1) = r / t by
    P(j + 1) = P(j) * (t - j - r + 1) / (t - j).

    Args:
        ranks: Where the relevant documents stand.
        k: The cut-off; None for the whole ranking (trec_eval's `recip_rank`).

    Returns:
        float64 (q,); NaN for a query without a relevant document.
    """
    query = ranks.query
    retrieved = ranks.tied > 0
    best = np.full(len(ranks), np.iinfo(np.int64).max)
    np.minimum.at(best, query[retrieved], ranks.above[retrieved])
    first = retrieved & (ranks.above == best[query])
    value = np.where(ranks.relevant > 0, 0.0, np.nan)

    having = np.flatnonzero(np.bincount(query[first], minlength=len(ranks)))
    a = best[having]
    r = np.bincount(query[first], minlength=len(ranks))[having]
    t = np.zeros(len(ranks), dtype=np.int64)
    t[query[first]] = ranks.tied[first]
    t = t[having]
    last = t - r + 1 if k is None else np.minimum(t - r + 1, k - a)

    chance, total = r / t, np.zeros(len(having))
    for j in range(1, int(last.max(initial=0)) + 1):
        total += np.where(j <= last, chance / (a + j), 0.0)
        chance *= np.maximum(t - j - r + 1, 0) / np.maximum(t - j, 1)
    value[having] = total
    return value
