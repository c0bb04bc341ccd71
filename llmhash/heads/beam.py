"""The compiled step of the codebook's beam search: of all extensions of partial codes, the cheapest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.jit import kernel

Floats = NDArray[np.float32]


@kernel
def extend(
    products: Floats,
    entries: Floats,
    directed: Floats,
    squares: Floats,
    along: Floats,
    weight: float,
    slope: float,
    best: NDArray[np.int64],
    best_squares: Floats,
    best_along: Floats,
) -> None:
    """Find each document's cheapest partial codes with one byte more, the cheapest first.

    The cost of the value a after the partial code p is `S + weight * A^2` with

        S = squares[p] + entries[a] - 2 products[p, a]
        A = along[p] - directed[a] + slope * products[p, a]

    Args:
        products: float32 (n, p, 256), each partial code's error times each table entry.
        entries: float32 (n, 256), what an entry costs by itself.
        directed: float32 (n, 256), what an entry takes from A.
        squares: float32 (n, p), S of the partial codes.
        along: float32 (n, p), A of the partial codes.
        weight: Of A^2.
        slope: What a product adds to A.
        best: int64 (n, k), k at most 256 p, filled with `256 p + a`.
        best_squares: float32 (n, k), filled with their S.
        best_along: float32 (n, k), filled with their A.
    """
    count, partial, values = products.shape
    kept = best.shape[1]
    costs = np.empty(kept, np.float32)
    row = np.empty(values, np.float32)
    for document in range(count):
        held = 0
        for code in range(partial):
            for value in range(values):
                product = products[document, code, value]
                left = along[document, code] - directed[document, value] + np.float32(slope) * product
                row[value] = (
                    squares[document, code]
                    + entries[document, value]
                    - np.float32(2.0) * product
                    + np.float32(weight) * left * left
                )
            for value in range(values):
                cost = row[value]
                if held == kept and not cost < costs[kept - 1]:
                    continue
                place = min(held, kept - 1)
                while place > 0 and cost < costs[place - 1]:
                    costs[place] = costs[place - 1]
                    best[document, place] = best[document, place - 1]
                    place -= 1
                costs[place] = cost
                best[document, place] = 256 * code + value
                held = min(held + 1, kept)
        for place in range(kept):
            code, value = best[document, place] // 256, best[document, place] % 256
            product = products[document, code, value]
            best_squares[document, place] = (
                squares[document, code] + entries[document, value] - np.float32(2.0) * product
            )
            best_along[document, place] = (
                along[document, code] - directed[document, value] + np.float32(slope) * product
            )
