"""Weights and temperatures that change as training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from llmhash.errors import InputError, suggest
from llmhash.objectives.base import choice, number, whole

Shape = Literal["constant", "linear", "exponential"]


@dataclass(frozen=True)
class Schedule:
    """A number for each step, counted from 0.

    Attributes:
        start: Its value at step 0; at every step, where the shape is constant.
        end: Its value from step `steps` on.
        steps: Steps from one to the other.
        shape: "linear" adds the same at each step, "exponential" multiplies by the same, "constant" does
            neither.

    Raises:
        InputError: A number is negative or not finite, an exponential one is 0, the shape is unknown.
    """

    start: float
    end: float
    steps: int = 1
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        choice("the shape of a schedule", self.shape, get_args(Shape))
        whole("the steps of a schedule", self.steps)
        for name in ("start", "end"):
            number(f"the {name} of a schedule", getattr(self, name), above=self.shape == "exponential")

    @classmethod
    def parse(cls, value: Any, what: str = "a weight") -> Schedule:
        """A schedule from what a recipe says.

        Args:
            value: A number, or a mapping of `start`, `end`, `steps` and, unless it is linear, `shape`.
            what: What the number is, for an error to say.

        Raises:
            InputError: It is neither, or has no or wrong values.
        """
        if isinstance(value, Schedule):
            return value
        if not isinstance(value, Mapping):
            constant = number(what, value)
            return cls(constant, constant, shape="constant")
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                raise InputError(f"{what} has no setting {name!r}; {suggest(str(name), known)}")
        asked = known[:1] if value.get("shape") == "constant" else known[:3]
        missing = [name for name in asked if name not in value]
        if missing:
            raise InputError(f"{what}, given as a schedule, must say its {' and '.join(missing)} too.")
        try:
            return cls(**{"end": value["start"], **value})
        except InputError as error:
            raise InputError(f"{what} is no schedule: {error}") from error

    def __call__(self, step: int) -> float:
        """The value at a step."""
        if self.shape == "constant":
            return float(self.start)
        done = min(max(step / self.steps, 0.0), 1.0)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * done
        return float(self.start * (self.end / self.start) ** done)
