"""Arrays that grow at the end."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def extended(held: NDArray[Scalar], count: int, fresh: NDArray[Scalar]) -> NDArray[Scalar]:
    """`held[:count]` and `fresh` after it: in the same array if it has room, else in a larger one.

    One that is larger by half than what it held, so that adding n rows bit by bit copies O(n) of them.
    """
    total = count + len(fresh)
    if total > len(held):
        roomy = np.empty((max(total, count + count // 2), *held.shape[1:]), held.dtype)
        roomy[:count] = held[:count]
        held = roomy
    held[count:total] = fresh
    return held
