"""Nested codes: one head whose first bits are a good shorter code, for each of some widths.

After Kusupati et al., "Matryoshka Representation Learning" (NeurIPS 2022). The first bits of a wide code are
no better than any others of its bits, unless the head is made for prefixes; here is where such a head starts,
and which widths there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import itq_rotation, principal_components, random_rotation


def nested_widths(nested: Sequence[int], bits: int) -> tuple[int, ...]:
    """All widths of a nested code, ascending: those of `nested` below `bits`, and `bits` itself.

    Raises:
        InputError: A width is not a whole number from 1.
    """
    for width in nested:
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise InputError(f"nested must hold whole numbers of bits from 1, not {width!r}.")
    return (*sorted({width for width in nested if width < bits}), bits)


def nested_itq(
    features: TrainingFeatures, widths: Sequence[int], *, seed: int = 0, max_rows: int
) -> NDArray[np.float64]:
    """Principal components in order, rotated towards their signs (ITQ) within each block between two widths.

    So each prefix spans the principal components that it has room for. Bits beyond the dimension are random
    rotations.

    Args:
        features: What to fit on.
        widths: Ascending; the last one is the code's.
        seed: Decides the rotations and, above `max_rows`, the sample.
        max_rows: Documents that take part at most.

    Returns:
        float64 (widths[-1], dim), for features centred on the documents' mean.
    """
    rng = np.random.default_rng(seed)
    rows = features.documents
    if len(rows) > max_rows:
        rows = rows[np.sort(rng.choice(len(rows), max_rows, replace=False))]
    components = principal_components(rows, min(widths[-1], features.dim))
    projected = (rows - rows.mean(axis=0)) @ components.T.astype(np.float32)
    edges = [0, *(width for width in widths if width < len(components)), len(components)]
    blocks = [
        itq_rotation(projected[:, first:last], seed=seed)[0].T @ components[first:last]
        for first, last in pairwise(edges)
    ]
    while sum(map(len, blocks)) < widths[-1]:
        blocks.append(random_rotation(features.dim, rng))
    return np.concatenate(blocks)[: widths[-1]]
