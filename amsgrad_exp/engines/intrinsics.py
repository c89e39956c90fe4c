"""What compiled loops need that Numba has no word for: tiles of numbers on the stack, and subnormal numbers as 0.

Rows of a tile or a sequence are read and written as tuples by one instruction each. With Python's loops or recursion
over a tuple's elements Numba types and compiles a function per element, which took most of the time of a compilation.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


class Control(NamedTuple):
    """The word that controls a thread's arithmetic on one kind of processor.

    Attributes:
        bits: how many it has.
        flush: those of them that have subnormal operands and results taken as 0.
        read, write: LLVM's names of what does so; in memory where the word is of 32 bits.
    """

    bits: int
    flush: int
    read: str
    write: str


X86 = Control(32, 0x8040, "llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr")
ARM = Control(64, 1 << 24, "llvm.aarch64.get.fpcr", "llvm.aarch64.set.fpcr")
CONTROLS = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}  # as Python calls machines
BYTES, WORD = ir.IntType(8).as_pointer(), ir.IntType(64)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def stack_tile(typing_context: Any, like: Any, rows: Any, width: Any) -> Any:
    """An array of rows × width numbers of like's dtype that lives until the loop returns, aligned to a cache line.

    On the stack the compiler knows its width and alignment, and that nothing else points to it: with np.empty's the
    loop takes one and a half times as long.
    """
    if not isinstance(rows, types.IntegerLiteral) or not isinstance(width, types.IntegerLiteral):
        return None
    shape, tile = (rows.literal_value, width.literal_value), types.Array(like.dtype, 2, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(like.dtype)
        size = context.get_abi_sizeof(number)
        with builder.goto_entry_block():
            pointer = builder.alloca(ir.ArrayType(number, shape[0] * shape[1]))
            pointer.align = 64
        array = context.make_array(tile)(context, builder)
        word = context.get_value_type(types.intp)
        context.populate_array(
            array,
            data=builder.bitcast(pointer, number.as_pointer()),
            shape=cgutils.pack_array(builder, [word(each) for each in shape]),
            strides=cgutils.pack_array(builder, [word(shape[1] * size), word(size)]),
            itemsize=word(size),
            meminfo=None,
        )
        return array._getvalue()

    return tile(like, rows, width), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def column(typing_context: Any, array: Any, first: Any, count: Any, lane: Any) -> Any:
    """(array[first, lane], …, array[first + count − 1, lane]); no index may be negative or too large."""
    if not isinstance(first, types.IntegerLiteral) or not isinstance(count, types.IntegerLiteral):
        return None
    rows = range(first.literal_value, first.literal_value + count.literal_value)
    result = types.UniTuple(array.dtype, len(rows))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = _pointers(context, builder, array, arguments[0], rows, [arguments[3]])
        return context.make_tuple(builder, result, [builder.load(number) for number in numbers])

    return result(array, first, count, types.int64), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def put_column(typing_context: Any, array: Any, first: Any, lane: Any, values: Any) -> Any:
    """Put a tuple into array[first, lane] and the rows after it, each number in the array's dtype."""
    if not isinstance(first, types.IntegerLiteral) or not isinstance(values, types.BaseTuple):
        return None
    rows = range(first.literal_value, first.literal_value + len(values))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = _pointers(context, builder, array, arguments[0], rows, [arguments[2]])
        _store(context, builder, array.dtype, values, arguments[3], pointers)
        return context.get_dummy_value()

    return types.void(array, first, types.int64, values), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def at_step(typing_context: Any, array: Any, count: Any, step: Any, lane: Any) -> Any:
    """What each of ``count`` sequences has at a step: for all lanes (2 axes), or for one (3); none may be outside."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.UniTuple(array.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        indices = arguments[2 : array.ndim + 1]
        numbers = _pointers(context, builder, array, arguments[0], range(count.literal_value), indices)
        return context.make_tuple(builder, result, [builder.load(number) for number in numbers])

    return result(array, count, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def put_at_step(typing_context: Any, array: Any, step: Any, lane: Any, values: Any) -> Any:
    """Put a tuple into as many sequences, (sequences, steps, lanes), at a step of a lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = _pointers(context, builder, array, arguments[0], range(len(values)), arguments[1:3])
        _store(context, builder, array.dtype, values, arguments[3], pointers)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, values), generate


def _pointers(context: Any, builder: Any, kind: Any, value: Any, rows: range, indices: Sequence[Any]) -> list[Any]:
    """To array[row, *indices] of each row."""
    array = context.make_array(kind)(context, builder, value)
    word = context.get_value_type(types.intp)
    return [cgutils.get_item_pointer(context, builder, kind, array, [word(row), *indices]) for row in rows]


def _store(context: Any, builder: Any, dtype: Any, kinds: Any, values: Any, pointers: Sequence[Any]) -> None:
    for number, pointer in enumerate(pointers):
        value = builder.extract_value(values, number)
        builder.store(context.cast(builder, value, kinds[number], dtype), pointer)


@intrinsic  # type: ignore[untyped-decorator]
def flush_subnormals(typing_context: Any) -> Any:
    """Have this thread take subnormal numbers as 0 from here on; return the word for `restore_subnormals`.

    An operation on one takes some processors a hundred times as long. Where it is not known how, nothing changes.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        control = CONTROLS.get(platform.machine())
        return WORD(0) if control is None else _flush(builder, control)

    return types.uint64(), generate


@intrinsic  # type: ignore[untyped-decorator]
def restore_subnormals(typing_context: Any, word: Any) -> Any:
    """Have this thread take subnormal numbers as it did before `flush_subnormals`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if control := CONTROLS.get(platform.machine()):
            _write(builder, control, arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


def _flush(builder: Any, control: Control) -> Any:
    """Set the bits; the word as it was, of 64 bits."""
    if control.bits == WORD.width:
        word = builder.call(_named(builder, control.read, WORD), [])
    else:
        place = builder.alloca(ir.IntType(control.bits))
        builder.call(_named(builder, control.read, ir.VoidType(), BYTES), [builder.bitcast(place, BYTES)])
        word = builder.zext(builder.load(place), WORD)
    _write(builder, control, builder.or_(word, WORD(control.flush)))
    return word


def _write(builder: Any, control: Control, word: Any) -> None:
    if control.bits == WORD.width:
        builder.call(_named(builder, control.write, ir.VoidType(), WORD), [word])
    else:
        narrow = ir.IntType(control.bits)
        place = builder.alloca(narrow)
        builder.store(builder.trunc(word, narrow), place)
        builder.call(_named(builder, control.write, ir.VoidType(), BYTES), [builder.bitcast(place, BYTES)])


def _named(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    return builder.module.declare_intrinsic(name, (), ir.FunctionType(result, arguments))
