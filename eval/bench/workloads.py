"""The codes and queries that the search benchmark runs on.

*Uniform*: random codes and random query logits. *Real*: codes and query codes as `llmhash encode` writes
them. To reach n codes, the real ones are taken in turn; the first copy stays as it is, and in every later
one each bit is flipped with p = 205 / 2048 = 0.10009765625.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError

Packed = NDArray[np.uint8]
Words = NDArray[np.uint64]

UNIFORM, REAL = "uniform", "real"
# A bit is flipped with _FLIP / 2^_FLIP_BITS: the nearest to 0.1 that eleven random bits give.
_FLIP, _FLIP_BITS = 205, 11
FLIP_PROBABILITY = _FLIP / 2**_FLIP_BITS
_BLOCK = 1 << 15  # Words made at a time: they and their random words stay in the cache.


@dataclass(frozen=True)
class Queries:
    """Queries of a workload.

    Attributes:
        packed: uint8 (q, bytes).
        logits: float32 (q, bits), where they are known.
    """

    packed: Packed
    logits: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: slice) -> Queries:
        return Queries(self.packed[rows], None if self.logits is None else self.logits[rows])


@dataclass(frozen=True)
class Source:
    """What a workload's codes come from, at one width; `codes` is None for the uniform workload."""

    workload: str
    bits: int
    queries: Queries
    codes: Codes | None = None

    def grow(self, count: int, seed: int) -> Packed:
        """The workload's first `count` codes, uint8 (count, bits / 8); more of them start with the same."""
        if self.codes is None:
            return uniform_codes(count, self.bits, seed)
        return grown_codes(self.codes.packed, count, seed)


def uniform_source(bits: int, queries: int, seed: int) -> Source:
    """Random codes; normal query logits, whose signs are the query codes."""
    logits = np.random.default_rng([seed, bits]).standard_normal((queries, bits), dtype=np.float32)
    return Source(UNIFORM, bits, Queries(Codes.from_logits(logits).packed, logits))


def real_sources(
    codes: Sequence[Path], queries: Sequence[Path], logits: Sequence[Path], count: int, seed: int
) -> list[Source]:
    """Codes of files that `llmhash encode` wrote, with the queries (and logits) of the same width.

    Args:
        codes: Files of document codes, each of another width.
        queries: Files of query codes, one for each width.
        logits: Files of query logits, .npy, float (q, bits), in the order of the query codes.
        count: Queries to draw from each file, at most.
        seed: Of the draw.

    Raises:
        InputError: A width has no queries, or a file does not fit the others.
    """
    asked = {found.bits: found for found in map(Codes.load, queries)}
    known = {values.shape[1]: values for values in (np.load(path, allow_pickle=False) for path in logits)}
    return [_real_source(Codes.load(path), path, asked, known, count, seed) for path in codes]


def _real_source(
    codes: Codes,
    path: Path,
    asked: dict[int, Codes],
    known: dict[int, NDArray[np.float32]],
    count: int,
    seed: int,
) -> Source:
    if codes.bits not in asked:
        raise InputError(f"{path} holds codes of {codes.bits} bits; name a file of such queries, too.")
    if codes.bits % 64:
        raise InputError(f"{path} holds codes of {codes.bits} bits; the benchmark takes multiples of 64.")
    queries, logits = asked[codes.bits], known.get(codes.bits)
    if logits is not None and not np.array_equal(Codes.from_logits(logits).packed, queries.packed):
        raise InputError(f"the logits of {codes.bits} bits are not those of the query codes.")
    rng = np.random.default_rng([seed, codes.bits])
    chosen = np.sort(rng.choice(len(queries), size=min(count, len(queries)), replace=False))
    drawn = Queries(queries.packed[chosen], None if logits is None else logits[chosen].astype(np.float32))
    return Source(REAL, codes.bits, drawn, codes)


def uniform_codes(count: int, bits: int, seed: int) -> Packed:
    """Random codes, uint8 (count, bits / 8)."""
    words = np.empty(count * bits // 64, np.uint64)
    for block, start in enumerate(range(0, words.size, _BLOCK)):
        part = words[start : start + _BLOCK]
        part[:] = _generator(seed, block).random_raw(part.size)
    return words.view(np.uint8).reshape(count, bits // 8)


def grown_codes(packed: Packed, count: int, seed: int) -> Packed:
    """The codes again and again up to `count`, every copy but the first with flipped bits.

    Args:
        packed: uint8 (m, bytes), the bytes a multiple of eight.
        count: Codes wanted.
        seed: Of the flips.

    Returns:
        uint8 (count, bytes).
    """
    base = np.ascontiguousarray(packed).view(np.uint64).ravel()
    out = np.empty(count * packed.shape[1] // 8, np.uint64)
    for block, start in enumerate(range(0, out.size, _BLOCK)):
        stop = min(out.size, start + _BLOCK)
        part = out[start:stop]
        np.take(base, np.arange(start, stop), mode="wrap", out=part)
        unchanged = min(max(0, base.size - start), part.size)
        part[unchanged:] ^= bernoulli_words(_BLOCK, _generator(seed, block))[unchanged : part.size]
    return out.view(np.uint8).reshape(count, packed.shape[1])


def bernoulli_words(size: int, generator: np.random.SFC64) -> Words:
    """Words, uint64 (size,), of which each bit is set with `FLIP_PROBABILITY`, independently.

    A bit is set if a random binary fraction is below the probability: from the last binary digit of the
    probability to its first, a one takes the union with a random word and a zero the intersection.
    """
    words = np.zeros(size, np.uint64)
    for digit in range(_FLIP_BITS):
        drawn = generator.random_raw(size)
        if _FLIP >> digit & 1:
            words |= drawn
        else:
            words &= drawn
    return words


def _generator(seed: int, block: int) -> np.random.SFC64:
    """A block's own generator: more blocks do not change the earlier ones."""
    return np.random.SFC64(np.random.SeedSequence([seed, block]))
