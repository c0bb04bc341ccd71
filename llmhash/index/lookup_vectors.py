"""What only vector instructions make worth while in the asymmetric scans, for numba kernels.

A bound of a document's loss, in whole steps, is looked up for 32 or 64 documents at a time. It takes an
instruction that looks up 64 entries in two registers (VPERMI2B); where a processor lacks it, every document
passes for promising. As with `vectors`: after a change here, change the files that import this too.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from llmhash.index.jit import intrinsic
from llmhash.index.vectors import (
    BYTE,
    WORD,
    add_to,
    array_data,
    as_mask,
    constant,
    load,
    picked,
    repeated,
    splat,
    sums,
)
from llmhash.index.vectors import words as vector_of

#: Documents that one look at the bound covers, by halves of bytes and by whole bytes.
HALVES_BLOCK, BYTES_BLOCK = 32, 64
_LANES = 8
_WORD_BYTES = 8
_HALVES_WORDS = 32  # The 2 x 8 tables of 16 bytes that belong to the bytes of a word.
_TABLE_WORDS = 32  # The table of 256 bytes that belongs to a byte.
_NIBBLES, _POSITIONS = 0x0F0F0F0F0F0F0F0F, 0x7060504030201000
_EACH_BYTE = 0x0101010101010101
_BYTES = ir.VectorType(BYTE, _LANES * _WORD_BYTES)


@intrinsic
def promising_by_halves(_: Any, planes: Any, at: Any, words: Any, steps: Any, query: Any, limit: Any) -> Any:
    """Which of the block of documents at column `at` lose at most `limit` steps: a bit each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _looks_up(context):
            return constant((1 << HALVES_BLOCK) - 1)
        planes, steps = (array_data(context, builder, signature, args, i) for i in (0, 3))
        at, words, query = args[1], args[2], args[4]
        columns = _size(context, builder, signature, args, 0, 1)
        totals = sums(builder, HALVES_BLOCK // _LANES, _LANES)
        with cgutils.for_range(builder, words) as loop:
            first = builder.mul(builder.add(builder.mul(query, words), loop.index), constant(_HALVES_WORDS))
            tables = [
                load(builder, steps, builder.add(first, constant(part * _LANES)), vector_of(_LANES))
                for part in range(_HALVES_WORDS // _LANES)
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


@intrinsic
def promising_by_bytes(
    _: Any, blocks: Any, block: Any, width: Any, steps: Any, query: Any, limit: Any
) -> Any:
    """Which documents of a block lose at most `limit` steps, up to 255: a bit each.

    `blocks` are uint8 (blocks, 8 * words, 64) of `transpose`, `steps` uint8 (q, width, 256).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _looks_up(context):
            return constant(-1)
        blocks, steps = (array_data(context, builder, signature, args, i) for i in (0, 3))
        width, query = args[2], args[4]
        start = builder.mul(args[1], _size(context, builder, signature, args, 0, 1))
        slot = cgutils.alloca_once_value(builder, ir.Constant(_BYTES, None))
        with cgutils.for_range(builder, width) as loop:
            first = builder.mul(builder.add(builder.mul(query, width), loop.index), constant(_TABLE_WORDS))
            parts = [
                load(builder, steps, builder.add(first, constant(part * _LANES)), _BYTES)
                for part in range(_TABLE_WORDS // _LANES)
            ]
            codes = load(
                builder, blocks, builder.mul(builder.add(start, loop.index), constant(_LANES)), _BYTES
            )
            clear, set_ = (_permute(builder, parts[i], codes, parts[i + 1]) for i in (0, 2))
            top = builder.icmp_signed("<", codes, ir.Constant(_BYTES, None))
            entries = builder.select(top, set_, clear)
            builder.store(_add_saturating(builder, builder.load(slot), entries), slot)
        most = builder.bitcast(splat(builder, builder.mul(args[5], constant(_EACH_BYTE)), _LANES), _BYTES)
        return as_mask(builder, builder.icmp_unsigned("<=", builder.load(slot), most))

    return types.int64(blocks, types.int64, types.int64, steps, types.int64, types.int64), generate


@intrinsic
def transpose(_: Any, planes: Any, word: Any, blocks: Any, block: Any) -> Any:
    """Lay the bytes of a word out one by one, for a block of 64 documents.

    The documents' words stand in `planes`, uint64 (words, columns); the bytes go to `blocks`, uint8 (blocks,
    8 * words, 64), where a block's first bytes are followed by its second bytes and so on.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        planes, blocks = (array_data(context, builder, signature, args, i) for i in (0, 2))
        word, block = args[1], args[3]
        columns = _size(context, builder, signature, args, 0, 1)
        first = builder.add(builder.mul(word, columns), builder.mul(block, constant(BYTES_BLOCK)))
        # Of eight documents, first all first bytes, then all second bytes and so on.
        order = [byte + _WORD_BYTES * lane for byte in range(_WORD_BYTES) for lane in range(_LANES)]
        bytes_first = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        rows = []
        for part in range(_WORD_BYTES):
            octet = load(builder, planes, builder.add(first, constant(part * _LANES)), _BYTES)
            octet = builder.shuffle_vector(octet, octet, bytes_first)
            rows.append(builder.bitcast(octet, vector_of(_LANES)))
        start = builder.mul(block, _size(context, builder, signature, args, 2, 1))
        start = builder.add(start, builder.mul(word, constant(_WORD_BYTES)))
        for byte, row in enumerate(_transposed(builder, rows)):
            _store(builder, row, blocks, builder.mul(builder.add(start, constant(byte)), constant(_LANES)))
        return context.get_dummy_value()

    return types.none(planes, types.int64, blocks, types.int64), generate


@intrinsic
def word_at(_: Any, packed: Any, offset: Any) -> Any:
    """Eight bytes of packed codes as a word, the first byte lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = builder.bitcast(array_data(context, builder, signature, args, 0), BYTE.as_pointer())
        address = builder.gep(data, [args[1]], source_etype=BYTE)
        return builder.load(builder.bitcast(address, WORD.as_pointer()), align=1, typ=WORD)

    return types.uint64(packed, types.int64), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight words as a matrix, transposed: blocks of four, two and one change places."""
    rows = list(rows)
    for size in (4, 2, 1):
        for upper in (row for row in range(_LANES) if not row & size):
            pair = rows[upper], rows[upper + size]
            lanes = range(_LANES)
            left = [lane + (_LANES - size if lane & size else 0) for lane in lanes]
            right = [lane + (_LANES if lane & size else size) for lane in lanes]
            rows[upper], rows[upper + size] = picked(builder, pair, left), picked(builder, pair, right)
    return rows


def _store(builder: Any, vector: Any, data: Any, index: Any) -> None:
    """Put a vector of words from the word `index` on."""
    address = builder.gep(builder.bitcast(data, WORD.as_pointer()), [index], source_etype=WORD)
    builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=8)


def _looks_up(context: Any) -> bool:
    """Whether the processor has VPERMI2B."""
    return "+avx512vbmi" in context.codegen().magic_tuple()[2].split(",")


def _size(context: Any, builder: Any, signature: Any, args: Any, index: int, axis: int) -> Any:
    """The size of the array argument `index` along an axis."""
    kind = signature.args[index]
    shape = context.make_array(kind)(context, builder, args[index]).shape
    return cgutils.unpack_tuple(builder, shape, kind.ndim)[axis]


def _permute(builder: Any, first: Any, index: Any, second: Any) -> Any:
    """The bytes of two vectors that the low seven bits of each byte of an index name."""
    permute = _x86(builder, "vpermi2var.qi.512", _BYTES, [_BYTES] * 3)
    return builder.call(permute, [builder.bitcast(part, _BYTES) for part in (first, index, second)])


def _add_saturating(builder: Any, left: Any, right: Any) -> Any:
    """Sums of bytes, 255 where they are larger."""
    function = ir.FunctionType(_BYTES, [_BYTES] * 2)
    add = cgutils.get_or_insert_function(builder.module, function, "llvm.uadd.sat.v64i8")
    return builder.call(add, [left, right])


def _look_up(builder: Any, first: Any, second: Any, codes: Any) -> Any:
    """The entries of 8 tables of 16 bytes for the low half of each byte, each from its position's table."""
    half = builder.and_(codes, repeated(_NIBBLES, _LANES))
    index = builder.or_(half, repeated(_POSITIONS, _LANES))
    return _permute(builder, first, index, second)


def _sum_bytes(builder: Any, entries: Any) -> Any:
    """The sum of the eight bytes of each word."""
    add = _x86(builder, "psad.bw.512", vector_of(_LANES), [entries.type] * 2)
    return builder.call(add, [entries, ir.Constant(entries.type, [0] * 64)])


def _x86(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.avx512.{name}")
