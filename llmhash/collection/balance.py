"""The bit balance of a collection: whether its documents are like those that its hasher was fitted on.

A bit that splits the training documents in halves says little of documents that all lie on one side of it.
The share of ones of each bit shows it without any text or vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.collection.collection import Collection
from llmhash.errors import InputError

#: Drift above which a collection is said to differ from what its hasher was fitted on.
LIMIT = 0.1
#: Documents below which the balance says too little.
FEWEST = 100
_SAMPLE = 10_000


@dataclass(frozen=True)
class Drift:
    """How far a collection's bit balance is from the training documents'.

    Attributes:
        drift: Root mean square over bits of the difference between the shares of ones, what the sample alone
            makes of it taken out; None where there are fewer than `FEWEST` documents.
        sample: Documents that it was measured on.
    """

    drift: float | None
    sample: int

    @property
    def exceeds(self) -> bool:
        """Whether the drift is above `LIMIT`."""
        return self.drift is not None and self.drift > LIMIT


def drift_of(collection: Collection, trained_on: Sequence[float], *, seed: int = 0) -> Drift:
    """The drift of a collection from the balance of its hasher's training documents.

    Args:
        collection: Open; at most 10,000 of its documents are drawn.
        trained_on: Each bit's share of ones in training.
        seed: Of the sample.

    Raises:
        InputError: There are not as many shares as bits.
    """
    snapshot = collection.snapshot()
    rows = snapshot.rows()
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SAMPLE, replace=False))
    shares = np.asarray(trained_on, dtype=np.float64)
    if shares.shape != (collection.bits,):
        raise InputError(f"{len(shares)} shares of ones were given for codes of {collection.bits} bits.")
    if len(rows) < FEWEST:
        return Drift(None, len(rows))
    return Drift(balance_drift(Codes(snapshot.codes_at(rows), collection.bits), shares), len(rows))


def balance_drift(codes: Codes, trained_on: NDArray[np.float64]) -> float:
    """`sqrt(max(0, mean_j (p_j - t_j)^2 - p_j (1 - p_j) / (n - 1)))`, p_j and t_j a bit's shares of ones.

    The second term is the variance that p_j has because only n codes are seen, so that the result does not
    grow as samples shrink.

    Args:
        codes: n of them, at least two.
        trained_on: t, float64 (bits,).
    """
    shares = codes.unpack().mean(axis=0)
    noise = shares * (1 - shares) / (len(codes) - 1)
    return float(np.sqrt(max(0.0, float((np.square(shares - trained_on) - noise).mean()))))
