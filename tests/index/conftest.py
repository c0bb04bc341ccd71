"""A plain numpy search, which every exact index must equal, ties included."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from llmhash.codes import Codes

Found = tuple[NDArray[np.uint16], NDArray[np.int64]]


def search_reference(
    documents: NDArray[np.uint8],
    queries: NDArray[np.uint8],
    k: int,
    keys: NDArray[np.int64] | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Found:
    rows = np.arange(len(documents)) if mask is None else np.flatnonzero(mask)
    distances = np.full((len(queries), k), 65535, np.uint16)
    found = np.full((len(queries), k), -1, np.int64)
    for i, query in enumerate(queries):
        away = np.bitwise_count(documents[rows] ^ query).sum(axis=1, dtype=np.int64)
        order = np.argsort(away, kind="stable")[:k]
        distances[i, : len(order)] = away[order]
        found[i, : len(order)] = rows[order] if keys is None else keys[rows[order]]
    return distances, found


def random_codes(count: int, bits: int, seed: int, distinct: int | None = None) -> NDArray[np.uint8]:
    """Packed random codes; with `distinct`, drawn from that many, so that ties abound."""
    rng = np.random.default_rng(seed)
    pool = Codes.pack(rng.integers(0, 2, (distinct or max(count, 1), bits))).packed
    return pool[rng.integers(0, len(pool), count)] if distinct else pool[:count]


@pytest.fixture(scope="session")
def reference() -> Callable[..., Found]:
    return search_reference


@pytest.fixture(scope="session")
def make_codes() -> Callable[..., NDArray[np.uint8]]:
    return random_codes
