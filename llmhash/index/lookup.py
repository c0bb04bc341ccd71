"""The compiled asymmetric scan: documents' bits scored by a query's real logits, through tables a byte.

A score is a sum of float32 table entries, byte after byte. To find the best k of many documents, hardly any
needs that: vectors of eight documents first sum a lower bound of the *loss*, what a document's wrong bits
take from the best possible score. It comes from tables of half a byte each, rounded down to whole steps of
seven bits, so that 16 tables fill the registers that one instruction looks up 64 entries in (VPERMI2B). Only
documents whose bound leaves them a chance are scored. Where a processor lacks that instruction, all are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from llmhash.index.jit import helper, inlined, intrinsic, kernel
from llmhash.index.sharing import Rows
from llmhash.index.tables import Best, Bytes, Floats, Ranks, Tables, Words
from llmhash.index.vectors import (
    BYTE,
    WORD,
    add_to,
    array_data,
    as_mask,
    constant,
    load,
    lowest_bit,
    popcount,
    repeated,
    splat,
    sums,
)
from llmhash.index.vectors import words as vector_of

BLOCK = 32  # Documents that one look at the bound covers.
_LANES = 8
_TABLE_WORDS = 32  # The 2 x 8 tables of 16 bytes that belong to the bytes of a word.
_NIBBLES, _POSITIONS = 0x0F0F0F0F0F0F0F0F, 0x7060504030201000


@intrinsic
def _promising(_: Any, planes: Any, at: Any, words: Any, steps: Any, query: Any, limit: Any) -> Any:
    """Which of the block of documents at column `at` lose at most `limit` steps: a bit each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if "+avx512vbmi" not in context.codegen().magic_tuple()[2].split(","):
            return constant((1 << BLOCK) - 1)
        planes, steps = (array_data(context, builder, signature, args, i) for i in (0, 3))
        at, words, query = args[1], args[2], args[4]
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        columns = cgutils.unpack_tuple(builder, shape, 2)[1]
        totals = sums(builder, BLOCK // _LANES, _LANES)
        with cgutils.for_range(builder, words) as loop:
            first = builder.mul(builder.add(builder.mul(query, words), loop.index), constant(_TABLE_WORDS))
            tables = [
                load(builder, steps, builder.add(first, constant(part * _LANES)), vector_of(_LANES))
                for part in range(_TABLE_WORDS // _LANES)
            ]
            column = builder.add(builder.mul(loop.index, columns), at)
            for part, total in enumerate(totals):
                codes = load(builder, planes, builder.add(column, constant(part * _LANES)), vector_of(_LANES))
                low = _look_up(builder, tables[0], tables[1], codes)
                high = _look_up(builder, tables[2], tables[3], builder.lshr(codes, repeated(4, _LANES)))
                add_to(builder, total, _sum_bytes(builder, builder.add(low, high)))
        mask = constant(0)
        for part, total in enumerate(totals):
            chance = builder.icmp_unsigned("<=", builder.load(total), splat(builder, args[5], _LANES))
            mask = builder.or_(mask, builder.shl(as_mask(builder, chance), constant(part * _LANES)))
        return mask

    return types.int64(planes, types.int64, types.int64, steps, types.int64, types.int64), generate


def _look_up(builder: Any, first: Any, second: Any, codes: Any) -> Any:
    """The entries of 8 tables of 16 bytes for the low half of each byte, each from its position's table."""
    half = builder.and_(codes, repeated(_NIBBLES, _LANES))
    index = builder.or_(half, repeated(_POSITIONS, _LANES))
    table_bytes = ir.VectorType(BYTE, 64)
    permute = _x86(builder, "vpermi2var.qi.512", table_bytes, [table_bytes] * 3)
    return builder.call(permute, [builder.bitcast(part, table_bytes) for part in (first, index, second)])


def _sum_bytes(builder: Any, entries: Any) -> Any:
    """The sum of the eight bytes of each word."""
    add = _x86(builder, "psad.bw.512", vector_of(_LANES), [entries.type] * 2)
    return builder.call(add, [entries, ir.Constant(entries.type, [0] * 64)])


def _x86(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.avx512.{name}")


@intrinsic
def _word_at(_: Any, packed: Any, offset: Any) -> Any:
    """Eight bytes of packed codes as a word, the first byte lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = builder.bitcast(array_data(context, builder, signature, args, 0), BYTE.as_pointer())
        address = builder.gep(data, [args[1]], source_etype=BYTE)
        return builder.load(builder.bitcast(address, WORD.as_pointer()), align=1, typ=WORD)

    return types.uint64(packed, types.int64), generate


@helper
def _fill(planes: Words, packed: Bytes, first: int, last: int) -> None:
    """Lay the codes of the rows first..last-1 out word by word: planes (words, columns)."""
    width, count = packed.shape[1], last - first
    if width == 8:
        for column in range(count):
            planes[0, column] = _word_at(packed, (first + column) * 8)
        return
    for word in range(planes.shape[0]):
        # A last word may reach into the next code, whose bytes the mask takes away, but not past the array.
        rest = min(8, width - word * 8)
        mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * rest)
        whole = count if rest == 8 or last < packed.shape[0] - 8 else max(0, count - 8)
        for column in range(whole):
            planes[word, column] = _word_at(packed, (first + column) * width + word * 8) & mask
        for column in range(whole, count):
            value = np.uint64(0)
            for byte in range(rest):
                value |= np.uint64(packed[first + column, word * 8 + byte]) << np.uint64(8 * byte)
            planes[word, column] = value


@inlined
def _score(scores: Floats, query: int, packed: Bytes, row: int) -> np.float32:
    total = np.float32(0)
    for byte in range(packed.shape[1]):
        total += scores[query, byte, packed[row, byte]]
    return min(max(total, np.float32(-1)), np.float32(1))


@inlined
def _rank(score: np.float32, codes: Bytes, query: int, packed: Bytes, row: int) -> int:
    """The number that `tables.scores_of` describes."""
    distance = 0
    for byte in range(packed.shape[1]):
        distance += popcount(np.uint64(packed[row, byte] ^ codes[query, byte]))
    bits = int(np.float32(score).view(np.int32))  # numba wants the type beside the view.
    return ((bits if bits >= 0 else bits ^ 0x7FFFFFFF) << 16) - distance


@inlined
def _score_of(rank: int) -> np.float32:
    bits = (rank + 0xFFFF) >> 16
    return np.int32(bits if bits >= 0 else bits ^ 0x7FFFFFFF).view(np.float32)


@inlined
def _worse(rank: int, row: int, than_rank: int, than_row: int) -> bool:
    return rank < than_rank or (rank == than_rank and row > than_row)


@helper
def _push(ranks: Ranks, rows: Rows, held: int, rank: int, row: int) -> None:
    """Add a document to a heap of `held`, the worst of which is on top."""
    place = held
    while place:
        parent = (place - 1) // 2
        if not _worse(rank, row, ranks[parent], rows[parent]):
            break
        ranks[place], rows[place] = ranks[parent], rows[parent]
        place = parent
    ranks[place], rows[place] = rank, row


@helper
def _replace(ranks: Ranks, rows: Rows, held: int, rank: int, row: int) -> None:
    """Put a document into a heap of `held` in place of the one on top."""
    place, child = 0, 1
    while child < held:
        if child + 1 < held and _worse(ranks[child + 1], rows[child + 1], ranks[child], rows[child]):
            child += 1
        if not _worse(ranks[child], rows[child], rank, row):
            break
        ranks[place], rows[place] = ranks[child], rows[child]
        place, child = child, 2 * child + 1
    ranks[place], rows[place] = rank, row


@helper
def _sort(ranks: Ranks, rows: Rows, held: int) -> None:
    """Turn a heap into a list, the best document first."""
    for last in range(held - 1, 0, -1):
        rank, row = ranks[last], rows[last]
        ranks[last], rows[last] = ranks[0], rows[0]
        _replace(ranks, rows, last, rank, row)


@helper
def _skip(planes: Words, at: int, stop: int, steps: Words, query: int, limit: int) -> int:
    """The first column, from `at` on in blocks, whose block has a promising document; else `stop` or more."""
    words = planes.shape[0]
    if words == 1:
        while at < stop and not _promising(planes, at, 1, steps, query, limit):
            at += BLOCK
    else:
        while at < stop and not _promising(planes, at, words, steps, query, limit):
            at += BLOCK
    return at


@helper
def _scan_tile(
    packed: Bytes,
    first: int,
    last: int,
    tables: Tables,
    query: int,
    allowed: Bytes,
    planes: Words,
    best: Best,
) -> None:
    """Offer the rows first..last-1, which `planes` holds, to a query."""
    ranks, rows, held, k = best.ranks[query], best.rows[query], best.held[query], best.ranks.shape[1]
    lowest = _score_of(ranks[0]) if held == k else tables.floor[query]
    at = 0
    while True:
        limit = int((tables.most[query] - lowest + tables.slack[query]) * tables.per_score[query])
        at = _skip(planes, at, last - first, tables.steps, query, limit)
        if at >= last - first:
            break
        promising = _promising(planes, at, planes.shape[0], tables.steps, query, limit)
        while promising:
            row = first + at + lowest_bit(promising)
            promising &= promising - 1
            if row >= last or (allowed.size and not allowed[row]):
                continue
            score = _score(tables.scores, query, packed, row)
            if score < lowest:
                continue
            rank = _rank(score, tables.codes, query, packed, row)
            if held < k:
                _push(ranks, rows, held, rank, row)
                held += 1
            elif rank > ranks[0]:
                _replace(ranks, rows, k, rank, row)
            if held == k:
                lowest = _score_of(ranks[0])
        at += BLOCK
    best.held[query] = held


@kernel
def scan(
    packed: Bytes, start: int, stop: int, tables: Tables, allowed: Bytes, planes: Words, best: Best
) -> None:
    """Find the best of the documents start..stop-1 for each query, by (score, Hamming distance, row).

    Args:
        packed: (n, bytes), the documents' codes.
        start: First row to look at.
        stop: Row after the last one.
        tables: The q queries.
        allowed: By row, whether it may be returned; empty where all may.
        planes: (words, columns) to work in, the columns a multiple of `BLOCK`.
        best: Nothing found yet; it comes back in order, the best document first.
    """
    for first in range(start, stop, planes.shape[1]):
        last = min(stop, first + planes.shape[1])
        _fill(planes, packed, first, last)
        for query in range(best.held.size):
            _scan_tile(packed, first, last, tables, query, allowed, planes, best)
    for query in range(best.held.size):
        _sort(best.ranks[query], best.rows[query], best.held[query])


@kernel
def score_all(packed: Bytes, start: int, stop: int, scores: Floats, out: Floats) -> None:
    """Write the scores of the documents start..stop-1: out (q, n)."""
    for query in range(scores.shape[0]):
        for row in range(start, stop):
            out[query, row] = _score(scores, query, packed, row)


@kernel
def score_rows(packed: Bytes, rows: Rows, scores: Floats, out: Floats) -> None:
    """Write the scores of each query's own candidates, rows (q, c): out (q, c). Row -1 scores -inf."""
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            out[query, place] = _score(scores, query, packed, row) if row >= 0 else np.float32(-np.inf)
