"""What the table's methods see of a label set: words, sentence embeddings or token embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora import LabelSet, read_label_set
from llmhash.encoders.base import Encoder, Side, TokenFeatures
from llmhash.errors import InputError

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stored:
    """Embeddings that were computed before, found again by their texts; other texts go to the encoder."""

    encoder: Encoder
    vectors: dict[str, FloatArray]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray:
        """Features float32 (n, dim)."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        fresh: dict[str, FloatArray] = {}
        if unknown:
            encoded = self.encoder.encode(unknown, side, progress=progress)
            fresh = dict(zip(unknown, encoded, strict=True))
        rows = [self.vectors[text] if text in self.vectors else fresh[text] for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.encoder.dim), np.float32)


@dataclass(frozen=True, eq=False)
class Summaries:
    """The whole texts' vectors of an encoder of tokens, for heads that take one a text."""

    encoder: Encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray:
        """Features float32 (n, dim)."""
        features = self.encoder.encode(texts, side, progress=progress)
        if not isinstance(features, TokenFeatures):
            raise InputError(f"{self.encoder.name} gives no token features.")
        return features.summary


def stored(encoder: Encoder, folder: Path, data: Path, name: str) -> Stored:
    """An encoder whose embeddings of the set are read from `folder/NAME.npz`.

    Args:
        encoder: Of all other texts.
        folder: Holds arrays `train`, `validation` and `test`, (n, dim), rows as in the set's files.
        data: Folder of the sets.
        name: The set.

    Raises:
        InputError: The arrays do not fit the set.
    """
    files: LabelSet = read_label_set(data / name, protocol="official")
    vectors: dict[str, FloatArray] = {}
    with np.load(folder / f"{name}.npz") as arrays:
        for split in ("train", "validation", "test"):
            texts, rows = getattr(files, split).texts, arrays[split].astype(np.float32)
            if rows.shape != (len(texts), encoder.dim):
                raise InputError(f"{folder / name}.npz, {split}: {rows.shape} does not fit the set.")
            vectors.update(zip(texts, rows, strict=True))
    return Stored(encoder, vectors)
