"""Training on a weighted sum of objectives: what the fits of networks and of token heads share.

Selection is on validation documents' Precision@100 where they have labels, and on the loss of held-out
documents otherwise; never on a test set. An objective's own parameters are trained with the student, then
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.network_inputs import Draw
from llmhash.heads.network_options import NetworkOptions
from llmhash.heads.network_student import Look, Student
from llmhash.heads.network_validation import PrecisionCheck
from llmhash.objectives.base import Batch, Shapes
from llmhash.objectives.registry import build_objective, objective_needs
from llmhash.objectives.schedules import Schedule
from llmhash.training import Progress, Record, train

# Settings that a run may change and still go on from its checkpoint.
_FREE = {
    "epochs", "steps", "learning_rate", "weight_decay", "schedule", "clip", "validate_every", "patience",
    "max_seconds", "device", "checkpoint", "threshold",
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """An objective as a recipe has it.

    Attributes:
        settings: Its own.
        weight: Of its value in the loss, by the step.
    """

    settings: dict[str, Any]
    weight: Schedule

    @classmethod
    def parse(cls, name: str, value: Any) -> Term:
        """A term from a mapping of settings and `weight`, or from a weight alone, or from nothing (1).

        Raises:
            InputError: It is something else.
        """
        if value is not None and not isinstance(value, Mapping):
            value = {"weight": value}
        settings = dict(value or {})
        weight = Schedule.parse(settings.pop("weight", 1.0), f"the weight of {name}")
        return cls(settings, weight)


Terms = Mapping[str, Term]


def parse_terms(objectives: Mapping[str, Any]) -> Terms:
    """The terms of a loss by name.

    Raises:
        InputError: There is none, or one is neither a mapping nor a weight.
    """
    if not objectives:
        raise InputError("nothing to learn: name an objective in the recipe's section `objectives`.")
    return {name: Term.parse(name, value) for name, value in objectives.items()}


def needs_of(terms: Terms) -> dict[str, str]:
    """What the objectives need of a batch, each with the name of one that needs it.

    Raises:
        InputError: There is no objective of a name, or it has no such setting.
    """
    return {need: name for name, term in terms.items() for need in objective_needs(name, term.settings)}


def training_device(options: NetworkOptions) -> torch.device:
    """The device that the options name, or else CUDA where there is one."""
    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


class Sources(Protocol):
    """What is trained on, a batch of items (documents, or pairs of a query and its document) at a time."""

    device: torch.device
    items: int

    @property
    def identity(self) -> list[int]:
        """Numbers by which a checkpoint knows the documents."""
        ...

    def shapes(self, bits: int) -> Shapes:
        """What objectives are built for."""
        ...

    def draw(self, items: Tensor) -> Draw:
        """What a batch is made of, for items int64 (m,)."""
        ...


def train_student(
    student: Student,
    sources: Sources,
    features: TrainingFeatures,
    terms: Terms,
    options: NetworkOptions,
    *,
    bits: int,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Train a student in place; it ends with the best weights that validation saw.

    Args:
        student: What is trained.
        sources: Of the features, with what the terms need.
        features: Whose validation documents select, where there are some.
        terms: The loss.
        options: Settings.
        bits: Bits in a code.
        seed: Decides everything random.
        progress: Called with (step, steps, message).

    Raises:
        InputError: An objective lacks what it needs, or training diverged.
    """
    fit = _Fit(student, sources, features, terms, options, bits, seed)
    record = None
    if options.checkpoint is not None:
        record = Record(Path(options.checkpoint), fit.identity, {"noise": fit.generator})
    train(
        fit.module,
        fit.loss,
        len(fit.training),
        fit.plan,
        seed=seed,
        validate=fit.validation(),
        progress=progress,
        record=record,
    )


class _Fit:
    """Student, objectives and data of one fit."""

    def __init__(
        self,
        student: Student,
        sources: Sources,
        features: TrainingFeatures,
        terms: Terms,
        options: NetworkOptions,
        bits: int,
        seed: int,
    ) -> None:
        self._student, self._sources, self._features = student, sources, features
        self._terms, self._options, self._bits, self._seed = terms, options, bits, seed
        shapes = sources.shapes(bits)
        self._objectives = nn.ModuleDict(
            {name: build_objective(name, shapes, term.settings, seed=seed) for name, term in terms.items()}
        )
        self.module = nn.ModuleDict({"student": student, "objectives": self._objectives}).to(sources.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.training, self._held_out = self._split()
        self.plan = options.plan(len(self.training), cuda=sources.device.type == "cuda")

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint has to share with this run, JSON-able."""
        settings = {name: value for name, value in asdict(self._options).items() if name not in _FREE}
        terms = {name: [term.settings, asdict(term.weight)] for name, term in self._terms.items()}
        return {**settings, "bits": self._bits, "objectives": terms, "documents": self._sources.identity}

    def loss(self, items: Tensor, step: int) -> dict[str, Tensor]:
        """The objectives' weighted values by name, for training items by their number."""
        return self._losses(self.training[items], Look(step, self.generator))

    def validation(self) -> Callable[[], float] | None:
        """What tells good weights from bad ones; None where there is too little to hold any out."""
        if self._features.validation is None:
            return self._held_out_loss if len(self._held_out) else None
        check = PrecisionCheck(
            self._features,
            queries=self._options.validation_queries,
            documents=self._options.validation_documents,
            median=self._options.threshold == "median",
            seed=self._seed,
        )
        # The loop takes lower as better: the share of the first hundred that is not relevant.
        return lambda: 1.0 - check.precision(self._student.head())

    def _losses(self, items: Tensor, look: Look) -> dict[str, Tensor]:
        student, drawn = self._student, self._sources.draw(items)
        batch = Batch(
            rows=drawn.rows,
            inputs=drawn.inputs,
            view=student(drawn.seen, look),
            targets=drawn.targets,
            queries=None if drawn.queries is None else student(drawn.queries, look),
            encode=lambda others: student(others, look),
            step=look.step,
            steps=self.plan.steps,
            generator=look.generator,
            estimate=lambda logits: student.latents.estimate(logits, look),
        )
        return {
            name: term.weight(look.step) * self._objectives[name](batch) for name, term in self._terms.items()
        }

    def _held_out_loss(self) -> float:
        """The loss of the held-out items with the weights' last schedule and always the same noise."""
        look = Look(self.plan.steps - 1, torch.Generator().manual_seed(self._seed))
        self.module.eval()
        total = 0.0
        for items in torch.split(self._held_out, self._options.batch_size):
            total += float(torch.stack(list(self._losses(items, look).values())).sum()) * len(items)
        self.module.train()
        return total / len(self._held_out)

    def _split(self) -> tuple[Tensor, Tensor]:
        """Items to train on and, without validation labels, those held out of it."""
        order = torch.from_numpy(np.random.default_rng((self._seed, 1)).permutation(self._sources.items))
        held_out = min(self._options.held_out, len(order) // 10)
        if self._features.validation is not None:
            held_out = 0
        training, aside = order[held_out:].sort().values, order[:held_out].sort().values
        return training.to(self._sources.device), aside.to(self._sources.device)
