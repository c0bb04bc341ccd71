"""Losses that make a student rank candidates as a teacher does."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def listwise_targets(similarities: Tensor, temperature: float) -> Tensor:
    """The teacher's distribution over candidates, `softmax(s / T)` along the last axis.

    Args:
        similarities: s, (queries, candidates); -inf leaves a candidate out.
        temperature: T > 0: near 0 only the best candidate counts, for large T all count alike.
    """
    return F.softmax(similarities / temperature, dim=-1)


def listwise_kl(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over queries of `KL(P || Q) = sum_j P_j (log P_j - log Q_j)`, with `Q = softmax(scores)`.

    Its gradient is that of ListNet's top-one cross-entropy (Cao et al., ICML 2007), but it is zero where the
    student ranks as the teacher does, so values compare across temperatures.

    Args:
        scores: The student's, (queries, candidates), already scaled; a candidate that the targets leave out
            must hold a large negative number, not -inf.
        targets: P, the same shape; rows sum to 1 (see `listwise_targets`).
    """
    return F.kl_div(F.log_softmax(scores, dim=-1), targets, reduction="batchmean")
