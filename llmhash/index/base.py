"""The protocol of a binary index: codes and keys in, nearest neighbours out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes

#: Key and distance of a result slot that no code fills.
NO_KEY = -1
NO_DISTANCE = np.iinfo(np.uint16).max

#: A boolean mask over the rows in insertion order, or keys.
Selection = NDArray[np.bool_] | NDArray[np.int64]
#: Distances uint16 (q, k) and keys int64 (q, k).
Found = tuple[NDArray[np.uint16], NDArray[np.int64]]
#: `lims` int64 (q + 1,), distances uint16 (lims[q],) and keys int64 (lims[q],).
FoundInRange = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.int64]]


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
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> Found:
        """The `k` nearest codes of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows in insertion order, or keys (those
                that the index does not hold are passed over).
            deny: These may not be returned, though `allow` may name them.
            threads: Threads to use; by default the machine's cores.

        Returns:
            Distances uint16 (q, k) and keys int64 (q, k). Where fewer than k codes qualify, the rest holds
            distance 65535 and key -1.
        """
        ...


@runtime_checkable
class RangeIndex(Index, Protocol):
    """An exact index that also finds all codes within a distance."""

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> FoundInRange:
        """All codes within a Hamming distance of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            radius: The largest distance, from 0 to the index's bits.
            allow: As for `search`.
            deny: As for `search`.
            threads: As for `search`.

        Returns:
            `lims` int64 (q + 1,), distances uint16 (lims[q],) and keys int64 (lims[q],): what query i found
            stands from lims[i] up to lims[i + 1].
        """
        ...
