"""The tables of multi-index hashing on disk: one safetensors file, mapped when it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError
from llmhash.index.jit import frozen
from llmhash.index.mih_tables import MOST_ROWS, Tables, Words, check_tables, split

_KIND, _FORMAT = "llmhash multi-index hashing tables", 1
_DTYPES: dict[Any, np.dtype[Any]] = {"U32": np.dtype("<u4"), "I64": np.dtype("<i8")}
# Codes that are compared, by a checksum, to tell whether tables belong to them.
_SAMPLE = 4096


def save_tables(path: Path, tables: Tables, words: Words) -> None:
    """Write the tables of the first of the codes `words`; the file appears whole or not at all."""
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[Any]] = {
        "order": tables.split.order,
        "starts": tables.starts,
        "rows": tables.rows,
    }
    description = {
        "kind": _KIND,
        "format": str(_FORMAT),
        "bits": str(len(tables.split.order)),
        "tables": str(len(tables.rows)),
        "rows": str(tables.height),
        "codes": str(_fingerprint(words[: tables.height])),
    }
    description["crc32"] = str(_checksum(description, tensors))
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, beside, metadata=description)
        _sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _sync(path.parent)


def load_tables(path: Path, words: Words, bits: int) -> Tables:
    """Map tables that `save_tables` wrote for the first of the codes `words`.

    Raises:
        InputError: There is no such file.
        FormatError: It is corrupt, truncated, foreign or newer, or was written for other codes.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; save the index there first.") from None
    except ValueError:
        raise FormatError(f"{path} is empty; build the index again.") from None
    try:
        return _read(content, words, bits)
    except _UnfitError as error:
        raise FormatError(f"{path} {error}; build the index again.") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise FormatError(f"{path} is no readable file of index tables; build the index again.") from None


class _UnfitError(Exception):
    """The end of a sentence about a file, for its reader."""


def _read(content: NDArray[np.uint8], words: Words, bits: int) -> Tables:
    header, data = _parts(content)
    description = header.pop("__metadata__")
    if description["kind"] != _KIND:
        raise _UnfitError("holds no index tables")
    if int(description["format"]) > _FORMAT:
        raise _UnfitError("was written by a newer llmhash")
    count, rows = check_tables(int(description["tables"]), bits), int(description["rows"])
    if int(description["bits"]) != bits or not 0 <= rows <= min(len(words), MOST_ROWS):
        raise _UnfitError(
            f"holds tables for {rows} codes of {description['bits']} bits, not for {len(words)} of {bits}"
        )
    tensors = {name: _tensor(data, header[name]) for name in ("order", "starts", "rows")}
    if int(description.pop("crc32")) != _checksum(description, tensors):
        raise _UnfitError("is corrupt: its checksum does not fit")
    order = tensors["order"].astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(bits)):
        raise _UnfitError("is corrupt: its bits are no permutation")
    tables = Tables(split(order, count), tensors["starts"], tensors["rows"])
    if not _is_sound(tables, rows):
        raise _UnfitError("is corrupt: its tables are out of bounds")
    if int(description["codes"]) != _fingerprint(words[:rows]):
        raise _UnfitError("was written for other codes")
    return tables


def _parts(content: NDArray[np.uint8]) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The header of a safetensors file and the bytes after it."""
    if len(content) < 8:
        raise _UnfitError("is truncated")
    stop = 8 + int.from_bytes(content[:8].tobytes(), "little")
    if stop > len(content):
        raise _UnfitError("is truncated, or no safetensors file")
    return json.loads(content[8:stop].tobytes()), content[stop:]


def _tensor(data: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    start, stop = entry["data_offsets"]
    shape, dtype = entry["shape"], _DTYPES[entry["dtype"]]
    if not all(isinstance(number, int) and number >= 0 for number in (start, stop, *shape)):
        raise _UnfitError("is corrupt: its header makes no sense")
    if stop > len(data):
        raise _UnfitError("is truncated")
    if stop - start != prod(shape) * dtype.itemsize:
        raise _UnfitError("is corrupt: its header makes no sense")
    return frozen(data[start:stop].view(dtype).reshape(shape))


def _is_sound(tables: Tables, rows: int) -> bool:
    """Whether the kernels can follow the tables without leaving them or the `rows` codes."""
    firsts = tables.split.firsts
    if tables.rows.shape != (len(firsts) - 1, rows) or tables.starts.shape != (firsts[-1],):
        return False
    for first, stop in pairwise(firsts):
        starts = tables.starts[first:stop]
        if starts[0] != 0 or starts[-1] != rows or (starts[1:] < starts[:-1]).any():
            return False
    return not rows or int(tables.rows.max()) < rows


def _checksum(description: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> int:
    total = crc32(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        total = crc32(frozen(tensors[name]).reshape(-1).view(np.uint8).data, total)
    return total


def _fingerprint(words: Words) -> int:
    """A checksum of codes evenly spread: it tells other codes apart, not a few that changed."""
    size = min(len(words), _SAMPLE)
    return crc32(words[np.arange(size) * len(words) // max(size, 1)].tobytes())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
