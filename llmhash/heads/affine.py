"""The affine head: one matrix and one bias per side. Every linear method ends as one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError
from llmhash.heads.base import FloatArray


@dataclass(frozen=True, eq=False)
class AffineHead:
    """Logits `x @ weight.T + bias`.

    Attributes:
        weight: float32 (bits, dim), the document side.
        bias: float32 (bits,); a threshold t is the bias -t.
        query_weight: float32 (bits, dim), or None where queries use `weight`.
        query_bias: float32 (bits,), or None where queries use `bias`.
    """

    weight: FloatArray
    bias: FloatArray
    query_weight: FloatArray | None = None
    query_bias: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, array in self.tensors().items():
            expected = self.weight.shape if name.endswith("weight") else self.weight.shape[:1]
            if array.dtype != np.float32 or array.shape != expected or self.weight.ndim != 2:
                raise InputError(f"{name} must be float32 {expected}, not {array.dtype} {array.shape}.")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity; the fit diverged.")

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
        """Bytes of all weights and biases."""
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

    def _logits(self, features: FloatArray, side: str) -> FloatArray:
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise InputError(f"this head takes features of {self.dim} dimensions, not {features.shape}.")
        weight, bias = self.side(side)
        logits: FloatArray = features.astype(np.float32, copy=False) @ weight.T
        logits += bias
        return logits

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored."""
        named = {
            "weight": self.weight,
            "bias": self.bias,
            "query_weight": self.query_weight,
            "query_bias": self.query_bias,
        }
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> AffineHead:
        """The inverse of `tensors`.

        Raises:
            FormatError: An array is missing, unknown or of the wrong shape.
        """
        try:
            return cls(**tensors)
        except (TypeError, InputError) as error:
            raise FormatError(f"the stored head is not an affine head ({error}).") from error
