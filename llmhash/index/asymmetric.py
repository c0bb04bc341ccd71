"""Scoring documents' codes by a query's real logits or tables, with no store of floats beside the codes.

The score of a document d, a vector of bits as plus and minus one, for a query's logits q is
`q . d / sum|q|`, from -1 to 1, and 0 where all logits are 0. It is `1 - 2h/b` (h: Hamming distance, b: bits)
with each bit counted by the size of its logit instead of alike.

For a query that brings tables (`TableQueries`) it is the sum of the entries that the document's bytes name in
them, which may be any number; and a correction of the document's own, where the tables come with one.

In float32 the result depends on the order of summation, which is therefore fixed. A byte's entry, from a
table or made of logits, is added to 0 one after the other, the first byte first. For logits it is made with
q / sum|q| computed in float64 and rounded to float32: the byte's eight signed shares, added one after the
other, the first bit first; and the total is cut to [-1, 1]. A correction is added last. So equal codes have
equal scores wherever they stand, and the functions here agree bit by bit.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.index.asymmetric_queries import (
    AsymmetricQueries,
    CheckedQueries,
    NormCorrection,
    TableQueries,
    bits_of,
    check_queries,
    own_codes,
)
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
    largest_score,
    make_tables,
    score_tables,
    scores_of,
)
from llmhash.index.threads import run, thread_count

if TYPE_CHECKING:
    from llmhash.index.corrections import Corrections

#: Documents, the best by their tables' sums, of which a search finds the best by corrected scores; or as many
#: as it is asked for, where that is more.
CORRECTED = 500
_TABLE_BYTES = 1 << 25  # Tables that a group of queries may hold.
_TILE_WORDS = 1 << 13  # 64 KB of codes: they stay in the cache while a group of queries goes over them.
# A thread should find this many bytes of code to look at, or waking it costs more than it saves.
_BYTES_PER_THREAD = 1 << 21
# Words compared in a Hamming scan that take as long as one here.
_WORD_COST = 3
# The first floor should leave about twice k documents; the margin, counted in the sample, covers its error.
_SAMPLE_FACTOR, _SAMPLE_MARGIN = 2, 6


def asymmetric_scores(
    queries: AsymmetricQueries, packed: Codes | Bytes, *, threads: int | None = None
) -> Floats:
    """The scores of all documents for each query.

    Args:
        queries: Logits float (q, b), finite, or `TableQueries` of b bits.
        packed: Codes of b bits, or as uint8 (n, ceil(b / 8)).
        threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

    Returns:
        float32 (q, n).

    Raises:
        InputError: The queries are not finite numbers of that shape, or the codes have another width.
    """
    asked, documents = _checked(queries, packed)
    out = np.empty((len(asked), len(documents)), np.float32)
    threads = _useful_threads(threads, out.size * documents.shape[1])
    groups = _groups(len(asked), documents.shape[1], threads)
    ranges = row_bounds(len(documents), len(groups) - 1, threads)
    run(
        [
            partial(_score_all, asked[i:j], documents, start, stop, out[i:j])
            for i, j in pairwise(groups)
            for start, stop in pairwise(ranges)
        ],
        threads,
    )
    if isinstance(asked, TableQueries) and asked.correction is not None:
        _correct_all(asked, asked.correction, documents, out, threads)
    return out


def rescore(queries: AsymmetricQueries, packed: Codes | Bytes, rows: Rows) -> Floats:
    """The scores of each query's own candidates.

    Args:
        queries: Logits float (q, b), finite, or `TableQueries` of b bits.
        packed: Codes of b bits, or as uint8 (n, ceil(b / 8)).
        rows: int64 (q, c), rows of `packed`; -1 stands for no candidate.

    Returns:
        float32 (q, c), -inf where the row is -1.

    Raises:
        InputError: The queries are not finite numbers of that shape, the codes have another width, or there
            is no such row.
    """
    asked, documents = _checked(queries, packed)
    candidates = np.asarray(rows)
    if candidates.ndim != 2 or len(candidates) != len(asked) or candidates.dtype.kind not in "iu":
        raise InputError(
            f"rows must be whole numbers of shape ({len(asked)}, candidates), "
            f"not {candidates.dtype} {candidates.shape}."
        )
    if candidates.size and not (candidates.min() >= NO_KEY and candidates.max() < len(documents)):
        raise InputError(
            f"rows must be from -1 to {len(documents) - 1}, as there are {len(documents)} codes."
        )
    candidates = candidates.astype(np.int64, copy=False)
    groups = pairwise(_groups(len(asked), documents.shape[1], 1))
    parts = [_rescore(asked[i:j], documents, candidates[i:j]) for i, j in groups]
    return np.concatenate(parts) if parts else np.empty(candidates.shape, np.float32)


def asymmetric_search(
    queries: AsymmetricQueries,
    packed: Codes | Bytes,
    k: int,
    *,
    allow: Mask | Rows | None = None,
    threads: int | None = None,
) -> tuple[Floats, Rows]:
    """The `k` best documents for each query, over all codes and exactly.

    They come by score, descending; then by the Hamming distance to the query's own code (`logit > 0`),
    ascending; then by row. That holds at the k-th place too. Where tables come with a correction, these are
    the best of the `CORRECTED` best documents by the tables' sums, or of k where that is more.

    Args:
        queries: Logits float (q, b), finite, or `TableQueries` of b bits.
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
    asked, documents = _checked(queries, packed)
    allowed = allowed_rows(allow, len(documents))
    threads = _useful_threads(threads, len(asked) * documents.size)
    if not isinstance(asked, TableQueries) or asked.correction is None:
        return _best(asked, documents, check_k(k), allowed, threads)
    _, rows = _best(asked, documents, max(check_k(k), CORRECTED), allowed, threads)
    return _corrected(asked, documents, rows, k, threads)


