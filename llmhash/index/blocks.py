"""Comparing a block of codes with queries at once: the innermost steps of the exact Hamming scan.

Codes are rows of 64-bit words. `octet_below` lays eight queries side by side in a vector and takes the codes
of a block one by one: whatever their width, nothing has to be rearranged, and each code is read once for
eight queries. `any_below` and `rows_below` lay codes side by side, for one query.

numba's cache on disk watches the file of the entry point only: after a change here, change the files that
import this too, or remove `__pycache__`.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils

from llmhash.index.jit import intrinsic
from llmhash.index.vectors import (
    add_to,
    array_data,
    as_mask,
    constant,
    each,
    load,
    load_first,
    picked,
    splat,
    sums,
    words,
)

LANES = 8  # 64-bit words in a vector.
BLOCK = 16  # Codes looked at before the answer is used: their sums of popcounts fill half the registers.


@intrinsic
def octet_below(_: Any, codes: Any, row: Any, width: Any, octets: Any, octet: Any, limits: Any) -> Any:
    """Which of an octet's queries have a code nearer than their limit in the block at `row`: a bit each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes, octets, limits = (array_data(context, builder, signature, args, i) for i in (0, 3, 5))
        row, width, octet = args[1], args[2], args[4]
        totals = sums(builder, BLOCK, LANES)
        _compare_octet(builder, codes, row, width, octets, octet, (constant(0), width), totals)
        return _lanes_below(builder, totals, limits, octet)

    return types.int64(codes, types.int64, types.int64, octets, types.int64, limits), generate


