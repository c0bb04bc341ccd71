"""Radius@R: precision of a look-up of all documents within a Hamming radius."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.metrics.radius import RadiusCounts
from llmhash.metrics.ranks import ratio


def radius_precision(counts: RadiusCounts, radius: int) -> NDArray[np.float64]:
    """Radius@R: the share of relevant documents among those at distance 0 to R, survey eq. 45.

    No tie matters here: a look-up takes all documents of a distance or none.

    Returns:
        float64 (q,); NaN for a query that finds nothing. The literature counts it as 0 (`np.nan_to_num`).

    Raises:
        InputError: The radius is negative.
    """
    if radius < 0:
        raise InputError(f"a Hamming radius is at least 0, not {radius}.")
    within = slice(0, radius + 1)
    return ratio(counts.relevant[:, within].sum(axis=1), counts.found[:, within].sum(axis=1))
