"""The one training loop: batches, learning-rate schedule, validation, early stopping, the best weights kept.

It knows no method. A method brings a module, a loss over a batch of item numbers and, if it can tell good
weights from bad ones, a validation figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from llmhash.errors import InputError

#: Item numbers int64 (batch,), on the module's device, and the step, to the loss to go down.
Loss = Callable[[Tensor, int], Tensor]
#: Step, steps, message.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        steps: Updates at most.
        batch_size: Items in a batch.
        learning_rate: Adam's, at its peak.
        warmup: Share of the steps over which the learning rate rises from zero.
        schedule: "cosine" lets it fall to zero at the last step, "constant" keeps it.
        validate_every: Steps between validations.
        patience: Validations without a new best after which training stops; 0 never stops early.
        average: Decay of the moving average of the weights that is validated and kept (0.99 spans the last
            hundred steps or so); 0 takes the weights as they are.
        clip: Largest norm of a gradient; 0 leaves gradients alone.
        max_seconds: Wall-clock budget; None has none. A run that it cuts short is not reproducible.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    validate_every: int = 100
    patience: int = 0
    average: float = 0.0
    clip: float = 0.0
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("patience", "clip"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, not {getattr(self, name)}.")
        for name in ("warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be from 0 to below 1, not {getattr(self, name)}.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate}.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"max_seconds must be above 0, not {self.max_seconds}.")
        if self.schedule not in ("cosine", "constant"):
            raise InputError(f"schedule must be cosine or constant, not {self.schedule!r}.")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = self.warmup * self.steps
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / max(1.0, self.steps - rising)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass
class TrainingRun:
    """What happened.

    Attributes:
        steps: Updates made.
        best_step: Updates after which the kept weights stood; 0 for those that training began with.
        best: Their validation figure; NaN without validation.
        stopped: "finished", "patience" or "time".
        history: (updates, validation figure), in order.
    """

    steps: int = 0
    best_step: int = 0
    best: float = math.nan
    stopped: str = "finished"
    history: list[tuple[int, float]] = field(default_factory=list)


def train(
    module: nn.Module,
    loss: Loss,
    items: int,
    plan: TrainingPlan,
    *,
    seed: int = 0,
    weights: Tensor | None = None,
    validate: Callable[[], float] | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train `module` in place with Adam; it ends with the best weights that validation saw.

    Args:
        module: Its parameters decide the device. Buffers are kept and restored with them.
        loss: Called with each batch's item numbers and the step, from 0.
        items: Items 0 to items - 1 exist.
        plan: How long and how fast.
        seed: Decides the batches. A method's own noise is the method's to seed.
        weights: How often to draw each item, (items,), relative; with replacement. None goes through all
            items in a new order each epoch.
        validate: Lower is better. Called before the first step too, so that training never ends worse than
            it began; None keeps the last weights.
        progress: Called after each step.

    Raises:
        InputError: The loss became NaN or infinite. The module holds the last good weights by then.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=plan.learning_rate, betas=(0.9, 0.99))
    batches = _Batches(items, plan.batch_size, seed, weights, parameters[0].device)
    keeper = _Keeper(module, plan.average, validate)
    run = keeper.run
    began = time.monotonic()
    message = ""
    keeper.check(0)
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        value = loss(batches.draw(), step)
        if not torch.isfinite(value):
            keeper.restore()
            raise InputError(
                f"the loss became {value.item()} at step {step}; "
                f"lower the learning rate ({plan.learning_rate})."
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        if plan.clip:
            nn.utils.clip_grad_norm_(parameters, plan.clip)
        optimizer.step()
        keeper.follow()
        run.steps = step + 1
        if run.steps % plan.validate_every == 0 or run.steps == plan.steps:
            keeper.check(run.steps)
            message = f"loss {value.item():.4f}" + ("" if math.isnan(run.best) else f", best {run.best:.4f}")
        if progress is not None:
            progress(run.steps, plan.steps, message)
        if plan.patience and keeper.misses >= plan.patience:
            run.stopped = "patience"
            break
        if plan.max_seconds is not None and time.monotonic() - began > plan.max_seconds:
            run.stopped = "time" if run.steps < plan.steps else "finished"
            keeper.check(run.steps)
            break
    keeper.restore()
    return run


class _Batches:
    """Item numbers, batch after batch, from a generator of their own on the CPU: the same on any device."""

    def __init__(
        self, items: int, size: int, seed: int, weights: Tensor | None, device: torch.device
    ) -> None:
        if items < 1:
            raise InputError("there is nothing to train on.")
        self._items, self._size, self._device = items, size, device
        self._generator = torch.Generator().manual_seed(seed)
        self._cumulative = None if weights is None else weights.double().cpu().cumsum(0)
        self._queue = torch.empty(0, dtype=torch.int64)

    def draw(self) -> Tensor:
        if self._cumulative is not None:
            points = torch.rand(self._size, generator=self._generator, dtype=torch.float64)
            drawn = torch.searchsorted(self._cumulative, points * self._cumulative[-1], right=True)
            return drawn.clamp_(max=self._items - 1).to(self._device)
        while len(self._queue) < self._size:
            self._queue = torch.cat([self._queue, torch.randperm(self._items, generator=self._generator)])
        batch, self._queue = self._queue[: self._size], self._queue[self._size :]
        return batch.to(self._device)


class _Keeper:
    """Holds the moving average and the best weights, and puts them into the module."""

    def __init__(self, module: nn.Module, average: float, validate: Callable[[], float] | None) -> None:
        self.run = TrainingRun()
        self.misses = 0
        self._module, self._average, self._validate = module, average, validate
        self._moving = _snapshot(module) if average else None
        self._best = _snapshot(module)
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
        candidate = _snapshot(self._module) if self._moving is None else _copy(self._moving)
        if self._validate is None:
            self._best, self.run.best_step = candidate, step
            return
        if self.run.history and self.run.history[-1][0] == step:
            return
        current = _snapshot(self._module)
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
        self._module.load_state_dict(self._best)


def _snapshot(module: nn.Module) -> dict[str, Tensor]:
    return _copy(module.state_dict())


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
