"""Precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.ranks import Ranks


def precision(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Precision@k: the share of relevant documents among the first k, expected over tie-breaking.

    As in trec_eval the denominator is k, even where fewer documents were retrieved.

    Returns:
        float64 (q,); NaN for a query without a relevant document.
    """
    return np.where(ranks.relevant > 0, ranks.sum(ranks.chance(k)) / k, np.nan)
