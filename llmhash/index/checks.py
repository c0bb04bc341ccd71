"""What every index asks of its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index.base import Selection


def check_codes(codes: Codes | NDArray[np.uint8], bits: int) -> Codes:
    """Return codes of `bits` bits, given as `Codes` or as a packed uint8 array, or raise `InputError`."""
    if not isinstance(codes, Codes):
        return Codes(np.asarray(codes), bits)
    if codes.bits != bits:
        raise InputError(f"codes of {codes.bits} bits do not fit an index of {bits} bits.")
    return codes


def check_keys(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return int64 (count,) keys, all different and at least 0, or raise `InputError`."""
    array = np.asarray(keys)
    if array.shape != (count,) or (array.dtype.kind not in "iu" and array.size):
        raise InputError(
            f"keys must be whole numbers, one a code ({count}), not {array.dtype} of shape {array.shape}."
        )
    array = array.astype(np.int64)  # A copy: the caller's array may change later.
    if array.size and array.min() < 0:
        raise InputError(f"keys must be from 0 to 2^63 - 1, and {array.min()} is not.")
    if array.size and not (array[1:] > array[:-1]).all():
        ordered = np.sort(array)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if repeated.size:
            raise InputError(f"keys must differ within a batch, and {repeated[0]} comes more than once.")
    return array


def check_k(k: int) -> int:
    """Return `k`, or raise `InputError` unless it is a whole number of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number of at least 1, not {k!r}.")
    return int(k)


def check_radius(radius: int, bits: int) -> int:
    """Return `radius`, or raise `InputError` unless it is a whole number from 0 to `bits`."""
    whole = isinstance(radius, int | np.integer) and not isinstance(radius, bool)
    if not whole or not 0 <= radius <= bits:
        raise InputError(f"radius must be a whole number from 0 to {bits}, not {radius!r}.")
    return int(radius)


def allowed_rows(
    allow: Selection | None,
    count: int,
    keys: NDArray[np.int64] | None = None,
    deny: Selection | None = None,
) -> NDArray[np.bool_] | None:
    """The boolean mask (count,) over the rows that may be returned; None where every row may.

    Args:
        allow: A boolean mask over the rows, or keys (those that no row has are passed over), or None for all.
        count: Number of rows.
        keys: int64 (count,), the rows' keys; by default their numbers.
        deny: Rows that may not be returned, likewise; None for none.

    Raises:
        InputError: A mask of another length, or neither booleans nor whole numbers.
    """
    mask = None if allow is None else _as_mask("allow", allow, count, keys)
    if deny is not None:
        kept = ~_as_mask("deny", deny, count, keys)
        mask = kept if mask is None else mask & kept
    return None if mask is None or mask.all() else mask


def _as_mask(
    name: str, selection: Selection, count: int, keys: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    array: NDArray[Any] = np.asarray(selection)
    if array.ndim != 1 or (array.dtype.kind not in "biu" and array.size):
        raise InputError(f"{name} must be a boolean mask or keys, not {array.dtype} of shape {array.shape}.")
    if array.dtype == np.bool_:
        if len(array) != count:
            raise InputError(f"{name} is a mask of {len(array)} rows, and the index holds {count}.")
        return array
    mask: NDArray[np.bool_]
    if keys is None:
        mask = np.zeros(count, np.bool_)
        mask[array[(array >= 0) & (array < count)].astype(np.int64)] = True
    else:
        mask = np.isin(keys, array)
    return mask
