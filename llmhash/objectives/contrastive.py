"""Two looks at a text under dropout must know each other among a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes, number
from llmhash.objectives.bpr import own_among_all


class Contrastive(Objective):
    """The contrastive loss of HierHash (section 3.2) in the form of SimCSE (Gao et al., EMNLP 2021, eq. 1).

        L = -(1/n) sum_i log [ exp(cos(z_i, z'_i) / T) / sum_j exp(cos(z_i, z'_j) / T) ]

    with z the codes and z' those of a second look at the clean inputs. The looks differ by the student's
    dropout, the estimator's noise and what corrupts the batch's inputs; without any, the loss only spreads
    codes apart.

    Args:
        shapes: What it is built for.
        temperature: T (SimCSE: 0.05).
    """

    def __init__(self, shapes: Shapes, *, temperature: float = 0.05) -> None:
        super().__init__()
        del shapes
        self._temperature = number("temperature", temperature, above=True)

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        first = F.normalize(batch.view.codes, dim=1)
        second = F.normalize(batch.encode(batch.inputs).codes, dim=1)
        return own_among_all(first @ second.T / self._temperature, batch.different)
