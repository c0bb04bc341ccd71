"""The protocol of a binary index: codes and keys in, nearest neighbours out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes

#: Key and distance of a result slot that no code fills.
NO_KEY = -1
NO_DISTANCE = np.iinfo(np.uint16).max


@runtime_checkable
class Index(Protocol):
    """Codes and keys to nearest neighbours by Hamming distance. It knows no text and no torch."""

    bits: int

    def __len__(self) -> int:
        """Codes held."""
        ...

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes; `keys`, int64 >= 0, default to the running row numbers."""
        ...

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: NDArray[np.bool_] | NDArray[np.int64] | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """The `k` nearest codes of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows in insertion order, or keys.
            threads: Threads to use; by default the machine's cores.

        Returns:
            Distances uint16 (q, k) and keys int64 (q, k). Where fewer than k codes qualify, the rest holds
            distance 65535 and key -1.
        """
        ...
