"""Generates LLVM code for what Numba cannot express or compiles slowly: stack tiles, subnormals and `arithmetic`.

Rows of a tile or a sequence are read and written as tuples by one instruction each. With Python's loops or recursion
over a tuple's elements, Numba would compile a function for each element, which would take most of the compile time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, overload, register_jitable, type_callable

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
    """Treat subnormal numbers as 0 in this thread; return the register for `restore_subnormals`.

    Some processors take a hundred times as long for subnormal numbers. On an unknown processor nothing changes.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        control = CONTROLS.get(platform.machine())
        return WORD(0) if control is None else _flush(builder, control)

    return types.uint64(), generate


@intrinsic  # type: ignore[untyped-decorator]
def restore_subnormals(typing_context: Any, word: Any) -> Any:
    """Treat subnormal numbers as before `flush_subnormals`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if control := CONTROLS.get(platform.machine()):
            _write(builder, control, arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


def _flush(builder: Any, control: Control) -> Any:
    """Set the bits that flush subnormals; return the previous register as 64 bits."""
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


for _function in arithmetic.SCALARS:
    register_jitable(**INNER)(_function)
overload(arithmetic.power, jit_options=INNER)(
    lambda y, p: lambda y, p: arithmetic.number(arithmetic.real_power(y, p), y)
)


def _compiled_as(function: Callable[..., Any], types_of: Callable[..., Any], *kinds: Any) -> Callable[..., Any]:
    """Compile calls of a function of `arithmetic` to a few instructions instead of a separate function.

    ``types_of`` returns the result type or the signature for Numba's context and argument types, which are ``kinds``.
    """

    def typing(context: Any) -> Any:
        if len(kinds) == 1:
            return lambda y: types_of(context, y)
        if len(kinds) == 2:
            return lambda y, z: types_of(context, y, z)
        return lambda condition, y, z: types_of(context, condition, y, z)

    type_callable(function)(typing)
    lower: Callable[..., Any] = lower_builtin(function, *kinds)
    return lower


def _of_both(context: Any, y: Any, z: Any) -> Any:
    both = context.unify_types(y, z)
    return both(both, both) if isinstance(both, types.Float) else None


def _type_sqrt(context: Any, y: Any) -> Any:
    root = types.float64 if isinstance(y, types.Integer) else y
    return root(root) if isinstance(root, types.Float) else None


def _type_where(context: Any, condition: Any, y: Any, z: Any) -> Any:
    both = context.unify_types(y, z)
    return both(types.boolean, both, both) if isinstance(both, types.Float) else None


@_compiled_as(arithmetic.sqrt, _type_sqrt, types.Float)
def _sqrt(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    (y,) = arguments
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [y.type]), [y])


@_compiled_as(arithmetic.sign, lambda context, y: y if isinstance(y, types.Float) else None, types.Float)
def _sign(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Compute −1, 0 or 1 as np.sign does, with 0 for −0 and NaN for NaN."""
    (y,) = arguments
    zero, one = ir.Constant(y.type, 0.0), ir.Constant(y.type, 1.0)
    nonzero = builder.select(builder.fcmp_ordered(">", y, zero), one, builder.fneg(one))
    sign = builder.select(builder.fcmp_ordered("==", y, zero), zero, nonzero)
    return builder.select(builder.fcmp_unordered("uno", y, y), y, sign)


@_compiled_as(arithmetic.where, _type_where, types.Boolean, types.Float, types.Float)
def _where(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.select(*arguments)


@_compiled_as(arithmetic.maximum, _of_both, types.Float, types.Float)
def _maximum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Compute y > z ? y : z, which is z if either is NaN."""
    return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)


@_compiled_as(arithmetic.minimum, _of_both, types.Float, types.Float)
def _minimum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)


@_compiled_as(arithmetic.number, lambda context, y, like: like, types.Number, types.Number)
def _number(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.cast(builder, arguments[0], signature.args[0], signature.return_type)
