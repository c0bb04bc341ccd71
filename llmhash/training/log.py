"""A run's log: one JSON object a line, in the order of the steps, so that it can be followed and plotted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmhash.errors import FormatError, InputError, MissingExtraError

#: Name of the file in a run's folder.
LOG = "log.jsonl"


class TrainingLog:
    """Appends to a folder's log.

    A line has "step" (updates made), "seconds", "rate" (the learning rate) and "losses", a mapping of names;
    after a validation also "validation".
    """

    def __init__(self, folder: Path, steps: int) -> None:
        """Go on after `steps` updates: lines of later ones, which an interrupted run left, are dropped."""
        self._path = folder / LOG
        kept = [line for line in read_log(folder) if line["step"] <= steps] if steps else []
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's log, in order; none where there is no log.

    Raises:
        FormatError: A line other than the last is no JSON; the last may have been cut short by a crash.
    """
    path = Path(folder) / LOG
    if not path.is_file():
        return []
    rows = path.read_text(encoding="utf-8").splitlines()
    lines: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        try:
            lines.append(json.loads(row))
        except ValueError:
            if number < len(rows):
                raise FormatError(f"{path}, line {number} is not JSON; remove the line.") from None
    return lines


def plot_log(folder: str | Path, output: str | Path) -> Path:
    """Draw a run's losses and validation figures over its steps, as the picture `output` (.png, .svg).

    Raises:
        InputError: The folder holds no log.
        MissingExtraError: Matplotlib is not installed.
    """
    lines = read_log(folder)
    if not lines:
        raise InputError(f"{folder} holds no {LOG}: train with `checkpoint` set to a folder first.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing a training log", "plot") from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.subplots()
    for name in lines[0]["losses"]:
        steps, values = zip(*((line["step"], line["losses"][name]) for line in lines), strict=True)
        losses.plot(steps, values, label=name)
    losses.set(xlabel="step", ylabel="loss")
    validated = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    if validated:
        other = losses.twinx()
        other.plot(*zip(*validated, strict=True), "k.--", label="validation")
        other.set_ylabel("validation")
    figure.legend(loc="outside upper center", ncols=4)
    figure.savefig(output)
    return Path(output)
