"""The compiled steps of the codebook's beam search over partial codes, byte after byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.index.jit import kernel

Floats = NDArray[np.float32]


@kernel
def left_products(own: Floats, between: Floats, codes: NDArray[np.uint8], products: Floats) -> None:
    """What partial codes leave of documents, times each entry of the next byte's table, without the errors.

    `(x - sum_j C_j[a_j]) . C[a]` is `x . C[a] - sum_j C_j[a_j] . C[a]`, and the products of entries are the
    same for all documents.

    Args:
        own: float32 (n, 256), the documents times the entries.
        between: float32 (j, 256, 256), the entries of the bytes before times these.
        codes: uint8 (n, p, j), the partial codes.
        products: float32 (n, p, 256), filled.
    """
    row = np.empty(own.shape[1], np.float32)
    for document in range(codes.shape[0]):
        for code in range(codes.shape[1]):
            row[:] = own[document]
            for byte in range(codes.shape[2]):
                entry = between[byte, codes[document, code, byte]]
                for value in range(row.size):
                    row[value] -= entry[value]
            products[document, code] = row


@kernel
def extend(
    products: Floats,
    entries: Floats,
    squares: Floats,
    best: NDArray[np.int64],
    best_squares: Floats,
) -> None:
    """Find each document's cheapest partial codes with one byte more, the cheapest first.

    The cost of the value a after the partial code p is `squares[p] + entries[a] - 2 products[p, a]`.

    Args:
        products: float32 (n, p, 256), each partial code's error times each table entry.
        entries: float32 (n, 256), what an entry costs by itself.
        squares: float32 (n, p), the costs of the partial codes.
        best: int64 (n, k), k at most 256 p, filled with `256 p + a`.
        best_squares: float32 (n, k), filled with their costs.
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
                row[value] = squares[document, code] + entries[document, value] - np.float32(2.0) * product
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
        best_squares[document] = costs
