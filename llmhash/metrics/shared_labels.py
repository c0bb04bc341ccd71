"""Relevance by labels: a document answers a query if the two share one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError


class SharedLabels:
    """Which of n documents share a label with each of q queries, a block of queries at a time.

    Args:
        query_labels: bool (q, L), or zeros and ones.
        database_labels: bool (n, L), likewise.
        queries: q, as the caller counts its queries.
        documents: n, as the caller counts its documents.

    Raises:
        InputError: The matrices do not fit each other, or q and n.
    """

    def __init__(
        self, query_labels: NDArray[Any], database_labels: NDArray[Any], queries: int, documents: int
    ) -> None:
        for labels, rows, what in (
            (query_labels, queries, "queries"),
            (database_labels, documents, "documents"),
        ):
            if labels.ndim != 2 or len(labels) != rows:
                raise InputError(
                    f"the labels of {rows} {what} are a matrix ({rows}, labels), not of shape {labels.shape}."
                )
        if query_labels.shape[1] != database_labels.shape[1]:
            raise InputError(
                f"queries have {query_labels.shape[1]} labels and documents {database_labels.shape[1]}; "
                "both matrices need the same columns."
            )
        # Floats, because only their product runs at the speed of a matrix product.
        self._queries = (query_labels > 0).astype(np.float32)
        self._documents = np.ascontiguousarray((database_labels > 0).T, dtype=np.float32)

    def __getitem__(self, queries: slice) -> NDArray[np.bool_]:
        """Whether each document is relevant, bool (rows, n), to a range of queries."""
        relevant: NDArray[np.bool_] = self._queries[queries] @ self._documents > 0
        return relevant
