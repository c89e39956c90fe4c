"""The functions that recorded programs call: compiled by Numba in a loop, and on NumPy arrays for trials in Python.

Kinds of numbers have a letter: f float32, d float64, h bfloat16 (held as float32 and rounded after each operation),
i int64, b bool. A name that ends in ``_f`` or ``_d`` is of that kind.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

KINDS = {torch.float32: "f", torch.float64: "d", torch.bfloat16: "h", torch.bool: "b"} | dict.fromkeys(
    (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8), "i"
)
CASTS = {"f": "f32({})", "d": "f64({})", "h": "bf({})", "i": "int64({})", "b": "({} != 0)"}
UNARY = ("exp", "log", "log1p", "expm1", "tanh", "sin", "cos", "log2", "log10", "erf", "atan")
BINARY = ("pow", "atan2", "hypot")

# torch's x86 wheels compute these with Intel's vector library, whose functions they export. The mode is that of
# ATen/cpu/vml.h: VML_HA | VML_ERRMODE_IGNORE | VML_FTZDAZ_OFF.
VML = {name: name.upper() for name in ("sqrt", *UNARY)} | {"log": "LN"}
VML_MODE = 0x2 | 0x100 | 0x140000

C_TYPES = {"f": ctypes.c_float, "d": ctypes.c_double}
DTYPES: dict[str, Any] = {"f": np.float32, "d": np.float64, "h": np.float32, "i": np.int64, "b": np.bool_}
_libm = ctypes.CDLL(ctypes.util.find_library("m"))


def bf_array(x: Any) -> Any:
    """Round float32 numbers to bfloat16's 8 bits, ties to even."""
    bits = np.float32(x).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )
    return np.where(bits & np.uint32(0x7F800000) == np.uint32(0x7F800000), np.float32(x), rounded)[()]


def _on_arrays(function: Callable[..., Any], arguments: int, kind: str) -> Callable[..., Any]:
    """A function of C numbers, for NumPy arrays and numbers."""
    each = np.frompyfunc(function, arguments, 1)
    return lambda *values: DTYPES[kind](each(*values))


def _from_libm(name: str, arguments: int, kind: str) -> Callable[..., Any]:
    function = getattr(_libm, name + ("f" if kind == "f" else ""))
    function.restype, function.argtypes = C_TYPES[kind], [C_TYPES[kind]] * arguments
    return _on_arrays(lambda *values: function(*map(float, values)), arguments, kind)


def _from_vml(symbol: Any, kind: str) -> Callable[..., Any]:
    one, mode = ctypes.c_int(1), ctypes.c_int64(VML_MODE)

    def function(x: Any) -> float:
        argument, result = C_TYPES[kind](float(x)), C_TYPES[kind]()
        symbol(ctypes.byref(one), ctypes.byref(argument), ctypes.byref(result), ctypes.byref(mode))
        return result.value

    return _on_arrays(function, 1, kind)


ON_ARRAYS: dict[str, Any] = {
    "np": np,
    "f32": np.float32,
    "f64": np.float64,
    "int64": np.int64,
    "bf": bf_array,
    "where": np.where,
    "inf": np.inf,
    "nan": np.nan,
    "mod": _on_arrays(operator.mod, 2, "d"),
    "floordiv": _on_arrays(operator.floordiv, 2, "d"),
}
"""What the text of a program means on NumPy arrays."""


