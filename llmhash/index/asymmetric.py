"""Scoring documents' bits by a query's real logits, with no store of floats beside the codes.

The score of a document d, a vector of bits as plus and minus one, for a query's logits q is
`q . d / sum|q|`, from -1 to 1, and 0 where all logits are 0. It is `1 - 2h/b` (h: Hamming distance, b: bits)
with each bit counted by the size of its logit instead of alike.

In float32 the result depends on the order of summation, which is therefore fixed. With q / sum|q| computed in
float64 and rounded to float32, each byte of a code adds its eight signed shares one after the other, the
first bit first; these sums are added to 0 one after the other, the first byte first; and the total is cut to
[-1, 1]. So equal codes have equal scores wherever they stand, and the functions here agree bit by bit.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index.base import NO_KEY
from llmhash.index.checks import allowed_rows, check_codes, check_k
from llmhash.index.jit import frozen
from llmhash.index.scan import word_count
from llmhash.index.sharing import Mask, Rows, query_bounds, row_bounds, sample_rows, worth_copying
from llmhash.index.tables import (
    NO_FLOOR,
    Best,
    Bytes,
    Floats,
    Tables,
    check_logits,
    make_tables,
    score_tables,
    scores_of,
)
from llmhash.index.threads import run, thread_count

_TABLE_BYTES = 1 << 25  # Tables that a group of queries may hold.
_TILE_WORDS = 1 << 13  # 64 KB of codes: they stay in the cache while a group of queries goes over them.
# A thread should find this many bytes of code to look at, or waking it costs more than it saves.
_BYTES_PER_THREAD = 1 << 21
# Words compared in a Hamming scan that take as long as one here.
_WORD_COST = 3
# The first floor should leave about twice k documents; the margin, counted in the sample, covers its error.
_SAMPLE_FACTOR, _SAMPLE_MARGIN = 2, 6


def asymmetric_scores(logits: ArrayLike, packed: Codes | Bytes, *, threads: int | None = None) -> Floats:
    """The scores of all documents for each query.

    Args:
        logits: float (q, b), finite.
        packed: Codes of b bits, or as uint8 (n, ceil(b / 8)).
        threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

    Returns:
        float32 (q, n).

    Raises:
        InputError: The logits are not finite numbers of that shape, or the codes have another width.
    """
    values = check_logits(logits)
    documents = np.ascontiguousarray(check_codes(packed, values.shape[1]).packed)
    out = np.empty((len(values), len(documents)), np.float32)
    threads = _useful_threads(threads, out.size * documents.shape[1])
    groups = _groups(len(values), documents.shape[1], threads)
    ranges = row_bounds(len(documents), len(groups) - 1, threads)
    run(
        [
            partial(_score_all, values[i:j], documents, start, stop, out[i:j])
            for i, j in pairwise(groups)
            for start, stop in pairwise(ranges)
        ],
        threads,
    )
    return out


def rescore(logits: ArrayLike, packed: Codes | Bytes, rows: Rows) -> Floats:
    """The scores of each query's own candidates.

    Args:
        logits: float (q, b), finite.
        packed: Codes of b bits, or as uint8 (n, ceil(b / 8)).
        rows: int64 (q, c), rows of `packed`; -1 stands for no candidate.

    Returns:
        float32 (q, c), -inf where the row is -1.

    Raises:
        InputError: The logits are not finite numbers of that shape, the codes have another width, or there is
            no such row.
    """
    values = check_logits(logits)
    documents = np.ascontiguousarray(check_codes(packed, values.shape[1]).packed)
    candidates = np.asarray(rows)
    if candidates.ndim != 2 or len(candidates) != len(values) or candidates.dtype.kind not in "iu":
        raise InputError(
            f"rows must be whole numbers of shape ({len(values)}, candidates), "
            f"not {candidates.dtype} {candidates.shape}."
        )
    if candidates.size and not (candidates.min() >= NO_KEY and candidates.max() < len(documents)):
        raise InputError(
            f"rows must be from -1 to {len(documents) - 1}, as there are {len(documents)} codes."
        )
    out = np.empty(candidates.shape, np.float32)
    from llmhash.index.lookup import score_rows  # Loads numba.

    candidates = candidates.astype(np.int64, copy=False)
    for i, j in pairwise(_groups(len(values), documents.shape[1], 1)):
        score_rows(frozen(documents), frozen(candidates[i:j]), frozen(score_tables(values[i:j])), out[i:j])
    return out


def asymmetric_search(
    logits: ArrayLike,
    packed: Codes | Bytes,
    k: int,
    *,
    allow: Mask | Rows | None = None,
    threads: int | None = None,
) -> tuple[Floats, Rows]:
    """The `k` best documents for each query, over all codes and exactly.

    They come by score, descending; then by the Hamming distance to the query's own code (`logit > 0`),
    ascending; then by row. That holds at the k-th place too.

    Args:
        logits: float (q, b), finite.
        packed: Codes of b bits, or as uint8 (n, ceil(b / 8)); a memory map is read where it is.
        k: Documents a query, at least 1.
        allow: Only these may be returned: a boolean mask over the rows, or rows (those that do not exist are
            passed over).
        threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

    Returns:
        Scores float32 (q, k) and rows int64 (q, k). Where fewer than k documents qualify, the rest holds
        score -inf and row -1.

    Raises:
        InputError: An argument does not fit the others.
    """
    values = check_logits(logits)
    documents = np.ascontiguousarray(check_codes(packed, values.shape[1]).packed)
    scores = np.full((len(values), check_k(k)), -np.inf, np.float32)
    rows = np.full(scores.shape, NO_KEY, np.int64)
    allowed = allowed_rows(allow, len(documents))
    threads = _useful_threads(threads, len(values) * documents.size)
    eligible = len(documents) if allowed is None else int(np.count_nonzero(allowed))
    if not eligible or not len(values):
        return scores, rows
    within = min(k, eligible)
    words = len(values) * word_count(documents.shape[1])
    if allowed is not None and worth_copying(len(documents), eligible, _WORD_COST * words):
        chosen = np.flatnonzero(allowed)
        scores[:, :within], places = _search(values, documents[chosen], within, None, threads)
        rows[:, :within] = chosen[places]
    else:
        scores[:, :within], rows[:, :within] = _search(values, documents, within, allowed, threads)
    return scores, rows


def _useful_threads(threads: int | None, size: int) -> int:
    return min(thread_count(threads), 1 + size // _BYTES_PER_THREAD)


def _groups(queries: int, width: int, threads: int) -> list[int]:
    return query_bounds(queries, _TABLE_BYTES // (256 * 4 * width), threads)


def _score_all(logits: NDArray[Any], documents: Bytes, start: int, stop: int, out: Floats) -> None:
    from llmhash.index.lookup import score_all  # Loads numba.

    score_all(frozen(documents), start, stop, frozen(score_tables(logits)), out)


def _search(
    logits: NDArray[Any], documents: Bytes, k: int, allowed: Mask | None, threads: int
) -> tuple[Floats, Rows]:
    """The k best documents, k being at most the number of eligible ones."""
    groups = _groups(len(logits), documents.shape[1], threads)
    ranges = row_bounds(len(documents), len(groups) - 1, threads)
    best = Best.empty(len(ranges) - 1, len(logits), k)
    sample = documents[sample_rows(len(documents), allowed, len(logits))]
    search = partial(_search_part, documents, allowed=allowed, sample=sample)
    run(
        [
            partial(search, start, stop, logits[i:j], best=best.part(part, slice(i, j)))
            for i, j in pairwise(groups)
            for part, (start, stop) in enumerate(pairwise(ranges))
        ],
        threads,
    )
    if len(ranges) == 2:
        return scores_of(best.ranks[0]), best.rows[0]
    ranks, rows = np.concatenate(list(best.ranks), axis=1), np.concatenate(list(best.rows), axis=1)
    order = np.argsort(-ranks, axis=1, kind="stable")[:, :k]  # Ties stay in row order.
    return scores_of(np.take_along_axis(ranks, order, axis=1)), np.take_along_axis(rows, order, axis=1)


def _search_part(
    documents: Bytes,
    start: int,
    stop: int,
    logits: NDArray[Any],
    *,
    allowed: Mask | None,
    sample: Bytes,
    best: Best,
) -> None:
    """Find the best of the rows start..stop-1 for a group of queries."""
    eligible = stop - start if allowed is None else int(np.count_nonzero(allowed[start:stop]))
    if not eligible:
        return
    tables = make_tables(logits)
    k = best.ranks.shape[1]
    wanted = _SAMPLE_MARGIN + _SAMPLE_FACTOR * k * len(sample) // eligible
    if wanted <= len(sample):
        likely = Best.empty(len(logits), wanted)
        _scan(sample, 0, len(sample), tables, None, likely)
        tables = tables._replace(floor=scores_of(likely.ranks[:, -1]))
    _scan(documents, start, stop, tables, allowed, best)
    short = (best.held < min(k, eligible)) & (tables.floor > NO_FLOOR)
    if short.any():  # The sample misled: start over without floors.
        again = Best.empty(int(short.sum()), k)
        _scan(documents, start, stop, tables.of(short, NO_FLOOR), allowed, again)
        best.held[short], best.ranks[short], best.rows[short] = again


def _scan(documents: Bytes, start: int, stop: int, tables: Tables, allowed: Mask | None, best: Best) -> None:
    from llmhash.index import lookup  # Loads numba.

    words = word_count(documents.shape[1])
    columns = min(max(1, _TILE_WORDS // words), stop - start)
    lookup.scan(
        frozen(documents),
        start,
        stop,
        tables.frozen(),
        frozen(np.empty(0, np.uint8) if allowed is None else allowed.view(np.uint8)),
        np.zeros((words, -(-columns // lookup.BLOCK) * lookup.BLOCK), np.uint64),
        best,
    )
