"""DHIM's information maximization: a text's code is to tell its own parts from those of other texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmhash.errors import InputError
from llmhash.objectives.base import Batch, Objective, Shapes, flag, number


class Infomax(Objective):
    """Mutual information of a text's code with its parts' and its summary's (eq. 24; DHIM paper, eq. 7-10).

        L = -(1/n) sum_i [ (1/t_i) sum_s I(b_is; B_i) + beta I(E_i; B_i) ]
        I(b; B_i) = -softplus(-D(b, B_i)) - E[softplus(D(b~, B_i))],    D(b, B) = sigmoid(b . (W B + c))

    with B the codes, b_is the estimator's values of a text's local logits, E those of a linear map of its
    summary (the CLS token's vector), and b~ the local codes (or the summary's) of the batch's other texts:
    the mean over each one's own, then over texts. In a batch of one text there are none, and that term is 0.

    The paper says that D is "a one-layer network followed by a sigmoid". That it is bilinear follows the
    authors' program, and so does a D of their own for summaries, where the formula has the same. Codes are
    -1 and 1 here, 0 and 1 there.

    Args:
        shapes: What it is built for.
        beta: Weight of the summaries' regulariser; 0 needs none.
        sigmoid: Whether D ends in the sigmoid. Without it this is the estimator of Deep InfoMax.
    """

    def __init__(self, shapes: Shapes, *, beta: float = 1.0, sigmoid: bool = True) -> None:
        super().__init__()
        self._beta = number("beta", beta)
        self._sigmoid = flag("sigmoid", sigmoid)
        self.needs = self.needs_with({"beta": beta})
        self.local_discriminator = nn.Linear(shapes.bits, shapes.bits)
        if self._beta:
            self.summary = nn.Linear(shapes.width("summary"), shapes.bits)
            self.summary_discriminator = nn.Linear(shapes.bits, shapes.bits)

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """The local logits, and the summaries unless beta is 0."""
        return frozenset({"locals", "summary"} if settings.get("beta", 1.0) else {"locals"})

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        view = batch.view
        if view.locals is None:
            raise InputError("the objective infomax needs local logits; take a head over token embeddings.")
        parts = batch.estimate(view.locals)
        mask = view.mask if view.mask is not None else torch.ones_like(parts[..., 0], dtype=torch.bool)
        scores = self._scores(self.local_discriminator(view.codes), parts)
        loss = -_information(scores, mask, batch.different)
        if self._beta:
            summaries = batch.estimate(self.summary(batch.targets["summary"]))[:, None]
            scores = self._scores(self.summary_discriminator(view.codes), summaries)
            loss = loss - self._beta * _information(scores, torch.ones_like(mask[:, :1]), batch.different)
        return loss

    def _scores(self, projected: Tensor, parts: Tensor) -> Tensor:
        """D of each text's code (n, b) and each text's parts (m, t, b), (n, m, t)."""
        texts, length, bits = parts.shape
        scores = (projected @ parts.reshape(texts * length, bits).T).view(-1, texts, length)
        return torch.sigmoid(scores) if self._sigmoid else scores


def _information(scores: Tensor, mask: Tensor, different: Tensor) -> Tensor:
    """The estimate, averaged over texts.

    Args:
        scores: D of text i's code and the parts of text j, (n, n, t).
        mask: Which parts there are, bool (n, t).
        different: Which j are other texts than i, bool (n, n).
    """
    # Each of a text's parts weighs the same; padding weighs nothing.
    share = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    own = torch.diagonal(scores, dim1=0, dim2=1).T
    together = (F.softplus(-own) * share).sum(dim=1)
    others = (F.softplus(scores) * share).sum(dim=2)
    apart = (others * different).sum(dim=1) / different.sum(dim=1).clamp(min=1)
    return -(together + apart).mean()
