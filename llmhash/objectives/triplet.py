"""Of two documents, the one that is more like a third is to have the closer code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes, choice, number, whole
from llmhash.objectives.similarity import COMPARABLE, target_similarities


class Triplet(Objective):
    """RBSH's hinge over triplets (eq. 18-20), drawn from the batch.

        L = mean over (1, 2, 3) of  max(0, margin - sign(s_12 - s_13) D_123)   where s_12 != s_13
                                    |D_123|                                    elsewhere
        D_123 = d(z_1, z_3) - d(z_1, z_2)

    with d the squared distance of codes over 4: bits, where codes are -1 and 1, as RBSH's distance of codes
    of 0 and 1 counts. RBSH takes s from self-taught hashing's codes; here it is a target's (see
    `target_similarities`).

    Args:
        shapes: What it is built for.
        target: What s comes from: "embeddings", "words" or "labels".
        margin: In bits.
        samples: Triplets a document, at random.
    """

    def __init__(
        self, shapes: Shapes, *, target: str = "embeddings", margin: float = 1.0, samples: int = 16
    ) -> None:
        super().__init__()
        self._target = choice("target", target, COMPARABLE)
        self._margin, self._samples = number("margin", margin), whole("samples", samples)
        self.needs = self.needs_with({"target": target})
        shapes.width(target)

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """The target."""
        return frozenset({choice("target", settings.get("target", "embeddings"), COMPARABLE)})

    def forward(self, batch: Batch) -> Tensor:
        """See the class; 0 in a batch of fewer than three."""
        codes = batch.view.codes
        count = len(codes)
        if count < 3:
            return codes.sum() * 0.0
        second, third = self._draw(count, batch.generator, codes.device)
        similarities = target_similarities(self._target, batch.targets[self._target])
        order = torch.sign(similarities.gather(1, second) - similarities.gather(1, third))
        norms = codes.square().sum(dim=1)
        distances = (norms[:, None] + norms[None, :] - 2.0 * codes @ codes.T) / 4.0
        lead = distances.gather(1, third) - distances.gather(1, second)
        return torch.where(order == 0, lead.abs(), F.relu(self._margin - order * lead)).mean()

    def _draw(self, count: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """The second and third of each document's triplets, int64 (n, samples), three different ones."""
        shape = count, self._samples
        # Steps round the batch from the first, and from it again without the second's.
        step = torch.randint(1, count, shape, generator=generator)
        other = torch.randint(1, count - 1, shape, generator=generator)
        other = other + (other >= step)
        first = torch.arange(count)[:, None]
        return ((first + step) % count).to(device), ((first + other) % count).to(device)
