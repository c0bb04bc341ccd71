"""Kinds of heads: what a stored head's tensors are read as."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError, suggest
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import Head
from llmhash.heads.network import NetworkHead
from llmhash.heads.spectral import SpectralHead
from llmhash.heads.tokens import TokenHead

_READERS: dict[str, Callable[[Mapping[str, NDArray[np.float32]]], Head]] = {
    "affine": AffineHead.from_tensors,
    "network": NetworkHead.from_tensors,
    "spectral": SpectralHead.from_tensors,
    "tokens": TokenHead.from_tensors,
}
#: Kinds that `head_from_tensors` knows.
KINDS = tuple(_READERS)


def head_from_tensors(kind: str, tensors: Mapping[str, NDArray[np.float32]]) -> Head:
    """The head that gave these tensors.

    Args:
        kind: The head's `kind`.
        tensors: What its `tensors` gave.

    Raises:
        FormatError: There is no such kind, or the tensors are not one's.
    """
    if kind not in _READERS:
        raise FormatError(f"the stored head is of an unknown kind {kind!r}; {suggest(str(kind), KINDS)}")
    return _READERS[kind](tensors)


def affine_head(head: Head, what: str) -> AffineHead:
    """The head, for something that only an affine one can do.

    Raises:
        InputError: It is of another kind.
    """
    if not isinstance(head, AffineHead):
        raise InputError(f"{what} takes an affine head; this hasher's is of the kind {head.kind!r}.")
    return head
