"""What a run leaves in a folder: a log, and a checkpoint from which it goes on exactly.

A checkpoint is one safetensors file, replaced as a whole: the module's parameters and buffers, the kept ones,
Adam's moments and the generators' states as tensors, and everything else as JSON in its header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmhash.errors import FormatError, InputError
from llmhash.training.keeper import Keeper
from llmhash.training.plan import TrainingRun

#: Name of the file in a run's folder.
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Record:
    """Where a run leaves its log and its checkpoint, and goes on from one that lies there.

    Attributes:
        folder: Made where it does not exist.
        identity: JSON-able; what has to be the same for a checkpoint to be of this run, by name. The seed,
            the items and the batch size are added by the loop. The learning rate is no part of it: a run that
            diverged goes on with a lower one.
        generators: The method's own, whose states the checkpoint holds.
        log_every: Steps between lines of the log; a validation has a line in any case.
    """

    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    generators: Mapping[str, torch.Generator] = field(default_factory=dict)
    log_every: int = 10


@dataclass
class Snapshot:
    """All that changes while a run trains; `save` writes it and `restore` puts a written one in its place."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    keeper: Keeper
    generators: Mapping[str, torch.Generator]

    def save(self, folder: Path, identity: Mapping[str, Any], queue: Tensor, seconds: float) -> None:
        """Write the checkpoint, whole or not at all.

        Args:
            folder: The run's.
            identity: What the run is, JSON-able.
            queue: Items of the epoch that are yet to be drawn, int64.
            seconds: Trained so far.
        """
        from safetensors.torch import save

        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        for kind, kept in self.keeper.tensors().items():
            tensors.update({f"{kind}.{name}": value for name, value in kept.items()})
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{number}.{name}": value for name, value in moments.items()})
        tensors.update({f"generator.{name}": each.get_state() for name, each in self.generators.items()})
        tensors["queue"] = queue
        state = {
            "identity": identity,
            "run": asdict(self.keeper.run),
            "misses": self.keeper.misses,
            "seconds": seconds,
        }
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / (CHECKPOINT + ".tmp")
        # safetensors refuses tensors that share memory, which views of a parameter may.
        data = save(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            {"state": json.dumps(state)},
        )
        temporary.write_bytes(data)
        temporary.replace(folder / CHECKPOINT)

    def restore(self, folder: Path, identity: Mapping[str, Any]) -> tuple[Tensor, float] | None:
        """Go on from the folder's checkpoint: the queue and the seconds it was saved with; None if none.

        Raises:
            FormatError: The file is damaged.
            InputError: It is of another run.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            return None
        tensors, state = _read(path)
        stored = state["identity"]
        # The identity went through JSON once, which turns tuples into lists.
        ours = json.loads(json.dumps(identity))
        other = sorted(key for key in ours.keys() | stored.keys() if ours.get(key) != stored.get(key))
        if other:
            raise InputError(
                f"{path} is of another run ({', '.join(other)} differ): name another folder or remove it."
            )
        try:
            self._load(tensors, state)
        except (KeyError, RuntimeError, TypeError) as error:
            raise FormatError(f"{path} does not fit this run ({error}); remove it.") from None
        return tensors["queue"], float(state["seconds"])

    def _load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.module.load_state_dict(_under(tensors, "module."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimizer.").items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator.{name}"])
        run = TrainingRun(**state["run"])
        run.history = [(int(step), float(figure)) for step, figure in run.history]
        kept = {kind: _under(tensors, f"{kind}.") for kind in ("best", "moving")}
        self.keeper.load(kept, run, int(state["misses"]))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged ({error}); remove it to start anew.") from None


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
