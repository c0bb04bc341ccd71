"""The protocol of an encoder: texts to features, per side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Side = Literal["document", "query"]
SIDES: tuple[Side, Side] = ("document", "query")


class Encoder(Protocol):
    """Texts to float32 features. Query and document sides may be different functions."""

    @property
    def name(self) -> str:
        """What the user calls it: an alias, a hub id or a folder."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of a feature vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features: weights' revision, backend, dtype, prompts."""
        ...

    @property
    def sides_differ(self) -> bool:
        """Whether the query side is another function than the document side."""
        ...

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> NDArray[np.float32]:
        """Features float32 (n, dim) of n texts, rows in the order of the texts."""
        ...

    def config(self) -> dict[str, Any]:
        """What is needed to make this encoder again, JSON-able."""
        ...
