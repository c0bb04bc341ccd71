"""Estimators through the step: how a gradient passes the sign function, which has none of its own.

Each takes logits and the training step and returns values to compute losses on: exact signs whose gradient
is made up (straight-through), or smooth stand-ins that harden while training goes on (scaled tanh).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from llmhash.errors import InputError


class Estimator(Protocol):
    """Logits of any shape, at a step, to values in [-1, 1] that stand for the signs."""

    def __call__(self, logits: Tensor, step: int) -> Tensor:
        """Values of the logits' shape, with a gradient."""
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


def straight_through_tanh(logits: Tensor, step: int, gamma: float = 0.1) -> Tensor:
    """Signs forward, the scaled tanh's slope backward: logits far from zero get none."""
    soft = scaled_tanh(logits, step, gamma)
    return signs(logits) + (soft - soft.detach())


_ESTIMATORS: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "straight_through": lambda logits, _step, _gamma: straight_through(logits),
    "straight_through_tanh": straight_through_tanh,
    "scaled_tanh": scaled_tanh,
}
#: Names that `estimator` knows.
ESTIMATORS = tuple(_ESTIMATORS)


def estimator(name: str, gamma: float = 0.1) -> Estimator:
    """The estimator called `name`; `gamma` sets how fast its tanh hardens, where it has one.

    Raises:
        InputError: There is none of that name, or gamma is negative.
    """
    if name not in _ESTIMATORS:
        near = difflib.get_close_matches(name, ESTIMATORS, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise InputError(f"there is no estimator {name!r}; {hint} {', '.join(ESTIMATORS)}.")
    if gamma < 0:
        raise InputError(f"gamma must be at least 0, not {gamma}.")
    chosen = _ESTIMATORS[name]
    return lambda logits, step: chosen(logits, step, gamma)
