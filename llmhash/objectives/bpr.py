"""BPR's two losses on pairs of a query and its document; the batch's other documents are the negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llmhash.errors import InputError
from llmhash.objectives.base import Batch, Objective, Shapes, View, number


class RankingHinge(Objective):
    """BPR's loss of candidate generation, on both sides' codes (Yamada et al., ACL 2021; eq. 29).

        L = (1/n) sum_i mean_{j != i} max(0, -(h_qi . h_pi - h_qi . h_pj) + margin)

    The survey prints a plus between the products, which would push negatives closer; the paper has a minus.
    Both sum over negatives; their mean makes one weight fit any batch size.

    Args:
        shapes: What it is built for.
        margin: By how much the own document's product shall lead: two a bit (the paper: 2).
    """

    needs = frozenset({"pairs"})

    def __init__(self, shapes: Shapes, *, margin: float = 2.0) -> None:
        super().__init__()
        del shapes
        self._margin = number("margin", margin)

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        products = paired_queries(batch, "ranking_hinge").codes @ batch.view.codes.T
        short = F.relu(self._margin - torch.diagonal(products)[:, None] + products)
        others = batch.different
        return ((short * others).sum(dim=1) / others.sum(dim=1).clamp(min=1)).mean()


class FloatQuerySoftmax(Objective):
    """BPR's loss of re-ranking: a query's floats must find its document's code (Yamada et al.; eq. 30).

        L = -(1/n) sum_i log [ exp(z_qi . h_pi / T) / sum_j exp(z_qi . h_pj / T) ]

    with z the query's logits and j over the batch's documents, each but once where it appears twice.

    Args:
        shapes: What it is built for.
        temperature: T; the paper has none, which is 1.
    """

    needs = frozenset({"pairs"})

    def __init__(self, shapes: Shapes, *, temperature: float = 1.0) -> None:
        super().__init__()
        del shapes
        self._temperature = number("temperature", temperature, above=True)

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        queries = paired_queries(batch, "float_query_softmax").logits
        return own_among_all(queries @ batch.view.codes.T / self._temperature, batch.different)


def own_among_all(scores: Tensor, different: Tensor) -> Tensor:
    """The mean of `-log softmax(scores_i)_i`, over itself and the documents that differ from it.

    Args:
        scores: (n, n).
        different: Bool (n, n), see `Batch.different`.
    """
    kept = different | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    own = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores.masked_fill(~kept, -torch.inf), own)


def paired_queries(batch: Batch, objective: str) -> View:
    """The view of the queries paired with the documents, or `InputError`."""
    if batch.queries is None:
        raise InputError(f"the objective {objective} needs queries paired with documents.")
    return batch.queries
