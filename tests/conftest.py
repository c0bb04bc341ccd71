from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest_plugins = ["tiny_models"]


class BagOfWordsEncoder:
    """An encoder without a model: the normalised sum of fixed random word vectors."""

    name = "bag-of-words"
    dim = 24

    def __init__(self, query_prompt: str = "") -> None:
        self.query_prompt = query_prompt
        self.calls = 0

    @property
    def fingerprint(self) -> str:
        return f"bag-of-words/{self.query_prompt}"

    @property
    def sides_differ(self) -> bool:
        return bool(self.query_prompt)

    def encode(self, texts: Sequence[str], side: str, *, progress: bool = False) -> np.ndarray:
        self.calls += 1
        prompt = self.query_prompt if side == "query" else ""
        features = np.array([self._embed(prompt + text) for text in texts], dtype=np.float32)
        return features.reshape(len(texts), self.dim)

    def config(self) -> dict[str, Any]:
        return {"name": self.name}

    def _embed(self, text: str) -> np.ndarray:
        # The whole text counts a little too, so that no two texts have the same features.
        parts = [(text, 0.2), *((word, 1.0) for word in text.lower().split())]
        total = sum(weight * self._random(part) for part, weight in parts)
        return total / np.linalg.norm(total)

    def _random(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
        return np.random.default_rng(seed).normal(size=self.dim)


@pytest.fixture
def encoder() -> BagOfWordsEncoder:
    return BagOfWordsEncoder()


@pytest.fixture
def prompted_encoder() -> BagOfWordsEncoder:
    return BagOfWordsEncoder("query about: ")


@pytest.fixture
def sentences() -> list[str]:
    """200 short texts on five subjects."""
    rng = np.random.default_rng(0)
    subjects = ["sea ship harbour sail wind", "oven bread flour yeast salt", "court judge law trial oath",
                "star planet orbit moon comet", "goal match team coach league"]  # fmt: skip
    common = ["the", "a", "of", "and", "in", "to", "was", "found", "often", "never", "some", "many"]
    texts = []
    for i in range(200):
        words = rng.choice(subjects[i % 5].split(), 4).tolist() + rng.choice(common, 5).tolist()
        texts.append(
            f"{' '.join(words)} {i}. The {words[0]} and the {words[1]} were seen again in {1800 + i}."
        )
    return texts
