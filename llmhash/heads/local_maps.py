"""Local maps of an additive codebook: groups of documents bend what their bytes stand for to how they lie.

Tables fitted to a large corpus are a compromise between its topics. A code's first byte is enough to know
roughly where a document is, and what is left of documents there lies otherwise than elsewhere: locally
optimized product quantization (Kalantidis and Avrithis, CVPR 2014) has a rotation for each cell. Here the
values of the first byte are grouped, and each group has one map `w -> w + U P w` of low rank for the sum w of
what the other bytes stand for. It costs no bits: first bytes are stored anyway. Maps and tables are fitted in
turns, each a linear least squares problem while the other stands still, and codes are found anew.

Wide codes are worth larger maps: there each value is a group of its own. Its documents are too few to say all
of its map, and those of the values near it, its family, have their part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmhash.heads.base import FloatArray
from llmhash.heads.codebook import Bytes, Codebook
from llmhash.heads.codebook_fit import conjugate_gradients, membership
from llmhash.index import LocalMaps

#: Bytes of a code beyond which it is wide.
WIDE = 16
# Families of values of the first byte, and the rank of their maps; and of the maps that each value of wide
# codes has.
_FAMILIES, _RANK, _WIDE_RANK = 64, 128, 96
# How many documents the others of a family weigh as much as in the map of one group, at most.
_FAMILY_PRIOR = 500.0
# How many documents the identity weighs as much as in a group's map, and a table's entry as it was.
_MAP_PRIOR, _ENTRY_PRIOR = 100.0, 2.0
# Of what is missed, for sums that are all about the same.
_LEAST_RIDGE = 1e-6
# In the place of a factor's largest entry, where it has none.
_TINY = np.float32(1e-12)
# Of conjugate gradients, for tables that start near where they end.
_STEPS = 8

#: Maps as a codebook stores them: int8 (g, d, r), int8 (g, r, d) and float32 (g, r).
Stored = tuple[NDArray[np.int8], NDArray[np.int8], FloatArray]


def with_local_maps(
    book: Codebook,
    documents: FloatArray,
    x: FloatArray,
    logits: FloatArray,
    rounds: int,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Codebook:
    """The codebook with maps for groups of documents, and tables that fit them.

    Args:
        book: In the space that queries see, with neither offsets nor maps.
        documents: float32 (n, d), what maps and tables are fitted to: more than a few hundred for each group.
        x: float32 (n, d), the same, centred and mapped: what vectors are to come near.
        logits: float32 (n, 8 m), whose signs codes are held to where the book has a pull.
        rounds: How often codes are found anew, and maps and tables fitted to them.
        seed: Of the families.
        progress: Called with the round, from 0 on.
    """
    codes = book.encode(documents, logits)
    families = _families(book.tables[0], seed)
    groups = families if len(book.tables) <= WIDE else np.arange(256, dtype=np.uint8)
    family = np.empty(int(groups.max()) + 1, np.uint8)
    family[groups] = families
    for turn in range(rounds):
        if progress is not None:
            progress(turn)
        if turn:
            codes = book.encode(documents, logits)
        order, bounds = _by_group(groups[codes[:, 0]], len(family))
        ordered, codes = x[order], codes[order]
        down, up, scales = _fit_maps(ordered, codes, bounds, family, book)
        book = replace(book, local_groups=groups, local_down=down, local_up=up, local_scales=scales)
        if book.local is not None:
            tables = _fit_tables(ordered, codes, bounds, book.tables, book.local)
            book = replace(book, tables=tables)
    return book


def _families(entries: FloatArray, seed: int) -> Bytes:
    """The family of each value of the first byte, uint8 (256,): k-means of its entries (256, d).

    Each entry counts alike, however many documents take it: small topics then have families of their own.
    """
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # Fewer distinct entries than families.
        means = KMeans(_FAMILIES, n_init=4, random_state=seed).fit(entries)
    _, families = np.unique(means.labels_, return_inverse=True)
    named: Bytes = families.astype(np.uint8)
    return named


def _by_group(groups: Bytes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of documents, group after group, and where each group starts and the last ends."""
    sizes = np.bincount(groups, minlength=count)
    return np.argsort(groups, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])


@dataclass(frozen=True)
class _Moments:
    """What is known of how some documents' sums lie to what these miss, both centred.

    Attributes:
        count: How many documents.
        gram: float32 (d, d), of sums.
        cross: float32 (d, d), of sums and what they miss.
        missed: The squared length of all that is missed.
    """

    count: float
    gram: FloatArray
    cross: FloatArray
    missed: float

    @classmethod
    def of(cls, sums: FloatArray, missing: FloatArray) -> _Moments:
        """Of sums (n, d) and what they miss (n, d), at least one document."""
        sums, missing = sums - sums.mean(axis=0), missing - missing.mean(axis=0)
        return cls(len(sums), sums.T @ sums, sums.T @ missing, float(np.square(missing).sum()))

    def and_share(self, others: list[_Moments], most: float) -> _Moments:
        """These and those of other documents, which count as no more than so many together."""
        share = np.float32(most / max(most, sum(each.count for each in others)))
        return _Moments(
            self.count + float(share) * sum(each.count for each in others),
            self.gram + share * sum(each.gram for each in others),
            self.cross + share * sum(each.cross for each in others),
            self.missed + float(share) * sum(each.missed for each in others),
        )


