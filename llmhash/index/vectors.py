"""Vectors of 64-bit words for numba kernels, in LLVM's generic terms.

numba's cache on disk watches the file of the entry point only: after a change here, change the files that
import this too, or remove `__pycache__`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from llmhash.index.jit import intrinsic

WORD = ir.IntType(64)
BYTE = ir.IntType(8)
_INDEX = ir.IntType(32)


def words(count: int) -> Any:
    """The type of a vector of `count` words."""
    return ir.VectorType(WORD, count)


def constant(value: int) -> Any:
    """A word."""
    return ir.Constant(WORD, value)


def repeated(value: int, count: int) -> Any:
    """A vector of `count` words that all equal a constant."""
    return ir.Constant(words(count), [value] * count)


def splat(builder: Any, word: Any, count: int) -> Any:
    """A vector of `count` words that all equal a value."""
    blank = ir.Constant(words(count), ir.Undefined)
    first = builder.insert_element(blank, word, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, blank, ir.Constant(ir.VectorType(_INDEX, count), [0] * count))


def picked(builder: Any, vectors: tuple[Any, Any], lanes: list[int]) -> Any:
    """Lanes of two vectors, those of the second numbered on from those of the first."""
    return builder.shuffle_vector(*vectors, ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes))


def array_data(context: Any, builder: Any, signature: Any, args: Any, index: int) -> Any:
    """Where the elements of the array argument `index` begin."""
    return context.make_array(signature.args[index])(context, builder, args[index]).data


def load(builder: Any, data: Any, index: Any, kind: Any = WORD) -> Any:
    """A word, or a vector of them, from the word `index` on."""
    address = builder.gep(builder.bitcast(data, WORD.as_pointer()), [index], source_etype=WORD)
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=8, typ=kind)


def load_first(builder: Any, data: Any, index: Any, lanes: Any, count: int) -> Any:
    """The first `lanes` of the `count` words from the word `index` on, then zeros; nothing beyond is read."""
    kind = words(count)
    address = builder.gep(builder.bitcast(data, WORD.as_pointer()), [index], source_etype=WORD)
    address = builder.bitcast(address, kind.as_pointer())
    wanted = builder.icmp_unsigned("<", ir.Constant(kind, list(range(count))), splat(builder, lanes, count))
    signature = ir.FunctionType(kind, [address.type, _INDEX, wanted.type, kind])
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.load.v{count}i64.p0")
    return builder.call(function, [address, ir.Constant(_INDEX, 8), wanted, repeated(0, count)])


def each(builder: Any, name: str, *vectors: Any) -> Any:
    """Apply LLVM's intrinsic `name` to vectors of words, lane by lane."""
    kind = vectors[0].type
    signature = ir.FunctionType(kind, [kind] * len(vectors))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.v{kind.count}i64")
    return builder.call(function, vectors)


def sums(builder: Any, count: int, lanes: int) -> list[Any]:
    """`count` vectors to add to in a loop, zero at first; LLVM keeps them in registers."""
    slots = [cgutils.alloca_once(builder, words(lanes)) for _ in range(count)]
    for slot in slots:
        builder.store(repeated(0, lanes), slot)
    return slots


def add_to(builder: Any, slot: Any, vector: Any) -> None:
    """Add a vector to one of `sums`."""
    builder.store(builder.add(builder.load(slot), vector), slot)


def as_mask(builder: Any, lanes: Any) -> Any:
    """A vector of booleans as the bits of an int64, the first lane lowest."""
    return builder.zext(builder.bitcast(lanes, ir.IntType(lanes.type.count)), WORD)


@intrinsic
def popcount(_: Any, word: Any) -> Any:
    """How many bits of a uint64 are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_bit(_: Any, mask: Any) -> Any:
    """The index of the lowest set bit of a mask that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