def best_candidates(scores: Floats, distances: NDArray[np.int64], rows: Rows, k: int) -> tuple[Floats, Rows]:
    """The `k` best candidates: by score, then Hamming distance, then row. Row -1 comes last.

    Args:
        scores: float32 (q, c).
        distances: int64 (q, c).
        rows: int64 (q, c).
        k: How many, at most c.

    Returns:
        Scores float32 (q, k) and rows int64 (q, k).
    """
    descending = np.where(rows >= 0, -scores, np.inf)
    order = np.lexsort((rows, distances, descending), axis=-1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _best(
    asked: CheckedQueries, documents: Bytes, k: int, allowed: Mask | None, threads: int
) -> tuple[Floats, Rows]:
    """The k best documents by what tables or logits add up to; -inf and row -1 where there are fewer."""
    scores = np.full((len(asked), k), -np.inf, np.float32)
    rows = np.full(scores.shape, NO_KEY, np.int64)
    eligible = len(documents) if allowed is None else int(np.count_nonzero(allowed))
    if not eligible or not len(asked):
        return scores, rows
    within = min(k, eligible)
    words = len(asked) * word_count(documents.shape[1])
    if allowed is not None and worth_copying(len(documents), eligible, _WORD_COST * words):
        chosen = np.flatnonzero(allowed)
        scores[:, :within], places = _search(asked, documents[chosen], within, None, threads)
        rows[:, :within] = chosen[places]
    else:
        scores[:, :within], rows[:, :within] = _search(asked, documents, within, allowed, threads)
    return scores, rows


def _checked(queries: AsymmetricQueries, packed: Codes | Bytes) -> tuple[CheckedQueries, Bytes]:
    asked = check_queries(queries)
    return asked, np.ascontiguousarray(check_codes(packed, bits_of(asked)).packed)


def _correct_all(
    queries: TableQueries, correction: NormCorrection, documents: Bytes, scores: Floats, threads: int
) -> None:
    """Add the corrections of all documents to their scores, float32 (q, n)."""
    from llmhash.index.corrections import correct_all  # Loads numba.

    arrays, points = _correction_arrays(queries, correction)
    run(
        [
            partial(correct_all, frozen(documents), start, stop, arrays, points, scores)
            for start, stop in pairwise(row_bounds(len(documents), 1, threads))
        ],
        threads,
    )


def _correction_arrays(queries: TableQueries, correction: NormCorrection) -> tuple[Corrections, Floats]:
    """A correction and the queries' points as kernels take them, empty where there is none of a kind."""
    from llmhash.index.corrections import in_lanes  # Loads numba.

    local = correction.local
    groups = np.empty(0, np.uint8) if local is None else local.groups
    down, up = (np.empty((0, 0, 0), np.float32),) * 2 if local is None else (local.down, local.up)
    points = np.empty((0, 0), np.float32) if queries.points is None else in_lanes(queries.points)
    vectors, offsets = frozen(correction.vectors), frozen(correction.offsets)
    return (vectors, offsets, frozen(groups), frozen(down), frozen(up)), frozen(points)


def _corrected(
    queries: CheckedQueries, documents: Bytes, candidates: Rows, k: int, threads: int
) -> tuple[Floats, Rows]:
    """The `k` best of each query's candidates by corrected scores."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full(scores.shape, NO_KEY, np.int64)
    if not len(documents):
        return scores, rows

    def correct(part: slice) -> None:
        asked, found = queries[part], candidates[part]
        distances = np.bitwise_count(documents[found] ^ own_codes(asked).packed[:, None]).sum(axis=2)
        rescored = _rescore(asked, documents, found)
        scores[part], rows[part] = best_candidates(rescored, distances, found, k)

    groups = _groups(len(queries), documents.shape[1], threads)
    run([partial(correct, slice(i, j)) for i, j in pairwise(groups)], threads)
    return scores, rows


def _rescore(queries: CheckedQueries, documents: Bytes, rows: Rows) -> Floats:
    """The scores of each query's own rows, float32 (q, c), -inf where the row is -1."""
    from llmhash.index.corrections import correct_rows  # Loads numba.
    from llmhash.index.lookup import score_rows

    out = np.empty(rows.shape, np.float32)
    documents, rows, tables = frozen(documents), frozen(rows), frozen(score_tables(queries))
    score_rows(documents, rows, tables, largest_score(queries), out)
    if isinstance(queries, TableQueries) and queries.correction is not None:
        correct_rows(documents, rows, *_correction_arrays(queries, queries.correction), out)
    return out


def _useful_threads(threads: int | None, size: int) -> int:
    return min(thread_count(threads), 1 + size // _BYTES_PER_THREAD)


def _groups(queries: int, width: int, threads: int) -> list[int]:
    return query_bounds(queries, _TABLE_BYTES // (256 * 4 * width), threads)


def _score_all(queries: CheckedQueries, documents: Bytes, start: int, stop: int, out: Floats) -> None:
    from llmhash.index.lookup import score_all  # Loads numba.

    score_all(frozen(documents), start, stop, frozen(score_tables(queries)), largest_score(queries), out)


def _search(
    queries: CheckedQueries, documents: Bytes, k: int, allowed: Mask | None, threads: int
) -> tuple[Floats, Rows]:
    """The k best documents, k being at most the number of eligible ones."""
    groups = _groups(len(queries), documents.shape[1], threads)
    ranges = row_bounds(len(documents), len(groups) - 1, threads)
    best = Best.empty(len(ranges) - 1, len(queries), k)
    sample = documents[sample_rows(len(documents), allowed, len(queries))]
    search = partial(_search_part, documents, allowed=allowed, sample=sample)
    run(
        [
            partial(search, start, stop, queries[i:j], best=best.part(part, slice(i, j)))
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
    queries: CheckedQueries,
    *,
    allowed: Mask | None,
    sample: Bytes,
    best: Best,
) -> None:
    """Find the best of the rows start..stop-1 for a group of queries."""
    eligible = stop - start if allowed is None else int(np.count_nonzero(allowed[start:stop]))
    if not eligible:
        return
    tables = make_tables(queries)
    k = best.ranks.shape[1]
    wanted = _SAMPLE_MARGIN + _SAMPLE_FACTOR * k * len(sample) // eligible
    if wanted <= len(sample):
        likely = Best.empty(len(queries), wanted)
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
    scan = lookup.scan_by_halves if tables.by_halves else lookup.scan_by_bytes
    scan(
        frozen(documents),
        start,
        stop,
        tables.frozen(),
        frozen(np.empty(0, np.uint8) if allowed is None else allowed.view(np.uint8)),
        np.zeros((words, -(-columns // lookup.COLUMNS_UNIT) * lookup.COLUMNS_UNIT), np.uint64),
        best,
    )
