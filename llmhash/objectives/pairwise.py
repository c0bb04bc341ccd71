"""Pairs of documents are to be as alike by code as by a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes, choice
from llmhash.objectives.similarity import COMPARABLE, target_similarities


class Pairwise(Objective):
    """The squared error of the similarities of a batch's pairs (VPSH, CVAE, LASH, CoSHC, IHDH; eq. 26).

        L = 1 / (n (n - 1)) sum_{i, j != i} (s_ij - z_i . z_j / b)^2

    The survey prints the bare difference `s - sim(z_1, z_2)`, which has no lower bound. s are the cosines of
    a target, or for labels 1 where one is shared and 0 elsewhere: unrelated codes then are at right angles,
    as not all classes can be opposite to each other.

    Args:
        shapes: What it is built for.
        target: What s comes from: "embeddings", "words" or "labels".
    """

    def __init__(self, shapes: Shapes, *, target: str = "embeddings") -> None:
        super().__init__()
        self._target = choice("target", target, COMPARABLE)
        self.needs = self.needs_with({"target": target})
        shapes.width(target)

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """The target."""
        return frozenset({choice("target", settings.get("target", "embeddings"), COMPARABLE)})

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        codes = batch.view.codes
        count, bits = codes.shape
        wanted = target_similarities(self._target, batch.targets[self._target])
        errors = (wanted - codes @ codes.T / bits).square()
        return errors.fill_diagonal_(0.0).sum() / max(1, count * (count - 1))
