"""The additive codebook: what each value of each byte of a code stands for in the teacher's space.

A code of m bytes a_1 ... a_m is read as the vector `v = sum_j C_j[a_j]`, and a document's score for a query
q is `q . v`: with `T_j = C_j q` one look-up and one addition a byte. Product and residual quantizers are of
this form; here the same bytes are also a binary code that Hamming distance can search, for a document's code
minimises

    ||x - v||^2 - pull * sum_i z_i c_i

over all codes c (as plus and minus ones), with x the centred document and z its logits. The second term keeps
the code near the signs of the logits, so that Hamming distance ranks codes. A query's own is found in the
same way, or is the signs of its logits, or of

    z + softmax(K q + k) V

in which anchors, places in the corpus with keys K, vote with V for the codes of the documents there (see
`llmhash.heads.codebook_anchors`).

A codebook may map documents by a matrix D, and queries to `A q + a`. Here x is then the mapped document, and
scores are by distance: `-||A q + a - v||^2 / 2` is `(A q + a) . v - ||v||^2 / 2` but for what is the same for
all documents. Offsets o of the bytes come near the last term where sums are to be compared; a correction
makes up for the rest (see `llmhash.index.NormCorrection` and `llmhash.heads.query_space`). Without a pull,
such codes serve the asymmetric scan alone.

Such a codebook may have local maps: the value of a code's first byte says which group a document is in, and
the sum w of the other bytes' vectors is bent to `w + U_g P_g w` as the group's documents lie (see
`llmhash.heads.local_maps`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.heads.base import FloatArray
from llmhash.index import LocalMaps, NormCorrection

Bytes = NDArray[np.uint8]

#: float32 (256, 8): the bits of each byte value as plus and minus ones, the first bit first.
SIGNS: FloatArray = Codes(np.arange(256, dtype=np.uint8)[:, None], 8).to_pm1(np.float32)

# Arrays that are not float32.
_DTYPES = {
    "local_groups": np.dtype(np.uint8),
    "local_down": np.dtype(np.int8),
    "local_up": np.dtype(np.int8),
}
# Partial codes that the search keeps, times the bytes of a code: what a document costs then hardly depends on
# the width. Wider codes lose less by a narrow beam; distances are worth more than the least, and where there
# are local maps, the search is what is left to gain by.
_BEAM_BUDGET, _LEAST_BEAM, _LEAST_DISTANCE_BEAM, _LOCAL_BEAM = 64, 2, 4, 16
# Bytes of a code up to which products of entries are made (130 MB), and partial codes a byte from which on:
# each then takes a row of products for every byte before, instead of a product with all entries.
_MOST_BETWEEN, _PARTIAL_BETWEEN = 32, 128
# Partial codes of a group's documents from which on its 256 entries a byte are bent, instead of what each
# partial code leaves and takes.
_BENT_TABLES = 128
# Numbers in the search's largest array.
_CELLS = 1 << 23


@dataclass(frozen=True, eq=False)
class Codebook:
    """Additive tables over a code's bytes.

    Attributes:
        tables: float32 (m, 256, d), C.
        mean: float32 (d,), what x is centred on.
        pull: float32 (1,), how strongly codes are held to the signs of the logits.
        offsets: float32 (m, 256), o, what each value of a byte adds to the score for any query; None for 0.
        document_map: float32 (d, d), D; None where x is the document as it is.
        local_groups: uint8 (256,), the group of each value of the first byte; None where vectors are sums.
        local_down: int8 (g, d, r), each group's P, transposed; None likewise.
        local_up: int8 (g, r, d), each group's U, transposed and divided by the scales; None likewise.
        local_scales: float32 (g, r), of each group's U; None likewise.
        query_mean: float32 (d,), what queries are centred on to be encoded as documents are; None where
            queries' codes are the signs of their logits.
        query_map: float32 (d, d), A; None where queries score documents as they are.
        query_shift: float32 (d,), a; None likewise.
        anchor_keys: float32 (c, d), K; None where queries' codes are found otherwise.
        anchor_offsets: float32 (c,), k; None likewise.
        anchor_votes: float32 (c, 8 m), V; None likewise.
    """

    tables: FloatArray
    mean: FloatArray
    pull: FloatArray
    offsets: FloatArray | None = None
    document_map: FloatArray | None = None
    local_groups: Bytes | None = None
    local_down: NDArray[np.int8] | None = None
    local_up: NDArray[np.int8] | None = None
    local_scales: FloatArray | None = None
    query_mean: FloatArray | None = None
    query_map: FloatArray | None = None
    query_shift: FloatArray | None = None
    anchor_keys: FloatArray | None = None
    anchor_offsets: FloatArray | None = None
    anchor_votes: FloatArray | None = None

    def __post_init__(self) -> None:
        width, values, dim = self.tables.shape if self.tables.ndim == 3 else (0, 0, 0)
        if values != 256:
            raise InputError(f"tables must be float32 (bytes, 256, dim), not {self.tables.shape}.")
        anchors = 0 if self.anchor_keys is None else len(self.anchor_keys)
        down = self.local_down
        groups, _, rank = (0, 0, 0) if down is None or down.ndim != 3 else down.shape
        shapes = {
            "tables": (width, 256, dim),
            "mean": (dim,),
            "pull": (1,),
            "offsets": (width, 256),
            "document_map": (dim, dim),
            "local_groups": (256,),
            "local_down": (groups, dim, rank),
            "local_up": (groups, rank, dim),
            "local_scales": (groups, rank),
            "query_mean": (dim,),
            "query_map": (dim, dim),
            "query_shift": (dim,),
            "anchor_keys": (anchors, dim),
            "anchor_offsets": (anchors,),
            "anchor_votes": (anchors, 8 * width),
        }
        for name, array in self.tensors().items():
            dtype = _DTYPES.get(name, np.dtype(np.float32))
            if array.dtype != dtype or array.shape != shapes[name]:
                raise InputError(f"{name} must be {dtype} {shapes[name]}, not {array.dtype} {array.shape}.")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity; the fit diverged.")
        self._check_parts()

    def _check_parts(self) -> None:
        """Raise `InputError` where an array lacks those that it needs."""
        if self.document_map is not None and self.query_map is None:
            raise InputError("a codebook with a map of documents has one of queries.")
        local = (self.local_groups, self.local_down, self.local_up, self.local_scales)
        if len({array is None for array in local}) > 1:
            raise InputError("a codebook's local maps have groups, factors and scales, or none of them.")
        groups, maps = self.local_groups, self.local_down
        if groups is not None and maps is not None and groups.max() >= len(maps):
            raise InputError("a group of a codebook's local maps has none.")
        if self.local_groups is not None and self.document_map is None:
            raise InputError("local maps belong to a codebook with a map of documents.")
        if (self.query_map is None) != (self.query_shift is None):
            raise InputError("a codebook has both a map and a shift of queries, or neither.")
        if len({self.anchor_keys is None, self.anchor_offsets is None, self.anchor_votes is None}) > 1:
            raise InputError("a codebook's anchors have keys, offsets and votes, or there are none.")
        if self.anchor_keys is not None and self.query_mean is not None:
            raise InputError("anchors belong to a codebook that does not choose queries' codes.")
        if self.pull[0] < 0:
            raise InputError("the pull of a codebook must be at least 0.")

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return int(self.tables.shape[2])

    @property
    def bits(self) -> int:
        """Bits in a code: whole bytes."""
        return 8 * len(self.tables)

    @property
    def use(self) -> str:
        """What its codes are for: "codes" that both searches rank, or the "scan" alone."""
        return "scan" if self.scan_only else "codes"

    @property
    def scan_only(self) -> bool:
        """Whether codes serve the asymmetric scan alone: Hamming distance then ranks poorly."""
        return self.document_map is not None and not self.pull[0]

    @cached_property
    def local(self) -> LocalMaps | None:
        """The maps of groups of documents, where there are some."""
        groups, down, up, scales = self.local_groups, self.local_down, self.local_up, self.local_scales
        if groups is None or down is None or up is None or scales is None:
            return None
        return LocalMaps(groups, down.astype(np.float32), up * scales[:, :, None])

    @cached_property
    def _squares(self) -> FloatArray:
        """Each entry's squared length, float32 (m, 256)."""
        return _squared_lengths(self.tables)

    @cached_property
    def _between(self) -> list[FloatArray]:
        """For each byte, the entries of the bytes before times its own, float32 (j, 256, 256)."""
        return [np.ascontiguousarray(self.tables[:byte] @ table.T) for byte, table in enumerate(self.tables)]

    @cached_property
    def correction(self) -> NormCorrection | None:
        """What scores by distance add to the sums of `query_tables`' entries; None where they are others."""
        if self.document_map is None:
            return None
        offsets = np.zeros(self.tables.shape[:2], np.float32) if self.offsets is None else self.offsets
        return NormCorrection(self.tables, offsets, self.local)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as they are stored."""
        named = {
            "tables": self.tables,
            "mean": self.mean,
            "pull": self.pull,
            "offsets": self.offsets,
            "document_map": self.document_map,
            "local_groups": self.local_groups,
            "local_down": self.local_down,
            "local_up": self.local_up,
            "local_scales": self.local_scales,
            "query_mean": self.query_mean,
            "query_map": self.query_map,
            "query_shift": self.query_shift,
            "anchor_keys": self.anchor_keys,
            "anchor_offsets": self.anchor_offsets,
            "anchor_votes": self.anchor_votes,
        }
        return {name: array for name, array in named.items() if array is not None}

    def encode(self, features: FloatArray, logits: FloatArray) -> Bytes:
        """Codes: by beam search over the bytes from the first to the last.

        Args:
            features: float32 (n, d).
            logits: float32 (n, 8 m), z.

        Returns:
            uint8 (n, m), packed as `Codes` are.
        """
        if self.local is None:
            return self._coded(features, logits, self._beam)
        codes = np.empty((len(features), len(self.tables)), np.uint8)
        groups = self.local.groups[self._nearest_first(features)]
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            few = len(rows) * _LOCAL_BEAM <= _BENT_TABLES
            book = self._of_few(self.local, group) if few else self._of_group(self.local, group)
            codes[rows] = book._coded(features[rows], logits[rows], _LOCAL_BEAM)
        return codes

    @property
    def _beam(self) -> int:
        """How many partial codes the search keeps where there are no local maps."""
        least = _LEAST_BEAM if self.document_map is None else _LEAST_DISTANCE_BEAM
        return max(least, _BEAM_BUDGET // len(self.tables))

    def _coded(self, features: FloatArray, logits: FloatArray, beam: int) -> Bytes:
        """Codes of the sums of entries as they are, part after part."""
        codes = np.empty((len(features), len(self.tables)), np.uint8)
        step = max(1, _CELLS // (beam * max(256, self.dim)))
        many = len(features) * beam >= _PARTIAL_BETWEEN * len(self.tables)
        between = self._between if many and len(self.tables) <= _MOST_BETWEEN else None
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            x = self._mapped(features[part] - self.mean)
            codes[part] = self._search(x, self.pull * logits[part], beam, between)
        return codes

    def _mapped(self, x: FloatArray) -> FloatArray:
        """Centred documents where their vectors are: D x."""
        if self.document_map is None:
            return x
        mapped: FloatArray = x @ self.document_map.T
        return mapped

    def _nearest_first(self, features: FloatArray) -> Bytes:
        """The value of the first byte whose vector is nearest, uint8 (n,), of features (n, d)."""
        values = np.empty(len(features), np.uint8)
        step = max(1, _CELLS // max(256, self.dim))
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            x = self._mapped(features[part] - self.mean)
            values[part] = (self._squares[0] - 2 * (x @ self.tables[0].T)).argmin(axis=1)
        return values

    @cached_property
    def _groups_of_few(self) -> dict[int, _FewOfGroup]:
        """What `_of_few` has made: some kilobytes a group, where bent tables take megabytes."""
        return {}

    def _of_few(self, local: LocalMaps, group: int) -> _FewOfGroup:
        """The same codebook as `_of_group`, for so few documents that they are bent and not the tables."""
        if group not in self._groups_of_few:
            bent = self._of_group(local, group)
            self._groups_of_few[group] = _FewOfGroup(
                self.tables,
                self.mean,
                self.pull,
                document_map=self.document_map,
                squares=bent.squares,
                down=local.down[group],
                up=local.up[group],
            )
        return self._groups_of_few[group]

    def _of_group(self, local: LocalMaps, group: int) -> _OneGroup:
        """The codebook of a group's documents: its map applied, other groups' values out of reach."""
        bent = _bent(self.tables[1:].reshape(-1, self.dim), local.down[group], local.up[group])
        tables = np.concatenate([self.tables[:1], bent.reshape(-1, 256, self.dim)])
        squares = _squared_lengths(tables)
        squares[0, local.groups != group] = np.inf
        return _OneGroup(tables, self.mean, self.pull, document_map=self.document_map, squares=squares)

    def encode_queries(self, queries: FloatArray, logits: FloatArray) -> Bytes:
        """Codes of queries, found as the codebook says.

        Args:
            queries: float32 (q, d).
            logits: float32 (q, 8 m), z.

        Returns:
            uint8 (q, m), packed as `Codes` are.
        """
        if self.query_mean is not None:
            return self.encode(queries + (self.mean - self.query_mean), logits)
        if self.anchor_keys is None or self.anchor_offsets is None or self.anchor_votes is None:
            return Codes.from_logits(logits).packed
        voted = logits.copy()
        step = max(1, _CELLS // len(self.anchor_keys))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            weights = queries[part] @ self.anchor_keys.T + self.anchor_offsets
            weights = np.exp(weights - weights.max(axis=1, keepdims=True))
            voted[part] += (weights @ self.anchor_votes) / weights.sum(axis=1, keepdims=True)
        return Codes.from_logits(voted).packed

    def query_points(self, queries: FloatArray) -> FloatArray:
        """What scores documents' vectors, float32 (q, d), of query features float32 (q, d): A q + a."""
        if self.query_map is None or self.query_shift is None:
            return queries
        points: FloatArray = queries @ self.query_map.T + self.query_shift
        return points

    def query_tables(self, queries: FloatArray) -> FloatArray:
        """T float32 (q, m, 256) of query features float32 (q, d)."""
        count, width = len(queries), len(self.tables)
        scores: FloatArray = self.query_points(queries) @ self.tables.reshape(-1, self.dim).T
        scores = scores.reshape(count, width, 256)
        return scores if self.offsets is None else scores + self.offsets

    def decode(self, codes: Bytes) -> FloatArray:
        """Vectors v, float32 (n, d), of codes uint8 (n, m)."""
        values = np.zeros((len(codes), self.dim), np.float32)
        for table, byte in zip(self.tables[1:], codes.T[1:], strict=True):
            values += table[byte]
        if self.local is not None:
            groups = self.local.groups[codes[:, 0]]
            for group in np.unique(groups):
                rows = np.flatnonzero(groups == group)
                values[rows] += (values[rows] @ self.local.down[group]) @ self.local.up[group]
        values += self.tables[0][codes[:, 0]]
        return values

    def constants(self, codes: Bytes) -> FloatArray:
        """What offsets add up to, float32 (n,), of codes uint8 (n, m)."""
        total = np.zeros(len(codes), np.float32)
        if self.offsets is not None:
            for offsets, byte in zip(self.offsets, codes.T, strict=True):
                total += offsets[byte]
        return total

    def _search(
        self, x: FloatArray, wanted: FloatArray, beam: int, between: list[FloatArray] | None
    ) -> Bytes:
        """The best codes found of documents that fit into memory together; `wanted` are logits times pull.

        A partial code's cost is that of the error it leaves, as if no byte followed.
        """
        from llmhash.heads.beam import extend, left_products  # Loads numba.

        documents = np.arange(len(x))[:, None]
        codes = np.empty((len(x), 1, 0), np.uint8)
        errors = x[:, None]  # x - v of each partial code, (n, beam, d); without `between` alone
        # ||x - v||^2 - ||x||^2 and the pull, (n, beam)
        squares: FloatArray = np.zeros((len(x), 1), np.float32)
        for byte in range(len(self.tables)):
            products = self._products(byte, errors.reshape(-1, self.dim)).reshape(len(x), -1, 256)
            if between is not None:
                own, products = products[:, 0], np.empty((*squares.shape, 256), np.float32)
                left_products(own, between[byte], codes, products)
            entries = self._squares[byte] - wanted[:, 8 * byte : 8 * byte + 8] @ SIGNS.T
            # Of whole codes only the best one is wanted.
            kept = 1 if byte == len(self.tables) - 1 else min(beam, products[0].size)
            best = np.empty((len(x), kept), np.int64)
            extended = np.empty(best.shape, np.float32)
            extend(products, entries, squares, best, extended)
            squares = extended
            parent, value = np.divmod(best, 256)
            codes = np.concatenate([codes[documents, parent], value[:, :, None].astype(np.uint8)], axis=2)
            if between is None:
                errors = errors[documents, parent] - self._entries(byte, value)
        return codes[:, 0]

    def _products(self, byte: int, errors: FloatArray) -> FloatArray:
        """Products float32 (n, 256) of what is left of documents, (n, d), and a byte's entries."""
        products: FloatArray = errors @ self.tables[byte].T
        return products

    def _entries(self, byte: int, values: NDArray[np.int64]) -> FloatArray:
        """A byte's entries float32 (..., d) of values (...)."""
        entries: FloatArray = self.tables[byte][values]
        return entries


