"""What asks for an asymmetric score: a query's real logits, or tables of its own over a document's bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes, bytes_per_code, check_bits
from llmhash.errors import InputError

#: Values of a byte, and so entries of a table.
BYTE_VALUES = 256
# No sum of entries comes near the end of float32, wherever its roundings take it.
_MOST = float(np.finfo(np.float32).max) / 2


@dataclass(frozen=True, eq=False)
class TableQueries:
    """Queries that score a document's bytes by tables of their own.

    The score of a document is the sum of the entries that its bytes name. Where each value of each byte has
    a vector in a codebook, and its entry is that vector's dot product with the query's embedding, the score
    is the query's dot product with the sum of the vectors of the document's bytes: additive quantization
    (Babenko and Lempitsky, CVPR 2014), of which product quantization is a special case.

    Attributes:
        logits: float (q, bits), finite; their signs are the queries' own codes: for Hamming candidates, and
            for ties of the score.
        tables: float32 (q, ceil(bits / 8), 256), finite: what each value of each byte adds to the score.

    Raises:
        InputError: An array is not of that kind and shape, or the largest entries add up to more than 1.7e38.
    """

    logits: NDArray[Any]
    tables: NDArray[np.float32]

    def __post_init__(self) -> None:
        logits, tables = check_logits(self.logits), np.asarray(self.tables)
        shape = (len(logits), bytes_per_code(logits.shape[1]), BYTE_VALUES)
        if tables.shape != shape or tables.dtype != np.float32:
            raise InputError(
                f"the tables of {len(logits)} queries of {logits.shape[1]} bits are a float32 array of shape "
                f"{shape}, not {tables.dtype} {tables.shape}."
            )
        total = largest_total(tables)
        if not np.isfinite(total).all():
            raise InputError("tables hold NaN or infinity: the features or the codebook are broken.")
        if (total > _MOST).any():
            raise InputError(f"the tables' largest entries add up to more than {_MOST:.2g}: scale them down.")
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "tables", np.ascontiguousarray(tables))

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.logits.shape[1])

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, part: slice | NDArray[Any]) -> TableQueries:
        return TableQueries(self.logits[part], self.tables[part])


#: Logits, float (q, bits), or tables.
AsymmetricQueries = ArrayLike | TableQueries
#: What `check_queries` returns.
CheckedQueries = NDArray[Any] | TableQueries


def check_logits(logits: ArrayLike) -> NDArray[Any]:
    """Return finite logits of shape (q, bits), or raise `InputError`."""
    values = np.asarray(logits)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise InputError(f"logits must be numbers of shape (q, bits), not {values.dtype} {values.shape}.")
    check_bits(values.shape[1])
    if not np.isfinite(values).all():
        raise InputError("logits hold NaN or infinity: the features or the head they come from are broken.")
    return values


def check_queries(queries: AsymmetricQueries) -> CheckedQueries:
    """Return tables as they are, or finite logits of shape (q, bits), or raise `InputError`."""
    return queries if isinstance(queries, TableQueries) else check_logits(queries)


def logits_of(queries: CheckedQueries) -> NDArray[Any]:
    """The logits of checked queries, (q, bits)."""
    return queries.logits if isinstance(queries, TableQueries) else queries


def own_codes(queries: AsymmetricQueries) -> Codes:
    """The queries' own codes."""
    return Codes.from_logits(logits_of(check_queries(queries)))


def largest_total(tables: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum of each byte's largest entry by size, float64 (q,): no score is larger, whatever its sign."""
    largest = np.maximum(tables.max(axis=2), -tables.min(axis=2))
    return np.asarray(largest.sum(axis=1, dtype=np.float64))
