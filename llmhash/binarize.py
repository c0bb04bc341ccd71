"""Estimators through the step: how a gradient passes the sign function, which has none of its own.

Each takes logits and the training step and returns values to compute losses on: exact signs whose gradient
is made up (straight-through), drawn signs (stochastic, Gumbel-softmax), or smooth stand-ins (tanh), which may
harden while training goes on. Equation numbers are those of the survey of deep text hashing (He et al. 2025).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from llmhash.errors import InputError, suggest


class Estimator(Protocol):
    """Logits of any shape, at a step, to values in [-1, 1] that stand for the signs."""

    def __call__(self, logits: Tensor, step: int, generator: torch.Generator | None = None) -> Tensor:
        """Values of the logits' shape, with a gradient.

        Args:
            logits: Of any shape.
            step: Updates made so far.
            generator: The source of what is drawn; None takes torch's own. It may be on another device.
        """
        ...


def signs(logits: Tensor) -> Tensor:
    """-1 or +1 of each logit, without a gradient; +1 where `logit > 0`, strictly, as codes have it."""
    return torch.where(logits > 0, 1.0, -1.0).to(logits.dtype)


def sharpness(step: int, gamma: float) -> float:
    """BPR's schedule `beta = sqrt(1 + gamma * step)` (Yamada et al., ACL 2021, section 3.2)."""
    return math.sqrt(1.0 + gamma * step)


def straight_through(logits: Tensor) -> Tensor:
    """Signs forward, the identity backward (Bengio et al. 2013)."""
    return signs(logits) + (logits - logits.detach())


def scaled_tanh(logits: Tensor, step: int, gamma: float = 0.1) -> Tensor:
    """`tanh(beta * logits)` in both directions, with BPR's growing beta; see `sharpness`."""
    return torch.tanh(sharpness(step, gamma) * logits)


def time_varying_tanh(logits: Tensor, step: int, gamma: float = 0.1) -> Tensor:
    """`tanh(g(t) * logits)` in both directions (USH-SER; section 4.3), with `g(t) = 1 + gamma * t`.

    The survey does not say what g is; a straight line hardens sooner than BPR's square root.
    """
    return torch.tanh((1.0 + gamma * step) * logits)


def straight_through_tanh(logits: Tensor, step: int, gamma: float = 0.1) -> Tensor:
    """Signs forward, the scaled tanh's slope backward: logits far from zero get none."""
    soft = scaled_tanh(logits, step, gamma)
    return signs(logits) + (soft - soft.detach())


def stochastic(logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Signs of `sigmoid(logits / T) - u`, u uniform on [0, 1), forward, their mean's slope backward (eq. 11).

    NASH's, WISH's and DHIM's sampling of a Bernoulli code. Straight-through passes a gradient on to the
    probability; of values -1 and 1 the mean is `2 sigmoid(logits / T) - 1`.
    """
    mean = torch.tanh(logits / (2.0 * temperature))
    drawn = signs(torch.sigmoid(logits / temperature) - _uniform(logits, generator))
    return drawn + (mean - mean.detach())


def gumbel_softmax(
    logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """The likelier of two outcomes under Gumbel noise forward, its softmax's slope backward (eq. 41 and 42).

    The outcomes' log probabilities differ by the logit and their noises by a logistic variable
    `L = log u - log(1 - u)`, so that 1 is drawn where `logit + L > 0`, with probability `sigmoid(logit)`, and
    the softmax at temperature T is `sigmoid((logit + L) / T)` (the binary concrete distribution, Maddison et
    al. 2017). The survey prints Gumbel noise as `log(-log u)`; it is `-log(-log u)`.
    """
    # Away from 0 and 1, where the noise is infinite.
    uniform = _uniform(logits, generator).clamp(1e-6, 1.0 - 1e-6)
    noisy = logits + torch.logit(uniform)
    soft = torch.tanh(noisy / (2.0 * temperature))
    return signs(noisy) + (soft - soft.detach())


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform on [0, 1), float32, of a tensor's shape and on its device."""
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=device).to(like.device)


#: What each does with logits, step, gamma, temperature and generator.
_Run = Callable[[Tensor, int, float, float, torch.Generator | None], Tensor]
_ESTIMATORS: dict[str, _Run] = {
    "straight_through": lambda logits, _step, _gamma, _temperature, _generator: straight_through(logits),
    "straight_through_tanh": lambda logits, step, gamma, _t, _g: straight_through_tanh(logits, step, gamma),
    "scaled_tanh": lambda logits, step, gamma, _t, _g: scaled_tanh(logits, step, gamma),
    "tanh": lambda logits, _step, _gamma, _temperature, _generator: torch.tanh(logits),
    "time_varying_tanh": lambda logits, step, gamma, _t, _g: time_varying_tanh(logits, step, gamma),
    "stochastic": lambda logits, _step, _gamma, t, generator: stochastic(logits, t, generator),
    "gumbel_softmax": lambda logits, _step, _gamma, t, generator: gumbel_softmax(logits, t, generator),
}
#: Names that `estimator` knows.
ESTIMATORS = tuple(_ESTIMATORS)


def estimator(
    name: str, gamma: float = 0.1, *, temperature: float | Callable[[int], float] = 1.0
) -> Estimator:
    """The estimator called `name`.

    Args:
        name: One of `ESTIMATORS`.
        gamma: How fast its tanh hardens, where it has one that does.
        temperature: T of "stochastic" and "gumbel_softmax", above 0: a number, or one for each step (a
            `llmhash.objectives.schedules.Schedule`).

    Raises:
        InputError: There is none of that name, gamma is negative, or the temperature is not above 0; of a
            schedule, as soon as a step's is not.
    """
    if name not in _ESTIMATORS:
        raise InputError(f"there is no estimator {name!r}; {suggest(name, ESTIMATORS)}")
    if not gamma >= 0:
        raise InputError(f"gamma must be at least 0, not {gamma}.")
    chosen = _ESTIMATORS[name]

    def degrees(step: int) -> float:
        value = temperature(step) if callable(temperature) else temperature
        if not value > 0:
            raise InputError(f"the temperature of an estimator must be above 0, not {value}.")
        return value

    degrees(0)

    def run(logits: Tensor, step: int, generator: torch.Generator | None = None) -> Tensor:
        return chosen(logits, step, gamma, degrees(step), generator)

    return run
