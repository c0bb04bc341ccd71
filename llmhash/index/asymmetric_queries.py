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
        codes: The q queries' own: for Hamming candidates, and for ties of the score.
        tables: float32 (q, ceil(bits / 8), 256), finite: what each value of each byte adds to the score.

    Raises:
        InputError: The tables are not of that kind and shape, or their largest entries add up to more than
            1.7e38.
    """

    codes: Codes
    tables: NDArray[np.float32]

    def __post_init__(self) -> None:
        tables = np.asarray(self.tables)
        shape = (len(self.codes), bytes_per_code(self.bits), BYTE_VALUES)
        if tables.shape != shape or tables.dtype != np.float32:
            raise InputError(
                f"the tables of {len(self.codes)} queries of {self.bits} bits are a float32 array of shape "
                f"{shape}, not {tables.dtype} {tables.shape}."
            )
        total = largest_total(tables)
        if not np.isfinite(total).all():
            raise InputError("tables hold NaN or infinity: the features or the codebook are broken.")
        if (total > _MOST).any():
            raise InputError(f"the tables' largest entries add up to more than {_MOST:.2g}: scale them down.")
        object.__setattr__(self, "tables", np.ascontiguousarray(tables))

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.codes.bits

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, part: slice | NDArray[Any]) -> TableQueries:
        return TableQueries(self.codes[part], self.tables[part])


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


def bits_of(queries: CheckedQueries) -> int:
    """Bits of the codes that checked queries score."""
    return queries.bits if isinstance(queries, TableQueries) else int(queries.shape[1])


def own_codes(queries: AsymmetricQueries) -> Codes:
    """The queries' own codes: those that come with tables, or the signs of the logits."""
    checked = check_queries(queries)
    return checked.codes if isinstance(checked, TableQueries) else Codes.from_logits(checked)


def largest_total(tables: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum of each byte's largest entry by size, float64 (q,): no score is larger, whatever its sign."""
    largest = np.maximum(tables.max(axis=2), -tables.min(axis=2))
    return np.asarray(largest.sum(axis=1, dtype=np.float64))