def _fit_maps(
    x: FloatArray, codes: Bytes, bounds: NDArray[np.int64], family: Bytes, book: Codebook
) -> Stored:
    """Each group's map, of documents x (n, d) in order of group, and the family (g,) of each group."""
    count, dim = len(bounds) - 1, book.dim
    rank = min(_RANK if len(book.tables) <= WIDE else _WIDE_RANK, dim)
    down, up = np.zeros((count, dim, rank), np.int8), np.zeros((count, rank, dim), np.int8)
    scales = np.zeros((count, rank), np.float32)
    for members in (np.flatnonzero(family == each) for each in np.unique(family)):
        parts = {group: slice(bounds[group], bounds[group + 1]) for group in members}
        moments = {
            group: _moments(x[part], codes[part], book)
            for group, part in parts.items()
            if part.start < part.stop
        }
        for group, own in moments.items():
            others = [each for other, each in moments.items() if other != group]
            known = own.and_share(others, _FAMILY_PRIOR)
            if known.gram.any():
                down[group], up[group], scales[group] = _stored(*_reduced_rank_map(known, rank))
    return down, up, scales


def _moments(x: FloatArray, codes: Bytes, book: Codebook) -> _Moments:
    """Of documents (n, d) and their codes: the sums are those of all bytes but the first."""
    sums, left = np.zeros_like(x), x - book.tables[0][codes[:, 0]]
    for table, byte in zip(book.tables[1:], codes[:, 1:].T, strict=True):
        sums += table[byte]
    return _Moments.of(sums, left - sums)


def _stored(down: FloatArray, up: FloatArray) -> Stored:
    """Factors (d, r) and (r, d) as int8, and for each of the ranks, (r,), what their products are worth."""
    down_step = np.maximum(np.abs(down).max(axis=0), _TINY) / 127
    up_step = np.maximum(np.abs(up).max(axis=1), _TINY) / 127
    in_bytes = np.rint(down / down_step).astype(np.int8), np.rint(up / up_step[:, None]).astype(np.int8)
    return *in_bytes, (down_step * up_step).astype(np.float32)


def _reduced_rank_map(known: _Moments, rank: int) -> tuple[FloatArray, FloatArray]:
    """Factors (d, r) and (r, d) whose product takes sums nearest to what they miss.

    Reduced rank regression (Izenman 1975): the ridge regression's map, on the principal directions of what
    it makes of the sums.
    """
    gram, dim = known.gram, len(known.gram)
    variance = float(np.trace(gram)) / dim / known.count
    ridge = _MAP_PRIOR * variance + _LEAST_RIDGE * known.missed / dim
    if not ridge:
        return np.zeros((dim, rank), np.float32), np.zeros((rank, dim), np.float32)
    full = np.linalg.solve(gram + np.float32(ridge) * np.eye(dim, dtype=np.float32), known.cross)
    _, axes = np.linalg.eigh(full.T @ gram @ full)
    kept = axes[:, ::-1][:, :rank]
    return full @ kept, kept.T


def _fit_tables(
    x: FloatArray, codes: Bytes, bounds: NDArray[np.int64], tables: FloatArray, local: LocalMaps
) -> FloatArray:
    """Tables of least squared error, float32 (m, 256, d), for given codes and maps, near the present ones."""
    first, others = (membership(part.astype(np.int64)) for part in (codes[:, :1], codes[:, 1:]))
    first_t, others_t = first.T.tocsr(), others.T.tocsr()
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]

    def vectors(tables: FloatArray) -> FloatArray:
        sums: FloatArray = others @ tables[256:]
        for part, down, up in zip(parts, local.down, local.up, strict=True):
            sums[part] += (sums[part] @ down) @ up
        sums += first @ tables[:256]
        return sums

    def gathered(rows: FloatArray) -> FloatArray:
        bent = rows.copy()
        for part, down, up in zip(parts, local.down, local.up, strict=True):
            bent[part] += (rows[part] @ up.T) @ down.T
        both: FloatArray = np.concatenate([first_t @ rows, others_t @ bent])
        return both

    width, _, dim = tables.shape
    start = tables.reshape(-1, dim)
    counts = np.bincount((codes + 256 * np.arange(width)).ravel(), minlength=len(start))
    fitted = conjugate_gradients(
        lambda step: gathered(vectors(step)) + np.float32(_ENTRY_PRIOR) * step,
        gathered(x - vectors(start)),
        start,
        counts[:, None].astype(np.float32) + np.float32(_ENTRY_PRIOR),
        _STEPS,
    )
    return fitted.reshape(tables.shape)
