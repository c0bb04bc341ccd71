"""What was measured, on disk: a file a head, with one value a query of every place it was measured at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: (place, scoring) -> nDCG@10 of each query, float64 (q,).
Values = dict[tuple[str, str], NDArray[np.float64]]

TEACHER = "teacher"


@dataclass(frozen=True, order=True)
class Key:
    """What a head is.

    Attributes:
        source: The set that it was distilled on without a codebook, `SET@DOCUMENTS` for some or all of its
            documents with one, `SET.test` for a test set, `SET.nested` for nested codes; "general", "adapted"
            (the general one, to each place's documents) or "teacher".
        bits: Of its codes; 0 for the teacher.
        seed: Of its training.
    """

    source: str
    bits: int
    seed: int = 0


@dataclass(frozen=True)
class Facts:
    """What else is known of a head.

    Attributes:
        documents: It was distilled on.
        seconds: That took, on a shared machine.
        drift: Of the bit balance at each place.
        head: Fingerprint of the general hasher, which is measured anew where it has changed.
        stored: Whether it was measured on stored embeddings.
    """

    documents: int
    seconds: float
    drift: dict[str, float]
    head: str = ""
    stored: bool = False


class Cells:
    """A folder of measured heads; made where it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, key: Key) -> bool:
        return self._path(key, ".json").exists()

    def put(self, key: Key, facts: Facts, values: Values) -> None:
        """Keep a head's values; those of places that it was measured at before stay."""
        held = dict(values)
        if key in self:
            held = {**self.values(key), **values}
            facts = replace(facts, drift={**self.facts(key).drift, **facts.drift})
        with self._path(key, ".npz").open("wb") as file:
            arrays = {"|".join(name): each.astype(np.float32) for name, each in held.items()}
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_json(self._path(key, ".json"), asdict(facts))

    def facts(self, key: Key) -> Facts:
        """What is known of a head."""
        return Facts(**json.loads(self._path(key, ".json").read_text(encoding="utf-8")))

    def values(self, key: Key) -> Values:
        """A head's values at each place, by scoring."""
        with np.load(self._path(key, ".npz"), allow_pickle=False) as arrays:
            return {
                (place, scoring): arrays[name].astype(np.float64)
                for name in arrays.files
                for place, scoring in [name.split("|")]
            }

    def listed(self) -> list[Key]:
        """All heads, in order."""
        found = (path.stem.rsplit("-", 2) for path in self.folder.glob("*.json"))
        return sorted(Key(source, int(bits), int(seed)) for source, bits, seed in found)

    def _path(self, key: Key, suffix: str) -> Path:
        return self.folder / f"{key.source}-{key.bits}-{key.seed}{suffix}"


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a file of JSON, whole or not at all."""
    half = path.with_suffix(".half")
    half.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    half.replace(path)
