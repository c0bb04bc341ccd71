"""What an objective is, and what it sees of a batch.

Shapes: n = documents in a batch, b = bits, d = dimensions of the inputs, V = words, t = tokens of a text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmhash.errors import InputError, suggest

#: What an objective may need beside the documents' codes. All but the last three are targets.
NEEDS = ("words", "embeddings", "labels", "summary", "pairs", "locals", "log_variance")


@dataclass
class View:
    """The student's look at some inputs. Its tensors are float32, under autocast too.

    Attributes:
        logits: (n, b), real-valued; a bit is `logit > 0`. The mean, of a Gaussian posterior.
        latent: (n, b), what a decoder sees: a sample of the posterior, or the estimator's values.
        codes: (n, b), the estimator's values in [-1, 1].
        log_variance: (n, b) of a Gaussian posterior, or None.
        locals: (n, t, b), logits of a text's parts, or None.
        mask: Bool (n, t), True where there is such a part; None where all there are.
        hidden: (n, h), the last hidden layer's values, or None where a head has none.
    """

    logits: Tensor
    latent: Tensor
    codes: Tensor
    log_variance: Tensor | None = None
    locals: Tensor | None = None
    mask: Tensor | None = None
    hidden: Tensor | None = None


@dataclass
class Batch:
    """What an objective is computed on.

    Attributes:
        rows: Int64 (n,), the documents' rows in the training set.
        inputs: (n, d), their clean inputs.
        view: The student's, of the (perhaps corrupted) inputs.
        targets: Those that objectives need, by name, float32 but for labels: "words" (n, V) weights or
            counts, "embeddings" (n, e), "labels" bool (n, L), "summary" (n, e).
        queries: The student's view of the query paired with each document, where an objective needs "pairs".
        encode: The student on other inputs (m, d).
        step: Updates made so far.
        steps: Updates to make.
        generator: The source of an objective's randomness, on the CPU.
        estimate: The student's estimator at this step: logits of any shape to values in [-1, 1].
    """

    rows: Tensor
    inputs: Tensor
    view: View
    targets: Mapping[str, Tensor]
    queries: View | None
    encode: Callable[[Tensor], View]
    step: int
    steps: int
    generator: torch.Generator
    estimate: Callable[[Tensor], Tensor] = torch.tanh

    @property
    def different(self) -> Tensor:
        """Bool (n, n), True where two places of the batch hold different documents."""
        return self.rows[:, None] != self.rows[None, :]


@dataclass(frozen=True)
class Shapes:
    """The widths that objectives are built for.

    Attributes:
        bits: b, bits in a code.
        dim: d, dimensions of the inputs.
        targets: Widths of the targets by name.
        documents: Rows of the training set; a batch's rows are below it.
    """

    bits: int
    dim: int
    targets: Mapping[str, int]
    documents: int

    def width(self, target: str) -> int:
        """The width of a target.

        Raises:
            InputError: There is no such target in what is trained on.
        """
        if target not in self.targets:
            raise InputError(f"an objective needs {target}, which what is trained on does not have.")
        return self.targets[target]


class Objective(nn.Module):
    """A term of the loss over a batch.

    Its parameters (decoders, discriminators) are its own: they are trained with the student, then dropped.
    Its weight is not its own: who sums the terms multiplies. Eval mode leaves its memory, where it has one,
    alone.

    Attributes:
        needs: Those of `NEEDS` that a batch must have for it.
    """

    needs: frozenset[str] = frozenset()

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """What it needs once built with some settings; known before it is built."""
        del settings
        return cls.needs

    def forward(self, batch: Batch) -> Tensor:
        """The term, a scalar with a gradient; lower is better."""
        raise NotImplementedError


def number(what: str, value: Any, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """Return a finite number from `low` (or `above` it) to `high` as a float, or raise `InputError`."""
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not right or not low <= value <= high or (above and value == low):
        least = f"above {low:g}" if above else f"from {low:g}"
        bounds = f"{least} to {high:g}" if math.isfinite(high) else f"{least} on"
        raise InputError(f"{what} must be a number {bounds}, not {value!r}.")
    return float(value)


def whole(what: str, value: Any, low: int = 1) -> int:
    """Return a setting that is a whole number of at least `low`, or raise `InputError`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(f"{what} must be a whole number from {low} on, not {value!r}.")
    return value


def flag(what: str, value: Any) -> bool:
    """Return a setting that is true or false, or raise `InputError`."""
    if not isinstance(value, bool):
        raise InputError(f"{what} must be true or false, not {value!r}.")
    return value


def choice(what: str, value: Any, known: Collection[str]) -> str:
    """Return a setting that is one of some names, or raise `InputError`."""
    if value not in known:
        raise InputError(f"{what} cannot be {value!r}; {suggest(str(value), known)}")
    return str(value)
