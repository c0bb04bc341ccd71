"""How long and how fast to train, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from llmhash.errors import InputError


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        steps: Updates at most.
        batch_size: Items in a batch.
        learning_rate: Adam's, at its peak.
        warmup: Share of the steps over which the learning rate rises from zero.
        schedule: "cosine" lets it fall to zero at the last step, "constant" keeps it.
        weight_decay: Decoupled, as AdamW has it; 0 for none.
        validate_every: Steps between validations.
        patience: Validations without a new best after which training stops; 0 never stops early.
        average: Decay of the moving average of the weights that is validated and kept (0.99 spans the last
            hundred steps or so); 0 takes the weights as they are.
        clip: Largest norm of a gradient; 0 leaves gradients alone.
        max_seconds: Wall-clock budget; None has none. Schedules end with it, where it ends before the steps
            do. A run that it cuts short is not reproducible.
        bfloat16: Compute the loss under bfloat16 autocast. Weights and updates stay float32.
        fused: Update all weights in one pass, which is several times as fast for modules of millions of
            weights; the last digits come out otherwise.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.0
    validate_every: int = 100
    patience: int = 0
    average: float = 0.0
    clip: float = 0.0
    max_seconds: float | None = None
    bfloat16: bool = False
    fused: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("patience", "clip", "weight_decay"):
            if not getattr(self, name) >= 0:
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
