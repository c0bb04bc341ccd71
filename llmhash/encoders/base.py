"""What an encoder is, and what it gives: features of texts, per side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray = NDArray[np.float32]
Side = Literal["document", "query"]
SIDES: tuple[Side, Side] = ("document", "query")


@dataclass(frozen=True, eq=False)
class TokenFeatures:
    """Texts as their tokens' vectors, one text after another, and one vector of each whole text.

    Attributes:
        values: float16 (T, d), a row a token. A text may have none.
        offsets: int64 (n + 1,), ascending from 0 to T: text i has the rows from `offsets[i]` on, up to
            `offsets[i + 1]`.
        summary: float32 (n, d), a whole text's vector (its CLS token's, say).

    Raises:
        InputError: The arrays' types or shapes do not fit together.
    """

    values: NDArray[np.float16]
    offsets: NDArray[np.int64]
    summary: FloatArray

    def __post_init__(self) -> None:
        kinds = (("values", np.float16, 2), ("offsets", np.int64, 1), ("summary", np.float32, 2))
        for name, dtype, ndim in kinds:
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != ndim:
                raise InputError(
                    f"{name} of token features must be {np.dtype(dtype)} with {ndim} axes, not "
                    f"{array.dtype} {array.shape}."
                )
        offsets = self.offsets
        if self.summary.shape != (len(offsets) - 1, self.values.shape[1]):
            raise InputError(
                f"token features of {len(offsets) - 1} texts and {self.values.shape[1]} dimensions "
                f"cannot have a summary of shape {self.summary.shape}."
            )
        if offsets[0] != 0 or offsets[-1] != len(self.values) or (np.diff(offsets) < 0).any():
            raise InputError(f"offsets must ascend from 0 to the {len(self.values)} rows of the values.")

    def __len__(self) -> int:
        return len(self.summary)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> TokenFeatures:
        """The texts of some rows, in that order; a slice of step 1 shares its memory."""
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:
                offsets = self.offsets[first : max(first, last) + 1]
                values = self.values[offsets[0] : offsets[-1]]
                return TokenFeatures(values, offsets - offsets[0], self.summary[rows])
            rows = np.arange(first, last, step)
        summary = self.summary[rows]
        chosen = np.arange(len(self))[rows]
        starts, lengths = self.offsets[chosen], self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Each row of the result, moved by as much as its text is.
        source = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return TokenFeatures(self.values[source], offsets, summary)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.values.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d), as dense features of the texts have it."""
        return self.summary.shape[0], self.summary.shape[1]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (n,), the number of each text's tokens."""
        return np.diff(self.offsets)


#: What an encoder gives: dense float32 (n, d), word weights float32 (n, V), or a row a token.
Features: TypeAlias = "FloatArray | csr_array | TokenFeatures"


class Encoder(Protocol):
    """Texts to features. Query and document sides may be different functions."""

    @property
    def name(self) -> str:
        """What the user calls it: an alias, a hub id or a folder."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of a feature vector, of a token's where features are those of tokens."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features: weights' revision, backend, dtype, prompts."""
        ...

    @property
    def sides_differ(self) -> bool:
        """Whether the query side is another function than the document side."""
        ...

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> Features:
        """Features (n, dim) of n texts, rows in the order of the texts.

        They are dense but for encoders of words or tokens; heads say which kinds they take.
        """
        ...

    def config(self) -> dict[str, Any]:
        """What is needed to make this encoder again, JSON-able."""
        ...