@intrinsic  # type: ignore[untyped-decorator]
def fma_f(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, rounded once, in float32."""
    return types.float32(types.float32, types.float32, types.float32), lambda _, builder, sig, args: builder.fma(*args)


@intrinsic  # type: ignore[untyped-decorator]
def fma_d(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, rounded once, in float64."""
    return types.float64(types.float64, types.float64, types.float64), lambda _, builder, sig, args: builder.fma(*args)


@intrinsic  # type: ignore[untyped-decorator]
def _bits(context: Any, x: Any) -> Any:
    return types.uint32(types.float32), lambda _, builder, sig, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic  # type: ignore[untyped-decorator]
def _of_bits(context: Any, x: Any) -> Any:
    return types.float32(types.uint32), lambda _, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@register_jitable  # type: ignore[untyped-decorator]
def bf(x: Any) -> Any:
    """As `bf_array`, of one number."""
    y = np.float32(x)
    b = np.uint32(_bits(y))
    if (b & np.uint32(0x7F800000)) == np.uint32(0x7F800000):
        return y
    return _of_bits(np.uint32((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)))


@register_jitable  # type: ignore[untyped-decorator]
def where(condition: Any, a: Any, b: Any) -> Any:
    """One of two numbers of one kind."""
    return a if condition else b


@register_jitable  # type: ignore[untyped-decorator]
def mod(a: Any, b: Any) -> Any:
    """Python's a % b."""
    return a % b


@register_jitable  # type: ignore[untyped-decorator]
def floordiv(a: Any, b: Any) -> Any:
    """Python's a // b."""
    return a // b


def _external(name: str, symbol: str, kind: Any, arguments: int) -> Any:
    """A compiled call of a C function, which LLVM finds by its symbol."""

    def typed(context: Any, *values: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, given: Any) -> Any:
            real = given[0].type
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * arguments), symbol)
            return builder.call(called, given)

        return kind(*[kind] * arguments), generate

    one, two = (lambda context, a: typed(context, a)), (lambda context, a, b: typed(context, a, b))
    return _named(name, one if arguments == 1 else two)


def _vml(name: str, symbol: str, kind: Any) -> Any:
    """A compiled call of a VML function for one number."""

    def typed(context: Any, x: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            i32, i64, real = ir.IntType(32), ir.IntType(64), arguments[0].type
            argument, result = cgutils.alloca_once(builder, real), cgutils.alloca_once(builder, real)
            one, mode = cgutils.alloca_once_value(builder, i32(1)), cgutils.alloca_once_value(builder, i64(VML_MODE))
            builder.store(arguments[0], argument)
            pointers = [i32.as_pointer(), real.as_pointer(), real.as_pointer(), i64.as_pointer()]
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), pointers), symbol)
            builder.call(called, [one, argument, result, mode])
            return builder.load(result)

        return kind(kind), generate

    return _named(name, typed)


def _named(name: str, function: Any) -> Any:
    function.__name__ = name
    return intrinsic(function)


COMPILED: dict[str, Any] = {
    "np": np,
    "f32": np.float32,
    "f64": np.float64,
    "int64": np.int64,
    "inf": np.inf,
    "nan": np.nan,
    "bf": bf,
    "where": where,
    "mod": mod,
    "floordiv": floordiv,
    "fma_f": fma_f,
    "fma_d": fma_d,
}
"""What the text of a program means in compiled code."""


def _fill_tables() -> None:
    numbers = {"f": types.float32, "d": types.float64}
    names = {**dict.fromkeys(UNARY, 1), **dict.fromkeys(BINARY, 2)}
    for kind, number in numbers.items():
        ON_ARRAYS[f"fma_{kind}"] = _from_libm("fma", 3, kind)
        for name, arguments in names.items():
            ON_ARRAYS[f"{name}_{kind}"] = _from_libm(name, arguments, kind)
            ours = f"{name}_{kind}"
            COMPILED[ours] = _external(ours, name + ("f" if kind == "f" else ""), number, arguments)
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    torch_cpu = ctypes.CDLL(str(library)) if library.exists() else None
    for name, vml in VML.items():
        for kind, letter in (("f", "S"), ("d", "D")):
            function = getattr(torch_cpu, f"VM{letter}{vml}_", None)
            if function is not None:
                ours = f"vml_{name}_{kind}"
                binding.add_symbol(f"amsgrad_exp_{ours}", ctypes.cast(function, ctypes.c_void_p).value)
                ON_ARRAYS[ours] = _from_vml(function, kind)
                COMPILED[ours] = _vml(ours, f"amsgrad_exp_{ours}", numbers[kind])


_fill_tables()
