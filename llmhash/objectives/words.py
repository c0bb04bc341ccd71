"""The softmax over words: what a code must tell of its text's vocabulary."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from llmhash.objectives.base import Batch, Objective, Shapes


class Words(Objective):
    """The words' negative log-likelihood under one softmax (eq. 7 and 9; DHIM paper, eq. 1-2).

        L = -(1/n) sum_i sum_j x_ij log p(w_j | z_i),    p(w_j | z) = softmax_j(E z + c)

    with x the words' weights, z the latent and a decoder (E, c) of one layer. The survey negates `z^T E w`,
    the papers do not: E is learned, so it is the same.
    """

    needs = frozenset({"words"})

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.decoder = nn.Linear(shapes.bits, shapes.width("words"))

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        return word_losses(self.decoder(batch.view.latent), batch.targets["words"]).mean()


def word_losses(scores: Tensor, words: Tensor) -> Tensor:
    """`-sum_j x_j log softmax(scores)_j` of each text, (n,).

    Args:
        scores: A decoder's, (n, V).
        words: x, weights or counts from 0 on, (n, V); they need not sum to 1.
    """
    # One fused pass: half the time of log_softmax, product and sum at V = 10,000.
    return F.cross_entropy(scores, words, reduction="none")
