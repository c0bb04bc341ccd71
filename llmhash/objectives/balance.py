"""Losses that keep bits informative: each splits the corpus evenly, no two say the same."""

from __future__ import annotations

import torch
from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes


def bit_balance(codes: Tensor) -> Tensor:
    """Mean over bits of the squared mean of a bit, `(1/b) sum_k ((1/n) sum_i c_ik)^2`.

    0 where every bit is +1 for half of the rows, 1 where all bits are constant.

    Args:
        codes: Values in [-1, 1], (n, b).
    """
    return codes.mean(dim=0).square().mean()


def decorrelation(codes: Tensor) -> Tensor:
    """Mean squared entry of `C^T C / n` off the diagonal: 0 where bits are uncorrelated, 1 where all agree.

    Args:
        codes: Values in [-1, 1], (n, b); with b = 1 the loss is 0.
    """
    count, bits = codes.shape
    if bits == 1:
        return codes.sum() * 0.0
    correlation = codes.T @ codes / count
    off_diagonal = correlation - torch.diag(torch.diagonal(correlation))
    return off_diagonal.square().sum() / (bits * (bits - 1))


class Balance(Objective):
    """The first constraint of spectral hashing, `sum_i h_i = 0` (eq. 34), as the penalty `bit_balance`."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        del shapes

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        return bit_balance(batch.view.codes)


class Decorrelation(Objective):
    """The second constraint of spectral hashing, `(1/n) sum_i h_i h_i^T = I` (eq. 34), as `decorrelation`.

    The diagonal is left out: codes of -1 and 1 have ones there whatever they are.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        del shapes

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        return decorrelation(batch.view.codes)
