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
class LocalMaps:
    """How documents depart from the sum of their bytes' vectors, group by group.

    The value of a document's first byte says which group it is in. With w the sum of the vectors of its other
    bytes and U and P the group's factors, the document stands for `C_1[a_1] + w + U P w` in place of
    `C_1[a_1] + w`, C_1[a_1] being its first byte's own vector.

    Attributes:
        groups: uint8 (256,), the group of each value of the first byte.
        down: float32 (g, d, r), the transposed P of each group.
        up: float32 (g, r, d), the transposed U.

    Raises:
        InputError: The arrays are not of those shapes, or not finite, or a group has no map.
    """

    groups: NDArray[np.uint8]
    down: NDArray[np.float32]
    up: NDArray[np.float32]

    def __post_init__(self) -> None:
        count, dim, rank = self.down.shape if self.down.ndim == 3 else (0, 0, 0)
        shapes = {"groups": (BYTE_VALUES,), "down": (count, dim, rank), "up": (count, rank, dim)}
        for name, array in (("groups", self.groups), ("down", self.down), ("up", self.up)):
            dtype = np.uint8 if name == "groups" else np.float32
            if array.dtype != dtype or array.shape != shapes[name] or not array.size:
                raise InputError(
                    f"the {name} of local maps are {np.dtype(dtype).name} {shapes[name]}, "
                    f"not {array.dtype} {array.shape}."
                )
            if not np.isfinite(array).all():
                raise InputError(f"the {name} of local maps hold NaN or infinity: the codebook is broken.")
            object.__setattr__(self, name, np.ascontiguousarray(array))
        if self.groups.max() >= count:
            raise InputError(f"there are {count} local maps, and none for group {self.groups.max()}.")


@dataclass(frozen=True, eq=False)
class NormCorrection:
    """What turns sums of tables' entries into distances: it depends on a document's code, and on its map.

    Where a document stands for the sum v of one vector a byte, a query q is nearest where
    `q . v - ||v||^2 / 2` is largest, and `||v||^2` is no sum over bytes. Tables may hold offsets o that come
    near it; the correction `-(||v||^2 / 2 + sum_j o_j)` is what they miss. Where maps bend v, it is also
    their share of `q . v`.

    Attributes:
        vectors: float32 (bytes, 256, d), what each value of each byte stands for.
        offsets: float32 (bytes, 256), what is in the tables for the norm's sake already.
        local: The maps of groups of documents; None where v is the sum.

    Raises:
        InputError: The arrays are not finite numbers of those shapes.
    """

    vectors: NDArray[np.float32]
    offsets: NDArray[np.float32]
    local: LocalMaps | None = None

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
        if self.local is not None and self.local.down.shape[1] != self.dim:
            raise InputError(
                f"local maps of {self.local.down.shape[1]} dimensions do not fit vectors of {self.dim}."
            )

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return int(self.vectors.shape[2])


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
        points: float32 (q, d), the queries in the space of the correction's vectors; None where it has no
            local maps, which alone ask for them.

    Raises:
        InputError: The tables are not of that kind and shape, or their largest entries add up to more than
            1.7e38, or the correction is for codes of another width, or the points do not fit it.
    """

    codes: Codes
    tables: NDArray[np.float32]
    correction: NormCorrection | None = None
    points: NDArray[np.float32] | None = None

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
        self._check_points()
        object.__setattr__(self, "tables", np.ascontiguousarray(tables))

    def _check_points(self) -> None:
        local = self.correction is not None and self.correction.local is not None
        if (self.points is None) == local:
            raise InputError("queries have points where their correction has local maps, and only there.")
        if self.points is None or self.correction is None:
            return
        shape = (len(self.codes), self.correction.dim)
        if self.points.dtype != np.float32 or self.points.shape != shape:
            raise InputError(f"points must be float32 {shape}, not {self.points.dtype} {self.points.shape}.")
        if not np.isfinite(self.points).all():
            raise InputError("points hold NaN or infinity: the features or the codebook are broken.")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.codes.bits

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, part: slice | NDArray[Any]) -> TableQueries:
        points = None if self.points is None else self.points[part]
        return TableQueries(self.codes[part], self.tables[part], self.correction, points)


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
