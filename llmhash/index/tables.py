"""Tables that turn a document's bytes into its asymmetric score, or into a bound of it: a few a query."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.index.asymmetric_queries import CheckedQueries, TableQueries, largest_total, own_codes
from llmhash.index.base import NO_KEY
from llmhash.index.jit import frozen
from llmhash.index.scan import word_count
from llmhash.index.sharing import Rows

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Words = NDArray[np.uint64]
Ranks = NDArray[np.int64]

#: Below every score.
NO_FLOOR = -np.inf
# The largest loss in whole steps: those of a byte's two halves must add up within a byte.
_MOST_STEPS = 127
_WORD_BYTES = 8
# The rank of score -inf.
_NO_RANK = -0x7F800001 << 16


class Tables(NamedTuple):
    """What the compiled scans look up for a group of queries; every first axis is the query.

    A document's *loss* is what it misses of the sum of each byte's best entry. The tables made of logits are
    of a kind whose losses add up over the halves of a byte; they alone have `steps` and `per_score`.
    """

    codes: Bytes  # (q, bytes), the queries' own codes.
    scores: Floats  # (q, bytes, 256), what each value of each byte adds to the score.
    most: NDArray[np.float64]  # (q,), the sum of each byte's best entry.
    slack: NDArray[np.float64]  # (q,), how far a score's roundings may take it up.
    floor: Floats  # (q,), lower scores are not wanted.
    steps: Words  # (q, words, 32): the loss of each value of each half byte, in whole steps.
    per_score: NDArray[np.float64]  # (q,), steps in a score of 1.

    @property
    def by_halves(self) -> bool:
        """Whether there are steps."""
        return self.steps.size > 0

    def frozen(self) -> Tables:
        """Read-only views, as kernels take them."""
        return Tables(
            frozen(self.codes),
            frozen(self.scores),
            frozen(self.most),
            frozen(self.slack),
            frozen(self.floor),
            frozen(self.steps),
            frozen(self.per_score),
        )

    def of(self, queries: NDArray[np.bool_], floor: float) -> Tables:
        """The tables of some of the queries, with another floor."""
        return Tables(
            self.codes[queries],
            self.scores[queries],
            self.most[queries],
            self.slack[queries],
            np.full(int(queries.sum()), floor, np.float32),
            self.steps[queries],
            self.per_score[queries],
        )


class Best(NamedTuple):
    """The best documents of a group of queries: heaps while they are searched, then in order."""

    held: NDArray[np.int64]  # (q,), documents found so far.
    ranks: Ranks  # (q, k)
    rows: Rows  # (q, k)

    @classmethod
    def empty(cls, *shape: int) -> Best:
        """Nothing found, for a shape of (..., q, k)."""
        return cls(
            np.zeros(shape[:-1], np.int64),
            np.full(shape, _NO_RANK, np.int64),
            np.full(shape, NO_KEY, np.int64),
        )

    def part(self, *index: int | slice) -> Best:
        """A view of some of it."""
        return Best(self.held[index], self.ranks[index], self.rows[index])


def scores_of(ranks: Ranks) -> Floats:
    """The scores that ranks hold.

    A rank orders documents by score, descending, then by Hamming distance, ascending: it is
    `65536 * bits - distance`, `bits` being the score's own bits read as an integer (where they are negative,
    all but the first turned over, for float32 stores sign and magnitude).
    """
    bits = ((ranks + 0xFFFF) >> 16).astype(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32).view(np.float32)


def score_tables(queries: CheckedQueries) -> Floats:
    """What each value of each byte of a document adds to its score, float32 (q, bytes, 256)."""
    if isinstance(queries, TableQueries):
        return queries.tables
    shares = _shares(queries)
    return _sums(-shares, shares)


def largest_score(queries: CheckedQueries) -> np.float32:
    """What scores are cut to: 1 for logits, whose scores pass it by their roundings only."""
    return np.float32(np.inf if isinstance(queries, TableQueries) else 1)


def make_tables(queries: CheckedQueries) -> Tables:
    """What a scan looks up, without floors."""
    if isinstance(queries, TableQueries):
        return _tables_of_bytes(queries)
    return _tables_of_halves(queries)


def _tables_of_bytes(queries: TableQueries) -> Tables:
    count, width = queries.tables.shape[:2]
    eps = float(np.finfo(np.float32).eps)
    return Tables(
        codes=own_codes(queries).packed,
        scores=queries.tables,
        most=queries.tables.max(axis=2).sum(axis=1, dtype=np.float64),
        # A score is rounded fewer than width times, each time by half of eps of its largest total at most.
        slack=width * eps * largest_total(queries.tables),
        floor=np.full(count, NO_FLOOR, np.float32),
        steps=np.empty((count, 0, 0), np.uint64),
        per_score=np.zeros(count),
    )


def _tables_of_halves(logits: NDArray[Any]) -> Tables:
    shares = _shares(logits)
    bits = shares.astype(np.float64)
    queries, width = bits.shape[:2]
    halves = 2 * bits.reshape(queries, width, 2, 4)
    losses = _sums(np.maximum(halves, 0), np.maximum(-halves, 0))
    largest = losses.max(axis=(1, 2, 3))
    per_score = np.divide(_MOST_STEPS, largest, out=np.zeros(queries), where=largest > 0)
    steps = np.zeros((queries, word_count(width), _WORD_BYTES, 2, 16), np.uint8)
    steps.reshape(queries, -1, 2, 16)[:, :width] = losses * per_score[:, None, None, None]
    # The scan wants the lower halves of a word's eight bytes first; a byte's lower half is its second.
    ordered = np.ascontiguousarray(steps[:, :, :, ::-1].transpose(0, 1, 3, 2, 4))
    return Tables(
        codes=own_codes(logits).packed,
        scores=_sums(-shares, shares),
        most=np.abs(bits).sum(axis=(1, 2)),
        # A score is rounded width + 7 times at most, each time by half of this or less.
        slack=np.full(queries, (width + 7) * float(np.finfo(np.float32).eps)),
        floor=np.full(queries, NO_FLOOR, np.float32),
        steps=ordered.reshape(queries, steps.shape[1], -1).view(np.uint64),
        per_score=per_score,
    )


def _shares(logits: NDArray[Any]) -> Floats:
    """Each logit as a share of its query's total size, (q, bytes, 8); 0 for padding bits."""
    values = np.ascontiguousarray(logits, np.float64)
    queries, bits = values.shape
    total = np.abs(values).sum(axis=1, keepdims=True)
    shares = np.zeros((queries, -(-bits // 8), 8), np.float32)
    shares.reshape(queries, -1)[:, :bits] = values / np.where(total > 0, total, 1)
    return shares


def _sums(clear: NDArray[Any], set_: NDArray[Any]) -> NDArray[Any]:
    """What each value of a few bits adds up to: twice (..., bits) to (..., 2^bits).

    Each bit adds its entry of `clear` or of `set_`, in turn; the first bit is the highest of the value.
    """
    totals = np.zeros((*clear.shape[:-1], 1), clear.dtype)
    for bit in range(clear.shape[-1]):
        longer = np.empty((*totals.shape[:-1], 2 * totals.shape[-1]), totals.dtype)
        np.add(totals, clear[..., bit, None], out=longer[..., 0::2])
        np.add(totals, set_[..., bit, None], out=longer[..., 1::2])
        totals = longer
    return totals
