"""What a network's fit reads of its features, as tensors, a batch at a time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import InputError
from llmhash.heads.base import (
    AnyFeatures,
    FloatArray,
    TrainingFeatures,
    feature_arrays,
    is_sparse,
    mean_vector,
)
from llmhash.objectives.base import Shapes

#: Mean (d,) and scale of features.
Standardization = tuple[FloatArray, float]


class Rows:
    """Rows of an array (n, d) as tensors on a device; CSR rows are made dense as they are read.

    With a standardization, dense rows come less its mean and times its scale.
    """

    def __init__(
        self, values: Any, device: torch.device, standardized: Standardization | None = None
    ) -> None:
        self.width = int(values.shape[1])
        self._sparse = values if is_sparse(values) else None
        self._device = device
        if self._sparse is None:
            if standardized is not None:
                mean, scale = standardized
                values = (values - mean) * np.float32(scale)
            self._dense = torch.from_numpy(values).to(device)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows int64 (m,), of the array's type (m, d)."""
        if self._sparse is None:
            return self._dense[rows]
        return torch.from_numpy(self._sparse[rows.cpu().numpy()].toarray()).to(self._device)


@dataclass
class Draw:
    """What a batch is made of.

    Attributes:
        rows: Int64 (m,), the documents' rows in the training set.
        inputs: Float32 (m, d), their clean inputs.
        seen: What the student looks at: the inputs, or the documents' `TokenFeatures`.
        targets: By name, for `llmhash.objectives.base.Batch`.
        queries: Float32 (m, d), the query paired with each document, where there are pairs.
    """

    rows: Tensor
    inputs: Tensor
    seen: Tensor | TokenFeatures
    targets: Mapping[str, Tensor]
    queries: Tensor | None = None


class NetworkSources:
    """Documents, pairs and targets of a network's fit.

    Items are the documents or, where an objective needs pairs, the queries that were cut from a document.

    Args:
        features: What to fit on, dense or CSR.
        needs: Of the objectives, each with the name of one that needs it.
        device: Where tensors are wanted.

    Raises:
        InputError: Something that is needed is not there.
    """

    def __init__(self, features: TrainingFeatures, needs: Mapping[str, str], device: torch.device) -> None:
        documents = features.documents
        self.device, self._count = device, features.count
        self.standardization = standardization(documents)
        self.inputs = Rows(documents, device, self.standardization)
        self._targets = self._find_targets(features, needs)
        self._queries: Rows | None = None
        if "pairs" in needs:
            paired, sources = _paired(features, needs["pairs"])
            self._queries = Rows(features.queries, device, self.standardization)
            self._query_rows = torch.from_numpy(paired).to(device)
            self._documents = torch.from_numpy(sources).to(device)
        self.items = self._count if self._queries is None else len(self._query_rows)
        self.identity = [self._count, self.inputs.width, checksum(documents)]

    def shapes(self, bits: int) -> Shapes:
        """What objectives are built for."""
        widths = {name: rows.width for name, rows in self._targets.items()}
        return Shapes(bits, self.inputs.width, widths, self._count)

    def sample(self, limit: int, seed: int) -> Tensor:
        """Clean inputs of some documents, float32 (m, d), on the CPU."""
        chosen = np.random.default_rng((seed, 2)).permutation(self._count)[:limit]
        return self.inputs[torch.from_numpy(np.sort(chosen)).to(self.device)].cpu()

    def draw(self, items: Tensor) -> Draw:
        """What a batch is made of, for items int64 (m,)."""
        rows = items if self._queries is None else self._documents[items]
        inputs = self.inputs[rows]
        targets = {
            name: inputs if source is self.inputs else source[rows] for name, source in self._targets.items()
        }
        queries = None if self._queries is None else self._queries[self._query_rows[items]]
        return Draw(rows, inputs, inputs, targets, queries)

    def _find_targets(self, features: TrainingFeatures, needs: Mapping[str, str]) -> dict[str, Rows]:
        for need in ("summary", "locals"):
            if need in needs:
                raise InputError(f"the objective {needs[need]} needs {need}, which only the head tokens has.")
        sparse = is_sparse(features.documents)
        found = words_and_labels(features, needs, self.device, self.inputs if sparse else None)
        if "embeddings" in needs:
            if sparse:
                raise InputError(
                    f"the objective {needs['embeddings']} needs embeddings, and these documents are words: "
                    "give the tfidf encoder `components`."
                )
            found["embeddings"] = self.inputs
        return found


def words_and_labels(
    features: TrainingFeatures, needs: Mapping[str, str], device: torch.device, own: Rows | None = None
) -> dict[str, Rows]:
    """The targets "words" and "labels" of documents, as far as objectives need them.

    Args:
        features: Of the documents.
        needs: Of the objectives, each with the name of one that needs it.
        device: Where tensors are wanted.
        own: The documents themselves, where they are words and none stand beside them.

    Raises:
        InputError: What is needed is not there.
    """
    found: dict[str, Rows] = {}
    if "words" in needs:
        words = own if features.words is None else Rows(features.words, device)
        if words is None:
            raise InputError(
                f"the objective {needs['words']} reconstructs the documents' words: add a section `words` "
                "to the recipe."
            )
        found["words"] = words
    if "labels" in needs:
        if features.labels is None:
            raise InputError(f"the objective {needs['labels']} needs labels, and these documents have none.")
        found["labels"] = Rows(features.labels, device)
    return found


def standardization(values: AnyFeatures) -> Standardization:
    """What makes embeddings of any teacher centred, with values of unit mean square.

    Words stay as they are.
    """
    if is_sparse(values):
        return np.zeros(values.shape[1], dtype=np.float32), 1.0
    mean = mean_vector(values)
    spread = float(np.sqrt(np.square(values - mean, dtype=np.float64).mean()))
    return mean, 1.0 / spread if spread > 0 else 1.0


def checksum(documents: AnyFeatures) -> int:
    """A checksum of features of any kind, by which a checkpoint knows its documents."""
    value = 0
    for part in feature_arrays(documents):
        value = zlib.crc32(np.ascontiguousarray(part).data, value)
    return value


def _paired(features: TrainingFeatures, objective: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the queries whose document is known, and that document's."""
    if features.queries is not None and features.sources is not None:
        rows = np.flatnonzero(features.sources >= 0)
        if len(rows):
            return rows, features.sources[rows]
    raise InputError(
        f"the objective {objective} needs queries paired with documents: set the recipe's `pseudo_queries`."
    )
