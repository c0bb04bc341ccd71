"""Sentence embeddings and the latent semantics of a text's words, side by side in one vector.

A sentence model knows what words mean, the corpus which of them go together in it; neighbours by both are
better than by either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.encoders.base import Encoder, FloatArray, Side
from llmhash.encoders.tfidf import TfidfEncoder
from llmhash.errors import FormatError, InputError


@dataclass(frozen=True, eq=False)
class JoinedEncoder:
    """Rows `[sqrt(1 - s) u, sqrt(s) v]` of a text's embedding u and its latent semantics v, both of length 1.

    A dot product is then `(1 - s) cos(u, u') + s cos(v, v')`. A text without a known word has no v, and a row
    that is shorter than 1.

    Attributes:
        sentences: Gives u: dense vectors.
        words: Gives v: it has components.
        share: s, above 0 and below 1.

    Raises:
        InputError: The share is out of range, or the words' encoder has no components.
    """

    sentences: Encoder
    words: TfidfEncoder
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"the words' share must be above 0 and below 1, not {self.share}.")
        if self.words.components is None:
            raise InputError("words are joined to embeddings by their latent semantics: give `components`.")

    @property
    def name(self) -> str:
        """The sentence encoder's name, and that words are joined to it."""
        return f"{self.sentences.name} with words"

    @property
    def dim(self) -> int:
        """Dimensions of both parts."""
        return self.sentences.dim + self.words.dim

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of both parts' and the share."""
        parts = f"{self.sentences.fingerprint} {self.words.fingerprint} {self.share!r}"
        return blake2b(parts.encode(), digest_size=16).hexdigest()

    @property
    def sides_differ(self) -> bool:
        """Whether the sentence encoder's sides do; those of words are the same."""
        return self.sentences.sides_differ

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray:
        """Features float32 (n, dim) of n texts."""
        embeddings = self.sentences.encode(texts, side, progress=progress)
        if not isinstance(embeddings, np.ndarray):
            raise InputError(f"words are joined to dense vectors, which {self.sentences.name} does not give.")
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
        words = self.words.encode(texts, side)
        return np.hstack([np.sqrt(1 - self.share) * unit, np.sqrt(self.share) * words]).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The words' arrays by name, as they are stored."""
        return self.words.tensors()

    def config(self) -> dict[str, Any]:
        """What is needed, beside `tensors`, to make this encoder again; JSON-able."""
        return {
            "kind": "joined",
            "name": self.name,
            "dim": self.dim,
            "share": self.share,
            "sentences": self.sentences.config(),
            "words": self.words.config(),
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], *, device: str | None = None
    ) -> JoinedEncoder:
        """The encoder that `config` and `tensors` described.

        Raises:
            FormatError: Something is missing, or does not belong together.
        """
        from llmhash.encoders.sentence import SentenceEncoder

        try:
            words = TfidfEncoder.from_config(config["words"], tensors)
            return cls(
                SentenceEncoder.from_config(config["sentences"], device=device), words, config["share"]
            )
        except (KeyError, TypeError) as error:
            raise FormatError(f"the stored joined encoder is incomplete or damaged ({error!r}).") from error
