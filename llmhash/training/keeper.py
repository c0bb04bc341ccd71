"""The weights worth keeping: their moving average, and the best that validation saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from llmhash.training.plan import TrainingRun

State = dict[str, Tensor]


class Keeper:
    """Holds the moving average and the best weights, and puts them into the module."""

    def __init__(self, module: nn.Module, average: float, validate: Callable[[], float] | None) -> None:
        self.run = TrainingRun()
        self.misses = 0
        self._module, self._average, self._validate = module, average, validate
        self._moving = snapshot(module) if average else None
        self._best = snapshot(module)
        self._updates = 0

    def follow(self) -> None:
        """Let the moving average follow the weights; it follows faster at first, as it has seen little."""
        self._updates += 1
        if self._moving is None:
            return
        decay = min(self._average, self._updates / (self._updates + 10))
        for name, value in self._module.state_dict().items():
            if value.is_floating_point():
                self._moving[name].lerp_(value, 1.0 - decay)
            else:
                self._moving[name].copy_(value)

    def check(self, step: int) -> None:
        """Validate the weights that would be kept, and keep them if they are the best so far."""
        candidate = snapshot(self._module) if self._moving is None else _copy(self._moving)
        if not all(bool(torch.isfinite(value).all()) for value in candidate.values()):
            return  # The next loss says so.
        if self._validate is None:
            self._best, self.run.best_step = candidate, step
            return
        if self.run.history and self.run.history[-1][0] == step:
            return
        current = snapshot(self._module)
        self._module.load_state_dict(candidate)
        with torch.no_grad():
            figure = float(self._validate())
        self._module.load_state_dict(current)
        self.run.history.append((step, figure))
        if math.isnan(self.run.best) or figure < self.run.best:
            self.run.best, self.run.best_step, self._best, self.misses = figure, step, candidate, 0
        else:
            self.misses += 1

    def restore(self) -> None:
        """Put the best weights into the module."""
        self._module.load_state_dict(self._best)

    def tensors(self) -> dict[str, State]:
        """The kept weights by what they are, for a checkpoint."""
        return {"best": self._best} if self._moving is None else {"best": self._best, "moving": self._moving}

    def load(self, tensors: Mapping[str, State], run: TrainingRun, misses: int) -> None:
        """Go on from what `tensors` gave, after `run.steps` updates."""
        self.run, self.misses, self._updates = run, misses, run.steps
        for name, value in tensors["best"].items():
            self._best[name].copy_(value)
        if self._moving is not None:
            for name, value in tensors["moving"].items():
                self._moving[name].copy_(value)


def snapshot(module: nn.Module) -> State:
    """A copy of the module's parameters and buffers."""
    return _copy(module.state_dict())


def _copy(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}
