"""The network head: a multilayer perceptron whose last layer gives the logits. Numpy alone at use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError, suggest
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import AnyFeatures, FloatArray, SignsHead, refuse_wrong_width

# Rows whose hidden values are in memory at a time.
_BLOCK_ROWS = 4096
# scaled exponential linear units (Klambauer et al. 2017)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _sigmoid(values: FloatArray) -> FloatArray:
    # Through tanh, which does not overflow.
    halves: FloatArray = 0.5 * np.tanh(0.5 * values) + 0.5
    return halves


def _selu(values: FloatArray) -> FloatArray:
    negative = _SELU_ALPHA * np.expm1(np.minimum(values, 0))
    return (_SELU_SCALE * np.where(values > 0, values, negative)).astype(np.float32, copy=False)


_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "relu": lambda values: np.maximum(values, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "selu": _selu,
}
#: Names of the functions between the layers.
ACTIVATIONS = tuple(_ACTIVATIONS)
# How the tensors of a layer are named: its number, and the function that follows the hidden ones.
_NAME = re.compile(r"layers\.(\d+)\.(\w+)\.(weight|bias)")


@dataclass(frozen=True, eq=False)
class NetworkHead(SignsHead):
    """Logits `W_k a(... a(W_1 x + b_1) ...) + b_k`, the same for queries and documents.

    Attributes:
        weights: float32 (outputs, inputs) of each layer; there are two layers or more.
        biases: float32 (outputs,) of each layer. The last one's holds the thresholds.
        activation: a, one of `ACTIVATIONS`.
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    activation: str = "relu"
    kind = "network"

    def __post_init__(self) -> None:
        check_activation(self.activation)
        if len(self.weights) < 2 or len(self.weights) != len(self.biases):
            raise InputError("a network has two layers or more, each with weights and a bias.")
        inputs = self.weights[0].shape[-1]
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            fits = weight.ndim == 2 and weight.shape[1] == inputs and bias.shape == weight.shape[:1]
            if weight.dtype != np.float32 or bias.dtype != np.float32 or not fits:
                raise InputError(
                    f"layer {number} must be float32 with {inputs} inputs, not {weight.dtype} {weight.shape}."
                )
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise InputError(f"layer {number} holds NaN or infinity; the fit diverged.")
            inputs = len(weight)

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return len(self.biases[-1])

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return int(self.weights[0].shape[1])

    def document_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of features (n, dim), dense or CSR."""
        refuse_wrong_width(features, self.dim)
        logits = np.empty((features.shape[0], self.bits), dtype=np.float32)
        for start in range(0, features.shape[0], _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            logits[rows] = self._forward(features[rows].astype(np.float32, copy=False))
        return logits

    def _forward(self, values: AnyFeatures) -> FloatArray:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = _ACTIVATIONS[self.activation](values @ weight.T + bias)
        logits: FloatArray = values @ self.weights[-1].T + self.biases[-1]
        return logits

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored; the names of the hidden layers' tell the activation."""
        named: dict[str, FloatArray] = {}
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            follows = self.activation if number < len(self.weights) - 1 else "linear"
            named[f"layers.{number}.{follows}.weight"] = weight
            named[f"layers.{number}.{follows}.bias"] = bias
        return named

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> NetworkHead:
        """The inverse of `tensors`.

        Raises:
            FormatError: An array is missing, unknown or of the wrong shape.
        """
        found = {name: _NAME.fullmatch(name) for name in tensors}
        numbers = sorted({int(match[1]) for match in found.values() if match})
        follow = {match[2] for match in found.values() if match} - {"linear"}
        try:
            (activation,) = follow
            names = [f"layers.{number}.{activation}" for number in numbers[:-1]]
            names.append(f"layers.{numbers[-1]}.linear")
            head = cls(
                tuple(tensors[f"{name}.weight"] for name in names),
                tuple(tensors[f"{name}.bias"] for name in names),
                activation,
            )
        except (KeyError, ValueError, IndexError) as error:  # InputError is a ValueError
            raise FormatError(f"the stored head is not a network ({error}).") from error
        if head.tensors().keys() != tensors.keys():
            raise FormatError("the stored head is not a network (it has other tensors beside its layers').")
        return head


def network(weights: list[FloatArray], biases: list[FloatArray], activation: str) -> NetworkHead | AffineHead:
    """The head of some layers: without a hidden one, the affine head that it is."""
    if len(weights) == 1:
        return AffineHead(weights[0], biases[0])
    return NetworkHead(tuple(weights), tuple(biases), activation)


def check_activation(name: str) -> None:
    """Raise `InputError` unless there is an activation of that name."""
    if name not in ACTIVATIONS:
        raise InputError(f"there is no activation {name!r}; {suggest(str(name), ACTIVATIONS)}")
