"""The distance of continuous codes from their signs."""

from __future__ import annotations

import torch
from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes, choice

_VALUES = ("codes", "tanh", "logits")


class Quantization(Objective):
    """What is lost as values become bits (HAS, LASH, IHDH; eq. 36): `L = (1/n) sum_i ||z_i - sign z_i||^2`.

    Args:
        shapes: What it is built for.
        of: z: the "codes" (eq. 36), the "tanh" of the logits, or the "logits". An estimator that gives exact
            signs leaves nothing to do on its codes; the others work with any.
    """

    def __init__(self, shapes: Shapes, *, of: str = "codes") -> None:
        super().__init__()
        del shapes
        self._of = choice("of", of, _VALUES)

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        view = batch.view
        values = view.codes if self._of == "codes" else view.logits
        if self._of == "tanh":
            values = torch.tanh(values)
        signs = torch.where(view.logits > 0, 1.0, -1.0)
        return (values - signs).square().sum(dim=1).mean()
