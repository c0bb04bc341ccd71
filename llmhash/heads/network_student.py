"""What a network's fit trains: the layers, and how their logits become what objectives look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmhash.binarize import estimator
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import Head, TrainingFeatures
from llmhash.heads.network import NetworkHead, network
from llmhash.heads.network_inputs import NetworkSources
from llmhash.heads.network_options import NetworkOptions
from llmhash.heads.projection import fit_itq
from llmhash.objectives.base import View
from llmhash.objectives.schedules import Schedule

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "selu": torch.selu,
}
# Documents that the first weights are scaled on.
_SAMPLE = 1000
# Documents that ITQ's start is fitted on: more change it less than another seed does.
_ITQ_SAMPLE = 20_000
# Log variances beyond it would overflow, or be numerically constant.
_LOG_VARIANCE = 10.0


@dataclass(frozen=True)
class Look:
    """What decides how the student looks at inputs, beside its weights.

    Attributes:
        step: Updates made so far: estimators harden and noises fade by it.
        generator: Of all that is random, on the CPU.
    """

    step: int
    generator: torch.Generator

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers from [0, 1), of the shape and on the device of `like`."""
        return torch.rand(like.shape, generator=self.generator).to(like.device)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, likewise."""
        return torch.randn(like.shape, generator=self.generator).to(like.device)


class Latents:
    """From logits to codes and to what a decoder sees."""

    def __init__(self, options: NetworkOptions) -> None:
        temperature = Schedule.parse(options.temperature, "temperature")
        self._estimate = estimator(options.estimator, options.gamma, temperature=temperature)
        self._noise = Schedule.parse(options.latent_noise, "latent_noise")

    def estimate(self, logits: Tensor, look: Look) -> Tensor:
        """The estimator's values in [-1, 1] of logits of any shape."""
        return self._estimate(logits, look.step, look.generator)

    def view(
        self,
        logits: Tensor,
        look: Look,
        *,
        log_variance: Tensor | None = None,
        hidden: Tensor | None = None,
        parts: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> View:
        """The view of logits (n, b) and of what else the student gives, in float32.

        Args:
            logits: (n, b).
            look: Step and generator.
            log_variance: (n, b) of a Gaussian posterior, whose mean the logits are; its latent is
                `mu + exp(log sigma^2 / 2) eps` (survey, section 3.1).
            hidden: (n, h), the last hidden layer.
            parts: (n, t, b), logits of a text's parts.
            mask: Which parts there are, bool (n, t).
        """
        logits = logits.float()
        codes = latent = self.estimate(logits, look)
        if log_variance is not None:
            log_variance = log_variance.float().clamp(-_LOG_VARIANCE, _LOG_VARIANCE)
            latent = logits + (0.5 * log_variance).exp() * look.normal(logits)
        if (noise := self._noise(look.step)) > 0:
            latent = latent + noise * look.normal(logits)
        return View(
            logits,
            latent,
            codes,
            log_variance,
            None if parts is None else parts.float(),
            mask,
            None if hidden is None else hidden.float(),
        )


class Student(nn.Module):
    """What is trained: from inputs to the view that objectives take of them, and in the end the head.

    Attributes:
        latents: How its logits become codes.
    """

    latents: Latents

    def forward(self, inputs: Any, look: Look) -> View:
        """The view of some inputs."""
        raise NotImplementedError

    def head(self) -> Head:
        """The head of its weights, for features as the encoder gives them."""
        raise NotImplementedError


class NetworkStudent(Student):
    """A multilayer perceptron, and for a Gaussian latent a layer more for the log variances.

    Args:
        sources: Whose documents it is to be fitted on. Weights start random or from ITQ, each layer scaled so
            that its values have unit variance over a sample of them, and the logits centred on it: learning
            rates then carry over from embeddings to word weights.
        bits: Bits in a code.
        options: Layers, activation, dropout, latent and start.
        seed: Decides the first weights.

    Raises:
        InputError: ITQ is to be the start and there are more bits than dimensions.
    """

    def __init__(self, sources: NetworkSources, bits: int, options: NetworkOptions, *, seed: int) -> None:
        super().__init__()
        self.latents = Latents(options)
        self._mean, self._scale = sources.standardization
        self._activation, self._dropout = options.activation, options.dropout
        widths = [sources.inputs.width, *options.hidden, bits]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(nn.Linear(*shape) for shape in pairwise(widths))
            self.log_variance = nn.Linear(widths[-2], bits) if options.latent == "gaussian" else None
        if options.start == "itq":
            self._start_from_itq(sources.sample(_ITQ_SAMPLE, seed), bits, seed)
        self._standardize(sources.sample(_SAMPLE, seed))

    def forward(self, inputs: Tensor, look: Look) -> View:
        """The view of inputs (n, dim)."""
        hidden = self._hidden(inputs, look)
        return self.latents.view(
            self.layers[-1](hidden),
            look,
            log_variance=None if self.log_variance is None else self.log_variance(hidden),
            hidden=hidden if len(self.layers) > 1 else None,
        )

    def head(self) -> NetworkHead | AffineHead:
        """The head, for features as the encoder gives them: neither centred nor scaled."""
        weights = [layer.weight.detach().double().cpu().numpy() for layer in self._linear]
        biases = [layer.bias.detach().double().cpu().numpy() for layer in self._linear]
        weights[0] = weights[0] * self._scale
        biases[0] = biases[0] - weights[0] @ self._mean.astype(np.float64)
        return network(
            [weight.astype(np.float32) for weight in weights],
            [bias.astype(np.float32) for bias in biases],
            self._activation,
        )

    @property
    def _linear(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def _hidden(self, values: Tensor, look: Look) -> Tensor:
        for layer in self._linear[:-1]:
            values = _ACTIVATIONS[self._activation](layer(values))
            if self.training and self._dropout:
                kept = look.uniform(values) >= self._dropout
                values = values * kept / (1.0 - self._dropout)
        return values

    @torch.no_grad()
    def _start_from_itq(self, values: Tensor, bits: int, seed: int) -> None:
        itq = fit_itq(TrainingFeatures(values.numpy()), bits, seed=seed)
        self._linear[0].weight.copy_(torch.from_numpy(itq.weight))

    @torch.no_grad()
    def _standardize(self, values: Tensor) -> None:
        for layer in self._linear:
            layer.bias.zero_()
            outputs = layer(values)
            spread = float(outputs.std(dim=0).square().mean().sqrt()) if len(values) > 1 else 0.0
            if spread > 0:
                layer.weight.div_(spread)
                outputs = outputs / spread
            if layer is self._linear[-1]:
                layer.bias.copy_(-outputs.mean(dim=0))
            else:
                values = _ACTIVATIONS[self._activation](outputs)
        if self.log_variance is not None:
            self.log_variance.weight.zero_()
            self.log_variance.bias.zero_()
