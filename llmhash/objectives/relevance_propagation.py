"""SMASH's relevance propagation: short codes keep the relations of a longer representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from llmhash.errors import InputError
from llmhash.objectives.base import Batch, Objective, Shapes, choice
from llmhash.objectives.similarity import cosines

_SOURCES = ("inputs", "hidden", "embeddings")


class RelevancePropagation(Objective):
    """How far pairs' similarities by code are from those by a longer representation (SMASH; eq. 33).

        L = 1 / (n (n - 1)) sum_{i, j != i} |cos(l_i, l_j) - z_i . z_j / b|

    The survey prints the norm of a difference of two numbers, which is its absolute value, and `l_i . l_j /
    |l|` with |l| the dimensions: for long codes near -1 and 1 that is the cosine. SMASH's long code is the
    layer before the short one, of 128 bits through tanh: `hidden`, where the student's last hidden layer is
    such a one. A gradient then passes to both sides, as in the paper.

    Args:
        shapes: What it is built for.
        source: l: the clean "inputs", the student's "hidden" layer, or the target "embeddings".
    """

    def __init__(self, shapes: Shapes, *, source: str = "inputs") -> None:
        super().__init__()
        self._source = choice("source", source, _SOURCES)
        self.needs = self.needs_with({"source": source})
        if source == "embeddings":
            shapes.width("embeddings")

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """The embeddings, where they are the source."""
        return frozenset({"embeddings"} if settings.get("source") == "embeddings" else ())

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        codes = batch.view.codes
        count, bits = codes.shape
        apart = (cosines(self._long(batch)) - codes @ codes.T / bits).abs()
        return apart.fill_diagonal_(0.0).sum() / max(1, count * (count - 1))

    def _long(self, batch: Batch) -> Tensor:
        if self._source == "inputs":
            return batch.inputs
        if self._source == "embeddings":
            return batch.targets["embeddings"]
        if batch.view.hidden is None:
            raise InputError("relevance_propagation finds no hidden layer; set its source to inputs.")
        return batch.view.hidden