@intrinsic
def octet_below_early(
    _: Any, codes: Any, row: Any, width: Any, probe: Any, octets: Any, octet: Any, limits: Any
) -> Any:
    """The same, but if none can be once `probe` of the `width` words are compared, the rest is left."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes, octets, limits = (array_data(context, builder, signature, args, i) for i in (0, 4, 6))
        row, width, probe, octet = args[1], args[2], args[3], args[5]
        totals = sums(builder, BLOCK, LANES)
        _compare_octet(builder, codes, row, width, octets, octet, (constant(0), probe), totals)
        below = cgutils.alloca_once_value(builder, _lanes_below(builder, totals, limits, octet))
        undecided = cgutils.is_not_null(builder, builder.load(below))
        with builder.if_then(builder.and_(undecided, builder.icmp_unsigned("<", probe, width))):
            _compare_octet(builder, codes, row, width, octets, octet, (probe, width), totals)
            builder.store(_lanes_below(builder, totals, limits, octet), below)
        return builder.load(below)

    return types.int64(codes, types.int64, types.int64, types.int64, octets, types.int64, limits), generate


def _compare_octet(
    builder: Any,
    codes: Any,
    row: Any,
    width: Any,
    octets: Any,
    octet: Any,
    among: tuple[Any, Any],
    totals: list[Any],
) -> None:
    """Add the differing bits of the words from among[0] up to among[1]: a vector a code, a lane a query."""
    with cgutils.for_range(builder, among[1], among[0]) as loop:
        at = builder.mul(builder.add(builder.mul(octet, width), loop.index), constant(LANES))
        query = load(builder, octets, at, words(LANES))
        for step, total in enumerate(totals):
            at = builder.add(builder.mul(builder.add(row, constant(step)), width), loop.index)
            differing = builder.xor(splat(builder, load(builder, codes, at), LANES), query)
            add_to(builder, total, each(builder, "ctpop", differing))


def _lanes_below(builder: Any, totals: list[Any], limits: Any, octet: Any) -> Any:
    nearest = builder.load(totals[0])
    for total in totals[1:]:
        nearest = each(builder, "umin", nearest, builder.load(total))
    limit = load(builder, limits, builder.mul(octet, constant(LANES)), words(LANES))
    return as_mask(builder, builder.icmp_unsigned("<", nearest, limit))


def _make_below(width: int, *, rows: bool) -> Any:
    """A comparison for codes of `width` words, a divisor of eight, or of `count` words where that is 0."""

    @intrinsic
    def below(_: Any, codes: Any, row: Any, count: Any, queries: Any, query: Any, limit: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            codes, queries = (array_data(context, builder, signature, args, i) for i in (0, 3))
            row, count, query = args[1], constant(width) if width else args[2], args[4]
            limit = splat(builder, args[5], LANES)
            totals = []
            for first in range(0, BLOCK, LANES):
                at = builder.mul(builder.add(row, constant(first)), count)
                asked = builder.mul(query, count)
                if width:
                    partial = _compare_narrow(builder, codes, at, queries, asked, width)
                else:
                    partial = _compare_wide(builder, codes, at, queries, asked, count)
                totals.append(_sum_rows(builder, partial, in_order=rows))
            if not rows:
                nearest = each(builder, "umin", *totals)
                return as_mask(builder, builder.icmp_unsigned("<", nearest, limit))
            low, high = (as_mask(builder, builder.icmp_unsigned("<", total, limit)) for total in totals)
            return builder.or_(low, builder.shl(high, constant(LANES)))

        return types.int64(codes, types.int64, types.int64, queries, types.int64, types.int64), generate

    return below


def _compare_narrow(builder: Any, codes: Any, at: Any, queries: Any, asked: Any, width: int) -> list[Any]:
    """The differing bits of eight codes, `width` a divisor of eight: a word a lane, code after code."""
    query = load(builder, queries, asked, words(width))
    query = picked(builder, (query, query), [lane % width for lane in range(LANES)])
    return [
        each(builder, "ctpop", builder.xor(load(builder, codes, word, words(LANES)), query))
        for word in (builder.add(at, constant(part * LANES)) for part in range(width))
    ]


def _compare_wide(builder: Any, codes: Any, at: Any, queries: Any, asked: Any, count: Any) -> list[Any]:
    """The differing bits of eight codes of `count` words: a vector a code, which its lanes add up to."""
    totals = sums(builder, LANES, LANES)
    rest = builder.and_(count, constant(LANES - 1))
    whole = builder.sub(count, rest)
    with cgutils.for_range(builder, builder.lshr(whole, constant(LANES.bit_length() - 1))) as loop:
        word = builder.mul(loop.index, constant(LANES))
        query = load(builder, queries, builder.add(asked, word), words(LANES))
        for code, total in enumerate(totals):
            start = builder.add(at, builder.add(builder.mul(constant(code), count), word))
            differing = builder.xor(load(builder, codes, start, words(LANES)), query)
            add_to(builder, total, each(builder, "ctpop", differing))
    with builder.if_then(cgutils.is_not_null(builder, rest)):
        query = load_first(builder, queries, builder.add(asked, whole), rest, LANES)
        for code, total in enumerate(totals):
            start = builder.add(at, builder.add(builder.mul(constant(code), count), whole))
            differing = builder.xor(load_first(builder, codes, start, rest, LANES), query)
            add_to(builder, total, each(builder, "ctpop", differing))
    return [builder.load(total) for total in totals]


def _sum_rows(builder: Any, vectors: list[Any], *, in_order: bool) -> Any:
    """The sum over each eighth of the lanes of 1, 2, 4 or 8 vectors, in their order or in any.

    Neighbouring vectors are added half to half until one is left. Which halves is chosen so that lanes move
    as little as they can: within pairs first, then within fours.
    """
    rows = [[(part * LANES + lane) // len(vectors) for lane in range(LANES)] for part in range(len(vectors))]
    span = 1
    while len(vectors) > 1:
        left = [lane for lane in range(LANES) if not lane & span]
        low = sorted(
            [*left, *(lane + LANES for lane in left)], key=lambda lane: (lane % LANES // (2 * span), lane)
        )
        high = [lane + span for lane in low]
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        vectors = [builder.add(picked(builder, pair, low), picked(builder, pair, high)) for pair in pairs]
        rows = [[[*a, *b][lane] for lane in low] for a, b in zip(rows[::2], rows[1::2], strict=True)]
        span *= 2
    if in_order:
        return picked(builder, (vectors[0], vectors[0]), [rows[0].index(row) for row in range(LANES)])
    return vectors[0]


#: By words a code, 0 standing for any number: whether a code of the block at `row` is nearer than the limit.
ANY_BELOW = {width: _make_below(width, rows=False) for width in (0, 1, 2, 4, 8)}
#: Likewise: which of them are, a bit each.
ROWS_BELOW = {width: _make_below(width, rows=True) for width in (0, 1, 2, 4)}
