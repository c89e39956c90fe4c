"""What compiled loops need that Numba has no word for: small arrays on the stack, and subnormal numbers taken as 0."""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, register_jitable


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
def _on_stack(typing_context: Any, like: Any, rows: Any, width: Any) -> Any:
    """A pointer to rows × width numbers of like's dtype in the stack frame, aligned to a cache line."""
    if not isinstance(rows, types.IntegerLiteral) or not isinstance(width, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = ir.ArrayType(context.get_data_type(like.dtype), rows.literal_value * width.literal_value)
        with builder.goto_entry_block():
            pointer = builder.alloca(array)
            pointer.align = 64
        return builder.bitcast(pointer, context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(like, rows, width), generate


@register_jitable  # type: ignore[untyped-decorator]
def stack_tile(like: Any, rows: int, width: int) -> Any:
    """An uninitialized (rows, width) array of like's dtype that lives until the loop returns.

    On the stack the compiler knows its width and alignment, and that nothing else points to it: with np.empty's the
    loop takes one and a half times as long. A function of the module, since a closure over an intrinsic would never be
    found in the cache.
    """
    return carray(_on_stack(like, rows, width), (rows, width))


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
