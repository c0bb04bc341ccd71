"""WISH's topic vectors: few bits select what reconstructs a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmhash.objectives.base import Batch, Objective, Shapes, number, whole
from llmhash.objectives.words import word_losses


class Topics(Objective):
    """The words' likelihood given the topic vectors that a code's bits select (WISH; survey, eq. 32).

        L = -(1/n) sum_i sum_j x_ij log softmax_j(E g_i + c) + lambda ||T^T T - I||_F^2
        g_i = sum_k z_ik t_k

    with z in {0, 1} and topic vectors `T = [t_1 ... t_b]`, one a bit (WISH paper, eq. 5 and 6). They are
    learned with the rest, so the only target is the words. The latent's values in [-1, 1] are taken to
    [0, 1], and g sums, as in the paper's experiments.

    Args:
        shapes: What it is built for.
        size: Dimensions of a topic vector (the paper's d: 50 for Reuters, 100 elsewhere).
        orthogonality: lambda, the weight of the topics' independence.
    """

    needs = frozenset({"words"})

    def __init__(self, shapes: Shapes, *, size: int = 100, orthogonality: float = 1.0) -> None:
        super().__init__()
        self._orthogonality = number("orthogonality", orthogonality)
        # Rows are topics: T transposed.
        self.topics = nn.Parameter(torch.empty(shapes.bits, whole("size", size)))
        nn.init.orthogonal_(self.topics)
        self.decoder = nn.Linear(size, shapes.width("words"))

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        selected = (batch.view.latent + 1.0) / 2.0 @ self.topics
        loss = word_losses(self.decoder(selected), batch.targets["words"]).mean()
        overlap = self.topics @ self.topics.T - torch.eye(len(self.topics), device=self.topics.device)
        return loss + self._orthogonality * overlap.square().sum()
