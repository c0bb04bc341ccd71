"""The documents that a head is fitted to, where a corpus has more than it needs.

Codes of least mean error spend themselves on what a corpus has most of: documents of its small topics come
out with the largest errors, and rank worst. Most of those taken are therefore drawn by the error that a small
residual quantizer, of few documents, leaves of them. Coresets are drawn alike (Bachem, Lucic and Krause 2018,
"Scalable k-Means Clustering via Lightweight Coresets"), but weighed back to the mean error, as these are not.
The others are any, so that what a corpus has most of keeps its part however large it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.heads.base import FloatArray, sampled_rows
from llmhash.heads.codebook_fit import residual_tables
from llmhash.heads.projection import itq_start

# The share of them that are any.
_ANY_SHARE = 0.25
# The power of the error that a document's chance goes by.
_POWER = 8
# Errors are told apart down to this share of their mean.
_LEAST_ERROR = 1e-6
# The small quantizer: documents that it is fitted to, and bits of its codes.
_ROUGH_ROWS, _ROUGH_BITS = 20_000, 64
_BLOCK_ROWS = 1 << 15


def rows_by_error(
    documents: FloatArray, mean: FloatArray, document_map: FloatArray, most: int, seed: int
) -> NDArray[np.int64]:
    """Up to `most` rows of the documents, int64, ascending: those coded badly are likelier.

    Args:
        documents: float32 (n, d).
        mean: float32 (d,), their mean.
        document_map: float32 (d, d), what takes centred documents to where errors count.
        most: All are taken of no more than these.
        seed: Of the sample.
    """
    count = len(documents)
    if count <= most:
        return np.arange(count)
    rng = np.random.default_rng(seed)
    any_rows, others = np.split(rng.permutation(count), [int(_ANY_SHARE * most)])
    errors = _rough_errors(documents, mean, document_map, seed)[others]
    chances = (errors / (errors.mean() or 1.0) + _LEAST_ERROR) ** _POWER
    hard = rng.choice(others, most - len(any_rows), replace=False, p=chances / chances.sum())
    return np.sort(np.concatenate([any_rows, hard]))


def mapped(documents: FloatArray, mean: FloatArray, document_map: FloatArray) -> FloatArray:
    """Documents, float32 (n, d), centred and mapped."""
    centred: FloatArray = documents - mean
    documents_there: FloatArray = centred @ document_map.T
    return documents_there


def _rough_errors(
    documents: FloatArray, mean: FloatArray, document_map: FloatArray, seed: int
) -> NDArray[np.float64]:
    """The squared error that the small quantizer leaves of each mapped document, float64 (n,)."""
    some = mapped(documents[sampled_rows(len(documents), _ROUGH_ROWS, seed)], mean, document_map)
    start = itq_start(some, _ROUGH_BITS, seed=seed)
    tables, _ = residual_tables(some, start.document_logits(some), 0.0)
    squares = np.einsum("mad,mad->ma", tables, tables)
    errors = np.empty(len(documents))
    for first in range(0, len(documents), _BLOCK_ROWS):
        part = slice(first, first + _BLOCK_ROWS)
        left = mapped(documents[part], mean, document_map)
        for table, lengths in zip(tables, squares, strict=True):
            left -= table[(lengths - 2 * (left @ table.T)).argmin(axis=1)]
        errors[part] = np.einsum("nd,nd->n", left, left)
    return errors
