"""SMASH's denoising: a text must be told from what is left of it, the more the more is left."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmhash.objectives.base import Batch, Objective, Shapes, flag, number, whole
from llmhash.objectives.words import word_losses


class Denoising(Objective):
    """The words' likelihood given corrupted inputs, weighted by how much these still mean (SMASH; eq. 37).

        L = -(1/n) sum_i sum_k eps_ik sum_j x_ij log p(w_j | z_ik),    eps_i = softmax_k(v_i . v_ik)

    with z_ik the latent of the k-th corruption of text i, and p as in `Words`. A corruption deletes each word
    with the same probability: its entry of the inputs is 0. The survey has eps from a "hidden
    representation"; here `v = tanh(logits)`, of the view and of the corruption. As weights are to judge
    corruptions, not to be learned, no gradient passes through them.

    Args:
        shapes: What it is built for.
        deletion: The probability that a word is deleted.
        samples: Corruptions a text.
        clean: Whether the view's latent has to tell the words too, to the same decoder, as SMASH has it. Then
            there is no call for `words`, which brings a decoder of its own.
    """

    needs = frozenset({"words"})

    def __init__(
        self, shapes: Shapes, *, deletion: float = 0.4, samples: int = 3, clean: bool = True
    ) -> None:
        super().__init__()
        self._deletion = number("deletion", deletion, 0.0, 1.0)
        self._samples, self._clean = whole("samples", samples), flag("clean", clean)
        self.decoder = nn.Linear(shapes.bits, shapes.width("words"))

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        words, count = batch.targets["words"], len(batch.inputs)
        corrupted = batch.encode(self._corrupt(batch.inputs, batch.generator))
        kept = torch.tanh(corrupted.logits).view(self._samples, count, -1)
        likeness = (kept * torch.tanh(batch.view.logits)).sum(dim=2)
        weights = torch.softmax(likeness, dim=0).detach()
        losses = word_losses(self.decoder(corrupted.latent), words.repeat(self._samples, 1))
        loss = (weights * losses.view(self._samples, count)).sum(dim=0).mean()
        if self._clean:
            loss = loss + word_losses(self.decoder(batch.view.latent), words).mean()
        return loss

    def _corrupt(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Corruptions (samples * n, d) of inputs (n, d): one of each text, then another of each, ..."""
        draws = torch.rand(self._samples, *inputs.shape, generator=generator)
        kept = (draws >= self._deletion).to(inputs.device)
        return (inputs * kept).flatten(0, 1)
