"""The loop: batches, learning-rate schedule, validation, early stopping, the best weights kept.

A method brings a module, a loss over a batch of item numbers and, if it can tell good weights from bad ones,
a validation figure.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from llmhash.errors import InputError
from llmhash.training.keeper import Keeper
from llmhash.training.log import TrainingLog
from llmhash.training.plan import TrainingPlan, TrainingRun
from llmhash.training.record import CHECKPOINT, Record, Snapshot

#: Item numbers int64 (batch,), on the module's device, and the step that schedules are at, to the loss to go
#: down: a number, or numbers by name whose sum it is.
Loss = Callable[[Tensor, int], Tensor | Mapping[str, Tensor]]
#: Step, steps, message.
Progress = Callable[[int, int, str], None]


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
    record: Record | None = None,
) -> TrainingRun:
    """Train `module` in place with Adam; it ends with the best weights that validation saw.

    Args:
        module: Its parameters decide the device. Buffers are kept and restored with them.
        loss: Called with each batch's item numbers and the step that schedules are at, from 0. Where time is
            shorter than the steps take, that runs ahead of the updates made, so that schedules end in time.
        items: Items 0 to items - 1 exist.
        plan: How long and how fast.
        seed: Decides the batches. A method's own noise is the method's to seed.
        weights: How often to draw each item, (items,), relative; with replacement. None goes through all
            items in a new order each epoch.
        validate: Lower is better. Called before the first step too, so that training never ends worse than
            it began; None keeps the last weights.
        progress: Called after each step.
        record: Where to leave a log and a checkpoint at every validation, and at an interrupt (Ctrl-C), which
            then waits for the step to end. A checkpoint that lies there is gone on from.

    Raises:
        InputError: The loss became NaN or infinite. The module holds the last good weights by then.
        KeyboardInterrupt: The user interrupted; a record's checkpoint is written.
    """
    return _Loop(module, loss, items, plan, seed, weights, validate, progress, record).run()


class _Loop:
    """One call of `train`."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        items: int,
        plan: TrainingPlan,
        seed: int,
        weights: Tensor | None,
        validate: Callable[[], float] | None,
        progress: Progress | None,
        record: Record | None,
    ) -> None:
        self._loss, self._plan, self._progress, self._record = loss, plan, progress, record
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimizer = _adam(self._parameters, plan)
        self._batches = _Batches(items, plan.batch_size, seed, weights, self._parameters[0].device)
        self._keeper = Keeper(module, plan.average, validate)
        self._began, self._log = time.monotonic(), None
        self._message, self._interrupted = "", False
        if record is not None:
            generators = {"batches": self._batches.generator, **record.generators}
            self._snapshot = Snapshot(module, self._optimizer, self._keeper, generators)
            self._identity = {
                **record.identity,
                "items": items,
                "batch_size": plan.batch_size,
                "average": plan.average,
                "seed": seed,
            }
            self._log = self._resume(record)

    def run(self) -> TrainingRun:
        keeper, plan = self._keeper, self._plan
        if keeper.run.steps == 0:
            keeper.check(0)
        with self._deferred_interrupts():
            while not self._stopped():
                losses = self._update(self._position())
                keeper.run.steps += 1
                if keeper.run.steps % plan.validate_every == 0 or keeper.run.steps == plan.steps:
                    self._validated(losses)
                self._write(losses)
                if self._progress is not None:
                    self._progress(keeper.run.steps, plan.steps, self._message)
                if self._interrupted:
                    self._save()
                    raise KeyboardInterrupt
        if keeper.run.stopped == "time":
            keeper.check(keeper.run.steps)
            self._save()
        keeper.restore()
        return keeper.run

    def _position(self) -> int:
        """The step that schedules are at: the updates made, or where it is more, the time's share of all."""
        steps, plan = self._keeper.run.steps, self._plan
        if plan.max_seconds is None:
            return steps
        return max(steps, min(int(self._seconds() / plan.max_seconds * plan.steps), plan.steps - 1))

    def _update(self, step: int) -> Mapping[str, Tensor]:
        """One update by the optimizer, with schedules at `step`: the losses by name."""
        plan = self._plan
        for group in self._optimizer.param_groups:
            group["lr"] = plan.rate(step)
        items = self._batches.draw()
        with torch.autocast(items.device.type, torch.bfloat16, enabled=plan.bfloat16):
            given = self._loss(items, step)
        losses = {"loss": given} if isinstance(given, Tensor) else given
        value = torch.stack([each.float() for each in losses.values()]).sum()
        if not torch.isfinite(value):
            self._keeper.restore()
            raise InputError(self._diverged(value, losses))
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        if plan.clip:
            nn.utils.clip_grad_norm_(self._parameters, plan.clip)
        self._optimizer.step()
        self._keeper.follow()
        return losses

    def _validated(self, losses: Mapping[str, Tensor]) -> None:
        """Validate, and leave a checkpoint."""
        keeper = self._keeper
        keeper.check(keeper.run.steps)
        self._message = f"loss {sum(_numbers(losses).values()):.4f}"
        self._message += "" if math.isnan(keeper.run.best) else f", best {keeper.run.best:.4f}"
        self._save()

    def _diverged(self, value: Tensor, losses: Mapping[str, Tensor]) -> str:
        broken = [name for name, each in losses.items() if not torch.isfinite(each)]
        which = f" ({', '.join(broken)})" if broken and len(losses) > 1 else ""
        kept = (
            ""
            if self._record is None or not (self._record.folder / CHECKPOINT).is_file()
            else f"; the last good checkpoint is {self._record.folder / CHECKPOINT}"
        )
        return (
            f"the loss became {value.item()} at step {self._keeper.run.steps}{which}; "
            f"lower the learning rate ({self._plan.learning_rate}){kept}."
        )

    def _stopped(self) -> bool:
        run, plan = self._keeper.run, self._plan
        if run.steps >= plan.steps:
            run.stopped = "finished"
        elif plan.patience and self._keeper.misses >= plan.patience:
            run.stopped = "patience"
        elif run.steps and self._out_of_time():
            run.stopped = "time"
        else:
            return False
        return True

    def _out_of_time(self) -> bool:
        return self._plan.max_seconds is not None and self._seconds() > self._plan.max_seconds

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    # -- the record ------------------------------------------------------------------------------

    def _resume(self, record: Record) -> TrainingLog:
        found = self._snapshot.restore(record.folder, self._identity)
        if found is not None:
            self._batches.queue = found[0]
            self._began -= found[1]
        record.folder.mkdir(parents=True, exist_ok=True)
        return TrainingLog(record.folder, self._keeper.run.steps)

    def _save(self) -> None:
        if self._record is not None:
            queue, seconds = self._batches.queue, self._seconds()
            self._snapshot.save(self._record.folder, self._identity, queue, seconds)

    def _write(self, losses: Mapping[str, Tensor]) -> None:
        """A line of the log, where one is due."""
        run = self._keeper.run
        validated = bool(run.history) and run.history[-1][0] == run.steps
        if self._log is None or self._record is None:
            return
        if not validated and run.steps % self._record.log_every and run.steps < self._plan.steps:
            return
        line: dict[str, Any] = {
            "step": run.steps,
            "seconds": round(self._seconds(), 3),
            "rate": self._optimizer.param_groups[0]["lr"],
            "losses": _numbers(losses),
        }
        self._log.write({**line, "validation": run.history[-1][1]} if validated else line)

    @contextmanager
    def _deferred_interrupts(self) -> Iterator[None]:
        """With a record, hold an interrupt back until the step is done; only then can it be gone on from.

        A second one is not held back.
        """
        if self._record is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

        def hold(_number: int, _frame: FrameType | None) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, hold)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class _Batches:
    """Item numbers, batch after batch, from a generator of their own on the CPU: the same on any device."""

    def __init__(
        self, items: int, size: int, seed: int, weights: Tensor | None, device: torch.device
    ) -> None:
        if items < 1:
            raise InputError("there is nothing to train on.")
        self._items, self._size, self._device = items, size, device
        self.generator = torch.Generator().manual_seed(seed)
        self._cumulative = None if weights is None else weights.double().cpu().cumsum(0)
        self.queue = torch.empty(0, dtype=torch.int64)

    def draw(self) -> Tensor:
        if self._cumulative is not None:
            points = torch.rand(self._size, generator=self.generator, dtype=torch.float64)
            drawn = torch.searchsorted(self._cumulative, points * self._cumulative[-1], right=True)
            return drawn.clamp_(max=self._items - 1).to(self._device)
        while len(self.queue) < self._size:
            self.queue = torch.cat([self.queue, torch.randperm(self._items, generator=self.generator)])
        batch, self.queue = self.queue[: self._size], self.queue[self._size :]
        return batch.to(self._device)


def _adam(parameters: list[nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """Adam, or AdamW where weights decay."""
    shared: dict[str, Any] = {"lr": plan.learning_rate, "betas": (0.9, 0.99), "fused": plan.fused or None}
    if plan.weight_decay:
        return torch.optim.AdamW(parameters, weight_decay=plan.weight_decay, **shared)
    return torch.optim.Adam(parameters, **shared)


def _numbers(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}
