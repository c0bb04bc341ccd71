"""Losses that make a student rank candidates as a teacher does, and the similarities that they follow."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from llmhash.objectives.base import choice

#: Targets that `target_similarities` compares.
COMPARABLE = ("embeddings", "words", "labels")


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


def cosines(values: Tensor) -> Tensor:
    """Cosines (n, n) of rows (n, d) with each other; those of a row of zeros are 0."""
    units = F.normalize(values, dim=1)
    return units @ units.T


def target_similarities(target: str, values: Tensor) -> Tensor:
    """How alike documents are by a target, (n, n): cosines, and of labels 1 where one is shared, else 0.

    Args:
        target: One of `COMPARABLE`.
        values: The target's, (n, width).

    Raises:
        InputError: Similarity is not defined on that target.
    """
    if choice("target", target, COMPARABLE) == "labels":
        labels = values.float()
        return (labels @ labels.T > 0).float()
    return cosines(values)
