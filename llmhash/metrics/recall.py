"""Recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.metrics.ranks import Ranks, ratio


def recall(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Recall@k: the share of the relevant documents among the first k.

    A document with a documents above and t tied is among the first k with probability
    clip(k - a, 0, t) / t; the expectation is the mean of these probabilities.

    With the teacher's first k as the relevant documents (`Judgements.from_rows`) this is overlap@k.

    Returns:
        float64 (q,); NaN for a query without a relevant document.
    """
    return ratio(ranks.sum(ranks.chance(k)), ranks.relevant)
