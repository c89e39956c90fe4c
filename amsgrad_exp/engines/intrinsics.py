"""Generates LLVM code for what Numba cannot express, or compiles slowly.

That is: small arrays on the stack (tiles), the flushing of subnormal numbers, and the functions of `arithmetic`.

Rows of a tile or a sequence are read and written as tuples by one instruction each. With Python's loops or recursion
over a tuple's elements, Numba would compile a function for each element, which would take most of the compile time.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from amsgrad_exp import arithmetic

INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # for functions that only compiled code calls


class Control(NamedTuple):
    """The register that controls a thread's floating-point arithmetic on one kind of processor."""

    bits: int
    flush: int  # the bits that make subnormal operands and results 0
    read: str  # the name of LLVM's instruction, which goes through memory if the register has 32 bits
    write: str


X86 = Control(32, 0x8040, "llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr")
ARM = Control(64, 1 << 24, "llvm.aarch64.get.fpcr", "llvm.aarch64.set.fpcr")
CONTROLS = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}  # Python's names of machines
BYTES, WORD = ir.IntType(8).as_pointer(), ir.IntType(64)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def stack_tile(typing_context: Any, like: Any, rows: Any, width: Any) -> Any:
    """Make an array of rows × width numbers of like's dtype on the stack, aligned to a cache line.

    The compiler then knows its width and alignment, and that nothing else points to it. With np.empty, the loop takes
    one and a half times as long.
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
def read(typing_context: Any, array: Any, first: Any, count: Any, *indices: Any) -> Any:
    """Return the tuple (array[first, *indices], …, array[first + count − 1, *indices]).

    Surplus indices, for which the array has no axis, are ignored. No index may be negative or too large.
    """
    if not isinstance(first, types.IntegerLiteral) or not isinstance(count, types.IntegerLiteral):
        return None
    rows = range(first.literal_value, first.literal_value + count.literal_value)
    result = types.UniTuple(array.dtype, len(rows))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = _pointers(context, builder, array, arguments[0], rows, arguments[3])
        return context.make_tuple(builder, result, [builder.load(pointer) for pointer in pointers])

    return result(array, first, count, types.UniTuple(types.int64, len(indices))), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def write(typing_context: Any, array: Any, first: Any, values: Any, *indices: Any) -> Any:
    """Write a tuple to where `read` would read it, with each number cast to the array's dtype."""
    if not isinstance(first, types.IntegerLiteral) or not isinstance(values, types.BaseTuple):
        return None
    rows = range(first.literal_value, first.literal_value + len(values))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = _pointers(context, builder, array, arguments[0], rows, arguments[3])
        for number, pointer in enumerate(pointers):
            value = builder.extract_value(arguments[2], number)
            builder.store(context.cast(builder, value, values[number], array.dtype), pointer)
        return context.get_dummy_value()

    return types.void(array, first, values, types.UniTuple(types.int64, len(indices))), generate


def _pointers(context: Any, builder: Any, kind: Any, value: Any, rows: range, indices: Any) -> list[Any]:
    """Return pointers to array[row, *indices] for each row."""
    array = context.make_array(kind)(context, builder, value)
    word = context.get_value_type(types.intp)
    own = [builder.extract_value(indices, axis) for axis in range(kind.ndim - 1)]
    return [cgutils.get_item_pointer(context, builder, kind, array, [word(row), *own]) for row in rows]


@intrinsic  # type: ignore[untyped-decorator]
def flush_subnormals(typing_context: Any) -> Any:
    """Treat subnormal numbers as 0 in this thread; return the previous register, for `restore_subnormals`.

    Some processors take a hundred times as long for subnormal numbers. On an unknown processor nothing changes.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        control = CONTROLS.get(platform.machine())
        if control is None:
            return WORD(0)
        if control.bits == WORD.width:
            word = builder.call(_named(builder, control.read, WORD), [])
        else:
            place = builder.alloca(ir.IntType(control.bits))
            builder.call(_named(builder, control.read, ir.VoidType(), BYTES), [builder.bitcast(place, BYTES)])
            word = builder.zext(builder.load(place), WORD)
        _write(builder, control, builder.or_(word, WORD(control.flush)))
        return word

    return types.uint64(), generate


@intrinsic  # type: ignore[untyped-decorator]
def restore_subnormals(typing_context: Any, word: Any) -> Any:
    """Treat subnormal numbers as before `flush_subnormals`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if control := CONTROLS.get(platform.machine()):
            _write(builder, control, arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


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


@intrinsic  # type: ignore[untyped-decorator]
def root(typing_context: Any, y: Any) -> Any:
    """Return √y by LLVM's own instruction; math.sqrt would call a function, which LLVM does not vectorize."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [arguments[0].type]), arguments)

    return y(y), generate


for _function in arithmetic.SCALARS:
    register_jitable(**INNER)(_function)

# What the other functions of `arithmetic` mean for Numba's types of their arguments.
_meaning: Callable[..., Any] = functools.partial(overload, jit_options=INNER)
_meaning(arithmetic.number)(lambda y, like: lambda y, like: type(like)(y))
_meaning(arithmetic.power)(lambda y, p: lambda y, p: arithmetic.number(arithmetic.real_power(y, p), y))
_meaning(arithmetic.sqrt)(
    lambda y: (lambda y: root(float(y))) if isinstance(y, types.Integer) else (lambda y: root(y))  # Numba needs both
)
_meaning(arithmetic.maximum)(lambda y, z: lambda y, z: y if y > z else z)
_meaning(arithmetic.minimum)(lambda y, z: lambda y, z: y if y < z else z)
_meaning(arithmetic.where)(lambda condition, y, z: lambda condition, y, z: y if condition else z)
_meaning(arithmetic.sign)(  # as np.sign: 0 for −0 and NaN for NaN
    lambda y: lambda y: y if y != y else arithmetic.number(1.0 if y > 0 else -1.0 if y < 0 else 0.0, y)
)
