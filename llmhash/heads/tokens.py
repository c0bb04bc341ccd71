"""The token head: convolutions over windows of tokens, averaged over the text. Numpy alone at use.

It is DHIM's encoder (Ou et al., EMNLP 2021, section 4.2). Tokens of several texts lie behind each other, with
as many rows of zeros between two texts as a window reaches to a side. So no window sees two texts, hardly any
time goes into padding, and all windows are one matrix product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import FormatError, InputError
from llmhash.heads.base import AnyFeatures, FloatArray, SignsHead

# Tokens that are convolved at a time: their products with all filters are to stay in tens of megabytes.
_BLOCK_TOKENS = 4096
_NAME = re.compile(r"filters\.(\d+)\.(weight|bias)")


@dataclass(frozen=True, eq=False)
class TokenHead(SignsHead):
    """Logits `W (1/T) sum_i h_i + b` of a text of T tokens x_i, the same for queries and documents.

    With h_i the values of several windows behind each other, each of n tokens (DHIM paper, eq. 5 and 6),

        h_i(n) = relu(sum_k e_(i + k - (n-1)/2) F_n[k] + c_n),   k = 0 ... n-1

    where e_i is x_i less the mean of many tokens, which a model's have in common, and zero beyond the text's
    ends. The paper's MLP is W and b: one layer, as in the authors' program, so that the mean of the tokens'
    logits is the logits of the mean. A text without tokens has a mean of zero, and logits b.

    Attributes:
        mean: Of tokens, float32 (dim,).
        filters: F_n, float32 (n, dim, channels) for each window; n is odd and ascends.
        filter_biases: c_n, float32 (channels,) for each window.
        weight: W, float32 (bits, channels of all windows).
        bias: b, float32 (bits,); a threshold t is the bias -t.
    """

    mean: FloatArray
    filters: tuple[FloatArray, ...]
    filter_biases: tuple[FloatArray, ...]
    weight: FloatArray
    bias: FloatArray
    kind = "tokens"

    def __post_init__(self) -> None:
        check_windows(self.windows)
        channels = 0
        for bank, bias in zip(self.filters, self.filter_biases, strict=True):
            if bank.ndim != 3 or bank.shape[1:2] != self.mean.shape or bias.shape != bank.shape[2:]:
                raise InputError(f"filters of shape {bank.shape} and {bias.shape} fit no token head.")
            channels += len(bias)
        if (
            self.weight.ndim != 2
            or self.weight.shape[1] != channels
            or self.bias.shape != self.weight.shape[:1]
        ):
            raise InputError(
                f"a weight {self.weight.shape} and a bias {self.bias.shape} do not fit {channels} channels."
            )
        for name, array in self.tensors().items():
            if array.dtype != np.float32:
                raise InputError(f"{name} must be float32, not {array.dtype}.")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity; the fit diverged.")

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return len(self.bias)

    @property
    def dim(self) -> int:
        """Dimensions of a token's vector."""
        return len(self.mean)

    @property
    def windows(self) -> tuple[int, ...]:
        """Tokens that the filters see, ascending."""
        return tuple(len(bank) for bank in self.filters)

    def document_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of the token features of n texts.

        Raises:
            InputError: The features are of another kind or width, or hold NaN or infinity.
        """
        texts = check_tokens(features, self.dim)
        means = np.zeros((len(texts), self.weight.shape[1]), dtype=np.float32)
        for first, last in _blocks(texts):
            block = texts[first:last]
            some = block.lengths > 0
            starts = block.offsets[:-1][some]
            if len(starts):
                sums = np.add.reduceat(self._convolve(block), starts, axis=0)
                means[first:last][some] = sums / block.lengths[some, None]
        logits: FloatArray = means @ self.weight.T + self.bias
        return logits

    def _convolve(self, features: TokenFeatures) -> FloatArray:
        """Every token's h of all windows, float32 (T, channels)."""
        reach = max(self.windows) // 2
        values, places = spread(features, self.mean, reach)
        if not np.isfinite(values).all():
            raise InputError("the token features hold NaN or infinity; embed the texts again.")
        # (dim, all windows' taps and channels): the taps of a window are columns side by side.
        taps = np.concatenate(
            [bank.transpose(1, 0, 2).reshape(self.dim, -1) for bank in self.filters], axis=1
        )
        products = values @ taps
        hidden = np.empty((len(values) - 2 * reach, self.weight.shape[1]), dtype=np.float32)
        left, column = 0, 0
        for bank, bias in zip(self.filters, self.filter_biases, strict=True):
            window, _, channels = bank.shape
            total = hidden[:, left : left + channels]
            total[:] = bias
            for tap in range(window):
                row = reach + tap - window // 2
                total += products[row : row + len(hidden), column : column + channels]
                column += channels
            left += channels
        # Rows between texts have values too, by which they are left out.
        return np.maximum(hidden, 0.0, out=hidden)[places - reach]

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored; a window's number of tokens stands in the name."""
        named = {}
        for bank, bias in zip(self.filters, self.filter_biases, strict=True):
            named[f"filters.{len(bank)}.weight"] = bank
            named[f"filters.{len(bank)}.bias"] = bias
        return {"mean": self.mean, **named, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> TokenHead:
        """The inverse of `tensors`.

        Raises:
            FormatError: An array is missing, unknown or of the wrong shape.
        """
        found = [_NAME.fullmatch(name) for name in tensors]
        windows = sorted({int(match[1]) for match in found if match})
        try:
            head = cls(
                tensors["mean"],
                tuple(tensors[f"filters.{window}.weight"] for window in windows),
                tuple(tensors[f"filters.{window}.bias"] for window in windows),
                tensors["weight"],
                tensors["bias"],
            )
        except (KeyError, InputError) as error:
            raise FormatError(f"the stored head is not a token head ({error}).") from error
        if head.tensors().keys() != tensors.keys():
            raise FormatError("the stored head is not a token head (its arrays have other names).")
        return head


def check_windows(windows: tuple[int, ...]) -> None:
    """Raise `InputError` unless windows are odd numbers of tokens, ascending."""
    odd = all(isinstance(window, int) and window > 0 and window % 2 for window in windows)
    if not windows or not odd or list(windows) != sorted(set(windows)):
        raise InputError(f"windows must be odd numbers of tokens, ascending, not {list(windows)}.")


def check_tokens(features: AnyFeatures, dim: int | None = None) -> TokenFeatures:
    """Return token features, of `dim` dimensions where that is given; `InputError` for any others."""
    if not isinstance(features, TokenFeatures):
        raise InputError(
            "this head takes token features, a row a token: encode the texts with the token encoder."
        )
    if dim is not None and features.dim != dim:
        raise InputError(f"this head takes tokens of {dim} dimensions, not {features.dim}.")
    return features


def spread(features: TokenFeatures, mean: FloatArray, reach: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Centred tokens of texts one behind another, `reach` rows of zeros before, between and behind the texts.

    Returns:
        The values float32 (T + (n + 1) * reach, d), and each token's row among them, int64 (T,).
    """
    text = np.repeat(np.arange(len(features)), features.lengths)
    places = np.arange(len(features.values)) + (text + 1) * reach
    values = np.zeros((len(places) + (len(features) + 1) * reach, features.dim), dtype=np.float32)
    values[places] = features.values - mean
    return values, places


def _blocks(features: TokenFeatures) -> Iterator[tuple[int, int]]:
    """Runs of texts of about `_BLOCK_TOKENS` tokens, one text at least."""
    first = 0
    while first < len(features):
        limit = features.offsets[first] + _BLOCK_TOKENS
        last = max(first + 1, int(np.searchsorted(features.offsets, limit, side="right")) - 1)
        yield first, last
        first = last