@dataclass(frozen=True, eq=False)
class _OneGroup(Codebook):
    """A group's codebook: its entries bent, and values of the first byte that are other groups' out of reach.

    Attributes:
        squares: float32 (m, 256), of the entries; infinite where no document is to take one.
    """

    squares: FloatArray = field(kw_only=True)

    def __post_init__(self) -> None:
        """Its arrays are those of a codebook that has been checked."""

    @cached_property
    def _squares(self) -> FloatArray:
        return self.squares


@dataclass(frozen=True, eq=False)
class _FewOfGroup(_OneGroup):
    """The same with tables as they are: entries t, but for the first byte's, are read as `t + (t P) U`.

    Attributes:
        down: float32 (d, r), P.
        up: float32 (r, d), U.
    """

    down: FloatArray = field(kw_only=True)
    up: FloatArray = field(kw_only=True)

    def _products(self, byte: int, errors: FloatArray) -> FloatArray:
        return super()._products(byte, _bent(errors, self.up.T, self.down.T) if byte else errors)

    def _entries(self, byte: int, values: NDArray[np.int64]) -> FloatArray:
        entries = super()._entries(byte, values)
        return _bent(entries, self.down, self.up) if byte else entries


def _bent(rows: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Rows float32 (..., d), and added to them their products with both factors of a map."""
    bent = rows.copy()
    bent += (rows @ first) @ second
    return bent


def _squared_lengths(tables: FloatArray) -> FloatArray:
    """Of entries (m, 256, d), float32 (m, 256)."""
    squares: FloatArray = np.einsum("mad,mad->ma", tables, tables)
    return squares
