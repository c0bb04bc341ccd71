"""The affine head: a matrix and a bias a side, and perhaps a codebook. Every method ends as one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.heads.base import FloatArray, refuse_wrong_width
from llmhash.heads.codebook import Codebook
from llmhash.index import TableQueries

# How a codebook's arrays are named among the head's.
_CODEBOOK = "codebook."


@dataclass(frozen=True, eq=False)
class AffineHead:
    """Logits `x @ weight.T + bias`.

    Attributes:
        weight: float32 (bits, dim), the document side.
        bias: float32 (bits,); a threshold t is the bias -t.
        query_weight: float32 (bits, dim), or None where queries use `weight`.
        query_bias: float32 (bits,), or None where queries use `bias`.
        codebook: By what codes are chosen, and documents scored asymmetrically; None where a code is the
            signs of the logits, and a query's logits score its bits.
    """

    weight: FloatArray
    bias: FloatArray
    query_weight: FloatArray | None = None
    query_bias: FloatArray | None = None
    codebook: Codebook | None = None
    kind = "affine"

    def __post_init__(self) -> None:
        for name, array in self._maps().items():
            expected = self.weight.shape if name.endswith("weight") else self.weight.shape[:1]
            if array.dtype != np.float32 or array.shape != expected or self.weight.ndim != 2:
                raise InputError(f"{name} must be float32 {expected}, not {array.dtype} {array.shape}.")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity; the fit diverged.")
        book = self.codebook
        if book is not None and (book.bits, book.dim) != (self.bits, self.dim):
            raise InputError(
                f"a codebook of {book.bits} bits and {book.dim} dimensions does not fit a head of "
                f"{self.bits} bits and {self.dim} dimensions."
            )

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return int(self.weight.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return int(self.weight.shape[1])

    @property
    def shared(self) -> bool:
        """Whether queries and documents pass through the same map."""
        return self.query_weight is None and self.query_bias is None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, biases and tables."""
        return sum(array.nbytes for array in self.tensors().values())

    def side(self, side: str) -> tuple[FloatArray, FloatArray]:
        """Weight (bits, dim) and bias (bits,) of `"document"` or `"query"`."""
        if side == "document":
            return self.weight, self.bias
        weight = self.weight if self.query_weight is None else self.query_weight
        return weight, self.bias if self.query_bias is None else self.query_bias

    def document_logits(self, features: FloatArray) -> FloatArray:
        """Logits float32 (n, bits) of document features float32 (n, dim)."""
        return self._logits(features, "document")

    def query_logits(self, features: FloatArray) -> FloatArray:
        """Logits float32 (n, bits) of query features float32 (n, dim)."""
        return self._logits(features, "query")

    def document_codes(self, features: FloatArray) -> Codes:
        """Codes of document features float32 (n, dim): the signs of the logits, or the codebook's choice."""
        logits = self.document_logits(features)
        if self.codebook is None:
            return Codes.from_logits(logits)
        return Codes(self.codebook.encode(features.astype(np.float32, copy=False), logits), self.bits)

    def query_codes(self, features: FloatArray) -> Codes:
        """Codes of query features float32 (n, dim): the signs of the logits, or the codebook's choice."""
        logits = self.query_logits(features)
        if self.codebook is None:
            return Codes.from_logits(logits)
        return Codes(self.codebook.encode_queries(features.astype(np.float32, copy=False), logits), self.bits)

    def asymmetric_queries(self, features: FloatArray) -> FloatArray | TableQueries:
        """What scores codes for query features float32 (n, dim): their logits, or the codebook's tables."""
        if self.codebook is None:
            return self.query_logits(features)
        book, floats = self.codebook, features.astype(np.float32, copy=False)
        points = None if book.local is None else book.query_points(floats)
        return TableQueries(self.query_codes(features), book.query_tables(floats), book.correction, points)

    def _logits(self, features: FloatArray, side: str) -> FloatArray:
        refuse_wrong_width(features, self.dim)
        weight, bias = self.side(side)
        logits: FloatArray = features.astype(np.float32, copy=False) @ weight.T
        logits += bias
        return logits

    def truncated(self, bits: int) -> AffineHead:
        """The head of the first `bits` bits, without a codebook; worth having where it was fitted nested.

        Raises:
            InputError: There are not that many bits.
        """
        if not 1 <= bits <= self.bits:
            raise InputError(f"this head has {self.bits} bits; {bits} cannot be taken of them.")
        return replace(self, **{name: array[:bits] for name, array in self._maps().items()}, codebook=None)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as they are stored."""
        book = {} if self.codebook is None else self.codebook.tensors()
        return {**self._maps(), **{_CODEBOOK + name: array for name, array in book.items()}}

    def _maps(self) -> dict[str, FloatArray]:
        """Weights and biases."""
        named = {
            "weight": self.weight,
            "bias": self.bias,
            "query_weight": self.query_weight,
            "query_bias": self.query_bias,
        }
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> AffineHead:
        """The inverse of `tensors`.

        Raises:
            FormatError: An array is missing, unknown or of the wrong shape.
        """
        try:
            maps = {name: array for name, array in tensors.items() if not name.startswith(_CODEBOOK)}
            book = {
                name.removeprefix(_CODEBOOK): array
                for name, array in tensors.items()
                if name.startswith(_CODEBOOK)
            }
            return cls(**maps, codebook=Codebook(**book) if book else None)
        except (TypeError, InputError) as error:
            raise FormatError(f"the stored head is not an affine head ({error}).") from error
