"""Binary hash codes: packed bits, and the few things everybody does with them.

One convention holds everywhere: a bit is `logit > 0`, strictly, and bits are packed by
`np.packbits(bits, axis=-1)`: the first logit is the top bit of the first byte and padding bits are zero.
These are the bytes of `SentenceTransformer.encode(precision="ubinary")`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from llmhash.errors import FormatError, InputError

MAX_BITS = 4096
_FORMAT = 1
# Distances that `hamming` computes at a time: their words stay in the cache.
_HAMMING_BLOCK = 1 << 18


def check_bits(bits: int) -> int:
    """Return `bits`, or raise `InputError` unless it is a whole number from 1 to 4096."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= MAX_BITS:
        raise InputError(f"bits must be a whole number from 1 to {MAX_BITS}, not {bits!r}.")
    return int(bits)


def bytes_per_code(bits: int) -> int:
    """Bytes that one packed code of `bits` bits takes: ceil(bits / 8)."""
    return (bits + 7) // 8


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Packed binary codes.

    Attributes:
        packed: uint8 (n, ceil(bits / 8)); padding bits are zero.
        bits: Bits in a code, 1 to 4096.

    Raises:
        InputError: The array has another dtype or shape, or a padding bit is set.
    """

    packed: NDArray[np.uint8]
    bits: int

    def __post_init__(self) -> None:
        check_bits(self.bits)
        width = bytes_per_code(self.bits)
        if self.packed.dtype != np.uint8 or self.packed.ndim != 2 or self.packed.shape[1] != width:
            raise InputError(
                f"codes of {self.bits} bits are a uint8 array of shape (n, {width}), "
                f"not {self.packed.dtype} {self.packed.shape}."
            )
        padding = 8 * width - self.bits
        if padding and np.any(self.packed[:, -1] & ((1 << padding) - 1)):
            raise InputError(f"the last {padding} bits of each code of {self.bits} bits must be zero.")

    @classmethod
    def from_logits(cls, logits: ArrayLike) -> Codes:
        """Binarize logits (n, bits), a bit being `logit > 0`.

        Raises:
            InputError: The array is not two-dimensional or holds NaN.
        """
        values = np.asarray(logits)
        if values.ndim != 2:
            raise InputError(f"logits must have the shape (n, bits), not {values.shape}.")
        if np.isnan(values).any():
            raise InputError("logits hold NaN: the features or the head they come from are broken.")
        return cls.pack(values > 0)

    @classmethod
    def pack(cls, bits: NDArray[Any]) -> Codes:
        """Pack an array of booleans or zeros and ones, shape (n, bits)."""
        values = np.asarray(bits)
        if values.ndim != 2:
            raise InputError(f"bits must have the shape (n, bits), not {values.shape}.")
        check_bits(values.shape[1])
        return cls(np.packbits(values.astype(bool, copy=False), axis=-1), values.shape[1])

    def unpack(self) -> NDArray[np.uint8]:
        """Zeros and ones, uint8 (n, bits)."""
        return np.unpackbits(self.packed, axis=-1, count=self.bits)

    def to_pm1(self, dtype: DTypeLike = np.int8) -> NDArray[Any]:
        """Plus and minus one, (n, bits) of `dtype`."""
        return (self.unpack().astype(np.int8) * 2 - 1).astype(dtype, copy=False)

    def to_int64(self) -> NDArray[np.int64]:
        """The codes as int64 (n,): the packed bytes, zero-padded to eight, read big-endian.

        Raises:
            InputError: The codes are wider than 64 bits.
        """
        if self.bits > 64:
            raise InputError(f"only codes of at most 64 bits fit an int64, not {self.bits}.")
        padded = np.zeros((len(self), 8), dtype=np.uint8)
        padded[:, : self.packed.shape[1]] = self.packed
        return padded.view(">i8")[:, 0].astype(np.int64)

    def hamming(self, other: Codes) -> NDArray[np.uint16]:
        """Pairwise Hamming distances, uint16 (n, m). The reference; a search belongs to an index."""
        if self.bits != other.bits:
            raise InputError(f"codes of {self.bits} and {other.bits} bits cannot be compared.")
        left, right = _as_words(self.packed), _as_words(other.packed).T.copy()
        out = np.zeros((len(self), len(other)), dtype=np.uint16)
        step = max(1, _HAMMING_BLOCK // max(1, len(other)))
        for start in range(0, len(left), step):
            rows = slice(start, start + step)
            for word in range(len(right)):
                out[rows] += np.bitwise_count(left[rows, word, None] ^ right[word])
        return out

    def __len__(self) -> int:
        return int(self.packed.shape[0])

    def __getitem__(self, rows: slice | NDArray[Any] | list[int]) -> Codes:
        return Codes(self.packed[rows], self.bits)

    def save(self, path: str | Path, *, side: str = "document", hasher: str | None = None) -> None:
        """Write `path` (.npy) and, beside it, `path` with the suffix .json: bits, side, fingerprint."""
        target = _npy_path(path)
        np.save(target, self.packed, allow_pickle=False)
        description = {"format": _FORMAT, "bits": self.bits, "side": side, "hasher": hasher}
        target.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, mmap: bool = False) -> Codes:
        """Read codes that `save` wrote; with `mmap`, the bytes stay on disk until they are used."""
        return cls(_load_npy(_npy_path(path), mmap), _read_description(path)["bits"])


def describe_codes(path: str | Path) -> dict[str, Any]:
    """What `Codes.save` noted beside the codes: format, bits, side, hasher (its fingerprint or None)."""
    return _read_description(path)


def _as_words(packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Packed codes as uint64 words, zero-padded: popcounts do not mind the byte order."""
    width = packed.shape[1]
    if width % 8:
        packed = np.pad(packed, ((0, 0), (0, 8 - width % 8)))
    return np.ascontiguousarray(packed).view(np.uint64)


def _npy_path(path: str | Path) -> Path:
    target = Path(path)
    return target if target.suffix == ".npy" else target.with_name(target.name + ".npy")


def _load_npy(path: Path, mmap: bool) -> NDArray[np.uint8]:
    try:
        packed: NDArray[np.uint8] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(
            f"{path} is not a readable .npy file of codes ({error}); write it again."
        ) from error
    return packed


def _read_description(path: str | Path) -> dict[str, Any]:
    beside = _npy_path(path).with_suffix(".json")
    try:
        description = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{beside} does not exist: the codes' width stands in it.") from None
    except ValueError as error:
        raise FormatError(f"{beside} is not JSON ({error}).") from error
    if not isinstance(description, dict) or not isinstance(description.get("bits"), int):
        raise FormatError(f"{beside} does not name the codes' bits.")
    if description.get("format", 0) > _FORMAT:
        raise FormatError(f"{beside} was written by a newer llmhash; upgrade to read it.")
    return description
