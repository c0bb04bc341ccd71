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
class NormCorrection:
    """What turns sums of tables' entries into distances: it depends on a document's code alone.

    Where a document stands for the sum v of one vector a byte, a query q is nearest where
    `q . v - ||v||^2 / 2` is largest, and `||v||^2` is no sum over bytes. Tables may hold offsets o that come
    near it; the correction `-(||v||^2 / 2 + sum_j o_j)` is what they miss.

    Attributes:
        vectors: float32 (bytes, 256, d), what each value of each byte stands for.
        offsets: float32 (bytes, 256), what is in the tables for the norm's sake already.

    Raises:
        InputError: The arrays are not finite numbers of those shapes.
    """

    vectors: NDArray[np.float32]
    offsets: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, array, axes in (("vectors", self.vectors, 3), ("offsets", self.offsets, 2)):
            if array.dtype != np.float32 or array.ndim != axes or array.shape[1] != BYTE_VALUES:
                raise InputError(
                    f"a correction's {name} are a float32 array of {axes} axes, the second {BYTE_VALUES} "
                    f"long, not {array.dtype} {array.shape}."
                )
            if not np.isfinite(array).all():
                raise InputError(f"a correction's {name} hold NaN or infinity: the codebook is broken.")
            object.__setattr__(self, name, np.ascontiguousarray(array))
        if len(self.vectors) != len(self.offsets):
            raise InputError(
                f"a correction has vectors for {len(self.vectors)} bytes and offsets for {len(self.offsets)}."
            )


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
        correction: What is added to a document's score beside; None for nothing.

    Raises:
        InputError: The tables are not of that kind and shape, or their largest entries add up to more than
            1.7e38, or the correction is for codes of another width.
    """

    codes: Codes
    tables: NDArray[np.float32]
    correction: NormCorrection | None = None

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
        if self.correction is not None and len(self.correction.vectors) != shape[1]:
            raise InputError(
                f"a correction for {len(self.correction.vectors)} bytes does not fit codes of {shape[1]}."
            )
        object.__setattr__(self, "tables", np.ascontiguousarray(tables))

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.codes.bits

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, part: slice | NDArray[Any]) -> TableQueries:
        return TableQueries(self.codes[part], self.tables[part], self.correction)


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
