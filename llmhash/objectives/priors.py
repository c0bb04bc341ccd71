"""Divergences of the posterior from its prior: what a variational bound subtracts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from llmhash.errors import InputError
from llmhash.objectives.base import Batch, Objective, Shapes, flag, number


class GaussianKL(Objective):
    """The divergence of a Gaussian posterior from the standard normal (VDSH; eq. 7 and 8).

        L = (1/n) sum_i KL(N(mu_i, diag sigma_i^2) || N(0, I))
          = (1/n) sum_i 1/2 sum_k (mu_ik^2 + sigma_ik^2 - 1 - log sigma_ik^2)

    with mu the logits. Equation 8 has a layer for `log sigma`; the log variance is twice that.
    """

    needs = frozenset({"log_variance"})

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        del shapes

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        mean, log_variance = batch.view.logits, batch.view.log_variance
        if log_variance is None:
            raise InputError("the objective gaussian_kl needs a Gaussian latent; set latent to gaussian.")
        terms = mean.square() + log_variance.exp() - 1.0 - log_variance
        return 0.5 * terms.sum(dim=1).mean()


class BernoulliKL(Objective):
    """The divergence of a Bernoulli posterior from its prior (NASH; eq. 10).

        L = (1/n) sum_i sum_k p_ik log(p_ik / gamma) + (1 - p_ik) log((1 - p_ik) / (1 - gamma))

    with `p = sigmoid(logit)`. Equation 10 writes `g(x)` for p, having set the posterior to `sigmoid(g(x))`:
    it can only mean the probability. With `aggregate`, p is first averaged over the batch: the divergence to
    gamma = 0.5 is then a bit's balance alone, and texts may be as certain of their bits as they like.

    Args:
        shapes: What it is built for.
        gamma: The prior probability that a bit is 1, of all bits.
        aggregate: Whether the probabilities' means diverge, rather than each text's.
    """

    def __init__(self, shapes: Shapes, *, gamma: float = 0.5, aggregate: bool = False) -> None:
        super().__init__()
        del shapes
        self._gamma = number("gamma", gamma, above=True)
        if not self._gamma < 1:
            raise InputError(f"gamma must be below 1, not {gamma!r}.")
        self._aggregate = flag("aggregate", aggregate)

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        logits = batch.view.logits
        # Logarithms of both outcomes by themselves: that of 1 - p is lost where p rounds to 1.
        ones, zeros = F.logsigmoid(logits), F.logsigmoid(-logits)
        if self._aggregate:
            count = math.log(len(logits))
            ones, zeros = (torch.logsumexp(term, 0, keepdim=True) - count for term in (ones, zeros))
        prior = math.log(self._gamma), math.log1p(-self._gamma)
        terms = ones.exp() * (ones - prior[0]) + zeros.exp() * (zeros - prior[1])
        return terms.sum(dim=1).mean()
