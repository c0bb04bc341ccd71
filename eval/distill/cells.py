"""The table's cells on disk: one fit of one row at one width in one setting, with one value a query.

A cell is two files, figures as JSON and the values of each query as float32 arrays. The JSON is written last:
it stands for both, and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmhash.evaluation.retrieval import PerQuery

#: What a cell's settings say of embeddings that were not made for the table.
STORED = "stored embeddings, rounded to float16"

#: Metrics that are kept of each query.
METRICS = ("ndcg@10", "recall@100", "overlap@10")

#: Scoring -> part -> metrics of each query.
Values = dict[str, dict[str, PerQuery]]


@dataclass(frozen=True, order=True)
class Key:
    """What a cell is of."""

    setting: str
    row: str
    bits: int
    seed: int

    @property
    def stem(self) -> str:
        """The cell's place below the folder, without a suffix."""
        return f"{self.setting}/{self.row}-{self.bits}-{self.seed}"


@dataclass(frozen=True)
class Figures:
    """What one scoring of a row costs.

    Attributes:
        bytes_per_document: Everything stored for one more document.
        model_bytes: Everything fixed.
        seconds: Durations by name, over the setting's whole corpus.
        settings: What else the figures depend on.
        documents: In the setting's corpus.
    """

    bytes_per_document: int
    model_bytes: int
    seconds: dict[str, float]
    settings: str | None
    documents: int


class Cells:
    """A folder of cells.

    Args:
        folder: Where they lie; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, key: Key) -> bool:
        return self._path(key, ".json").exists()

    def listed(self) -> list[Key]:
        """All cells, in order."""
        return sorted(self._keys())

    def put(self, key: Key, figures: Mapping[str, Figures], values: Values) -> None:
        """Keep a cell, replacing an older one.

        Args:
            key: What it is of.
            figures: By scoring.
            values: By scoring, part and metric; of the metrics, `METRICS` are kept.
        """
        arrays = {
            f"{scoring}|{part}|{metric}": metrics[metric].astype(np.float32)
            for scoring, parts in values.items()
            for part, metrics in parts.items()
            for metric in METRICS
        }
        path = self._path(key, ".npz")
        path.parent.mkdir(exist_ok=True)
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            np.savez_compressed(file, **arrays)
        half.replace(path)
        record = {**asdict(key), "scorings": {name: asdict(each) for name, each in figures.items()}}
        write_json(self._path(key, ".json"), record)

    def figures(self, key: Key) -> dict[str, Figures]:
        """A cell's figures by scoring."""
        record = json.loads(self._path(key, ".json").read_text(encoding="utf-8"))
        return {name: Figures(**each) for name, each in record["scorings"].items()}

    def values(self, key: Key) -> Values:
        """A cell's values of each query, float64."""
        values: Values = {}
        with np.load(self._path(key, ".npz"), allow_pickle=False) as arrays:
            for name in arrays.files:
                scoring, part, metric = name.split("|")
                held = values.setdefault(scoring, {}).setdefault(part, {})
                held[metric] = arrays[name].astype(np.float64)
        return values

    def settle(self, about: Mapping[str, Any]) -> None:
        """Note what all cells depend on, or compare with what is noted.

        Raises:
            SystemExit: The folder holds cells made with other settings.
        """
        path = self.folder / "about.json"
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != about:
            raise SystemExit(f"{self.folder} holds cells made with other settings; choose another --output.")
        write_json(path, about)

    def about(self) -> dict[str, Any]:
        """What all cells depend on."""
        noted: dict[str, Any] = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
        return noted

    def _keys(self) -> Iterator[Key]:
        for path in self.folder.glob("*/*.json"):
            row, bits, seed = path.stem.rsplit("-", 2)
            yield Key(path.parent.name, row, int(bits), int(seed))

    def _path(self, key: Key, suffix: str) -> Path:
        return self.folder / f"{key.stem}{suffix}"


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a file of JSON, whole or not at all."""
    half = path.with_suffix(".half")
    half.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    half.replace(path)
