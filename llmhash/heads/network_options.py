"""Every setting of a network's fit but its objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmhash.binarize import estimator
from llmhash.errors import InputError, suggest
from llmhash.heads.network import check_activation
from llmhash.objectives.schedules import Schedule
from llmhash.training import TrainingPlan

#: A number, or a mapping of `Schedule`'s settings.
Scheduled = float | Mapping[str, Any]
_CHOICES = {"latent": ("plain", "gaussian"), "threshold": ("zero", "median"), "start": ("random", "itq")}
_WHOLE = ("epochs", "validation_queries", "validation_documents", "held_out")


@dataclass(frozen=True)
class NetworkOptions:
    """Every setting of a network's fit but its objectives.

    Attributes:
        hidden: Widths of the hidden layers; without any, the head is affine.
        activation: Between layers: relu, tanh, sigmoid or selu.
        dropout: Share of each hidden layer's values that training sets to zero; none at use.
        latent: What decoders see: "plain" is the estimator's values, "gaussian" a sample around the logits
            whose variance is a layer of its own (VDSH, survey eq. 7-8).
        estimator: Through the step: one of `llmhash.binarize.ESTIMATORS`.
        gamma: How fast the estimator's tanh hardens.
        temperature: Of the estimators that draw; a number or a schedule.
        latent_noise: Standard deviation of the noise added to the latent (NASH section 3.2, RBSH): a number
            or a schedule.
        threshold: "zero" takes the logits' signs; "median" folds the medians of the training documents'
            logits into the bias, so that each bit halves them (VDSH).
        start: The first weights: "random", or without hidden layers "itq", the rotated principal components
            of iterative quantization, from which training only has to go on.
        epochs: Times that each document (or pair) is seen, where `steps` is not given.
        steps: Updates at most, in place of `epochs`.
        batch_size: Documents in a batch.
        learning_rate: Adam's peak.
        weight_decay: AdamW's; 0 for none.
        schedule: "cosine" or "constant", see `TrainingPlan`.
        average: Decay of the weights' moving average; 0 for none.
        clip: Largest norm of a gradient; 0 leaves gradients alone.
        validate_every: Steps between validations; None validates once an epoch.
        patience: Validations without a new best before training stops; 0 never stops early.
        validation_queries: Validation documents that look up others, at most: a seeded sample.
        validation_documents: Training documents that they look among, at most: a seeded sample.
        held_out: Without validation labels, training documents (or pairs) whose loss stops training, at most
            and at most a tenth of them.
        max_seconds: Wall-clock budget of the training steps; None has none.
        device: Where to train; None takes CUDA, where bfloat16 autocast is used, or else the CPU.
        checkpoint: Folder for a log and checkpoints, from which an interrupted run goes on; None leaves none.
    """

    hidden: Sequence[int] = (500,)
    activation: str = "relu"
    dropout: float = 0.1
    latent: Literal["plain", "gaussian"] = "plain"
    estimator: str = "straight_through"
    gamma: float = 0.1
    temperature: Scheduled = 1.0
    latent_noise: Scheduled = 0.0
    threshold: Literal["zero", "median"] = "zero"
    start: Literal["random", "itq"] = "random"
    epochs: int = 25
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    average: float = 0.0
    clip: float = 0.0
    validate_every: int | None = None
    patience: int = 5
    validation_queries: int = 1000
    validation_documents: int = 20_000
    held_out: int = 1000
    max_seconds: float | None = None
    device: str | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        check_activation(self.activation)
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} cannot be {value!r}; {suggest(str(value), known)}")
        if isinstance(self.hidden, str) or not all(_is_whole(width) for width in self.hidden):
            raise InputError(f"hidden must list whole numbers from 1, not {self.hidden!r}.")
        if self.start == "itq" and self.hidden:
            raise InputError(
                "start cannot be itq where there are hidden layers: set hidden to [], or random."
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1, not {self.dropout}.")
        for name in _WHOLE:
            if not _is_whole(getattr(self, name)):
                raise InputError(f"{name} must be a whole number from 1, not {getattr(self, name)!r}.")
        Schedule.parse(self.latent_noise, "latent_noise")
        estimator(self.estimator, self.gamma, temperature=Schedule.parse(self.temperature, "temperature"))
        self.plan(1)

    def plan(self, items: int, *, cuda: bool = False) -> TrainingPlan:
        """What the training loop is told, for `items` documents or pairs."""
        an_epoch = -(-items // self.batch_size) if self.batch_size > 0 else 1
        return TrainingPlan(
            steps=self.epochs * an_epoch if self.steps is None else self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            validate_every=an_epoch if self.validate_every is None else self.validate_every,
            patience=self.patience,
            average=self.average,
            clip=self.clip,
            max_seconds=self.max_seconds,
            bfloat16=cuda,
            fused=True,
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
