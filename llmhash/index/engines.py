"""The engines by name, and which one "auto" takes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError, suggest
from llmhash.index.approximate import DistinctCodesIndex
from llmhash.index.faiss import FaissIndex, FaissKind
from llmhash.index.flat import FlatIndex
from llmhash.index.mih import MihIndex
from llmhash.index.usearch import UsearchIndex

_FAISS = {f"faiss-{kind}": kind for kind in get_args(FaissKind)}
#: The names of the engines. "flat", "mih" and "faiss-flat" are exact; "auto" is one of the first two.
ENGINES = ("auto", "flat", "mih", "usearch", *_FAISS)
EXACT_ENGINES = ("auto", "flat", "mih", "faiss-flat")

#: What "auto" goes by, measured (eval/results/search): tables pay for codes of these widths, from so many on,
#: and from so many for each neighbour that is asked for. Fewer are scanned as fast as buckets are looked up,
#: and the neighbours of wider codes are too far away, unless they are nearly duplicates.
AUTO_MIH_BITS = range(48, 97)
AUTO_MIH_CODES = 20_000_000
AUTO_MIH_CODES_A_NEIGHBOUR = 1_000_000


def choose_engine(codes: int, bits: int, k: int) -> str:
    """What "auto" is for an index of so many codes when `k` neighbours are asked for: "flat" or "mih"."""
    least = max(AUTO_MIH_CODES, AUTO_MIH_CODES_A_NEIGHBOUR * k)
    return "mih" if bits in AUTO_MIH_BITS and codes >= least else "flat"


def check_engine(engine: str) -> str:
    """Return the name of an engine, or raise `InputError`."""
    if engine not in ENGINES:
        raise InputError(f"there is no index engine {engine!r}: {suggest(engine, ENGINES)}")
    return engine


def make_index(engine: str, bits: int) -> FlatIndex | DistinctCodesIndex:
    """An empty index of an engine; of the flat one for "auto", which has no codes to go by yet.

    Raises:
        InputError: There is no such engine, or the width is out of range.
        MissingExtraError: It is one of FAISS's, and FAISS is not installed.
    """
    if check_engine(engine) in _FAISS:
        return FaissIndex(bits, _FAISS[engine])
    if engine == "usearch":
        return UsearchIndex(bits)
    return MihIndex(bits) if engine == "mih" else FlatIndex(bits)


def load_index(
    engine: str, path: Path, packed: NDArray[np.uint8], bits: int
) -> MihIndex | DistinctCodesIndex:
    """An index that an engine's `save` wrote for the codes `packed`.

    Raises:
        InputError: There is no such file, or the engine saves none.
        FormatError: It is corrupt, truncated, foreign or newer, or was saved for other codes.
    """
    index: MihIndex | DistinctCodesIndex
    if engine == "mih":
        index = MihIndex.load(path, packed, bits)
    elif engine in _FAISS:
        index = FaissIndex.load(path)
    elif engine == "usearch":
        index = UsearchIndex.load(path)
    else:
        raise InputError(f"the engine {engine!r} saves nothing.")
    wrong_kind = isinstance(index, FaissIndex) and index.kind != _FAISS[engine]
    if wrong_kind or (index.bits, len(index)) != (bits, len(packed)):
        raise FormatError(f"{path} is another index than {engine} over {len(packed)} codes of {bits} bits.")
    return index
