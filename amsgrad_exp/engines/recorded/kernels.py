"""Finds, by trial, scalar expressions that have the same bits as torch's kernels on tensors of one element.

An expression means the same in compiled code (`COMPILED`) and in trials on arrays (`ON_ARRAYS`). Each kind of number
has a letter: f float32, d float64, h bfloat16 (held as float32 and rounded after each operation), i int64, b bool. A
function whose name ends in ``_f`` or ``_d`` computes in that kind.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable
from torch import Tensor

KINDS = {torch.float32: "f", torch.float64: "d", torch.bfloat16: "h", torch.bool: "b", torch.int64: "i"}
CASTS = {"f": "f32({})", "d": "f64({})", "h": "bf({})", "i": "int64({})", "b": "({} != 0)"}
DTYPES: dict[str, Any] = {"f": np.float32, "d": np.float64, "h": np.float32, "i": np.int64, "b": np.bool_}

UNARY = ("exp", "log", "log1p", "expm1", "tanh", "sin", "cos", "log2", "log10", "erf", "atan")
ARGUMENTS = dict.fromkeys(UNARY, 1) | dict.fromkeys(("pow", "atan2", "hypot"), 2) | {"fma": 3}
# torch's x86 wheels compute these functions with Intel's vector library and export its symbols. The mode is that of
# ATen/cpu/vml.h: VML_HA | VML_ERRMODE_IGNORE | VML_FTZDAZ_OFF.
VML = {name: name.upper() for name in ("sqrt", *UNARY)} | {"log": "LN"}
VML_MODE = 0x2 | 0x100 | 0x140000


def _choose(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


def _to_bfloat16(where: Callable[..., Any]) -> Callable[[Any], Any]:
    """Make a function that rounds float32 numbers to the 8 significant bits of bfloat16, ties to even."""

    def bf(x: Any) -> Any:
        number = np.float32(x)
        bits, exponent = number.view(np.uint32), np.uint32(0x7F800000)
        up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        rounded = np.uint32((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)
        return where((bits & exponent) == exponent, number, rounded)

    return bf


def _on_arrays(function: Callable[..., Any], arguments: int, kind: str) -> Callable[..., Any]:
    """Make a function of C numbers work on NumPy arrays and numbers."""
    each = np.frompyfunc(function, arguments, 1)
    return lambda *values: DTYPES[kind](each(*values))


def _vml_compiled(name: str, number: Any) -> Any:
    """Make a function for compiled code that calls the function of Intel's library with this name."""

    def vml(_: Any, x: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, given: Any) -> Any:
            i32, i64, real = ir.IntType(32), ir.IntType(64), given[0].type
            argument, result = cgutils.alloca_once_value(builder, given[0]), cgutils.alloca_once(builder, real)
            one, mode = cgutils.alloca_once_value(builder, i32(1)), cgutils.alloca_once_value(builder, i64(VML_MODE))
            kind = ir.FunctionType(ir.VoidType(), [each.as_pointer() for each in (i32, real, real, i64)])
            called = cgutils.get_or_insert_function(builder.module, kind, f"amsgrad_exp_{name}")
            builder.call(called, [one, argument, result, mode])
            return builder.load(result)

        return number(number), generate

    vml.__name__ = name
    return intrinsic(vml)


def _vml_in_python(function: Any, real: Any) -> Callable[[float], float]:
    one, mode = ctypes.c_int(1), ctypes.c_int64(VML_MODE)

    def call(x: float) -> float:
        argument, result = real(x), real()
        function(ctypes.byref(one), ctypes.byref(argument), ctypes.byref(result), ctypes.byref(mode))
        number: float = result.value
        return number

    return call


def _fill_tables() -> None:
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    torch_cpu = ctypes.CDLL(str(library)) if library.exists() else None
    reals: dict[str, Any] = {"f": (ctypes.c_float, types.float32), "d": (ctypes.c_double, types.float64)}
    for kind, (real, number) in reals.items():
        for name, arguments in ARGUMENTS.items():
            symbol, ours = name + ("f" if kind == "f" else ""), f"{name}_{kind}"
            function = getattr(libm, symbol)
            function.restype, function.argtypes = real, [real] * arguments
            ON_ARRAYS[ours] = _on_arrays(function, arguments, kind)
            symbol = f"llvm.fma.f{number.bitwidth}" if name == "fma" else symbol
            COMPILED[ours] = types.ExternalFunction(symbol, number(*[number] * arguments))
            COMPILED[ours].__name__ = ours
        for name, vml in VML.items():
            function = getattr(torch_cpu, f"VM{'S' if kind == 'f' else 'D'}{vml}_", None)
            if function is not None:
                ours = f"vml_{name}_{kind}"
                binding.add_symbol(f"amsgrad_exp_{ours}", ctypes.cast(function, ctypes.c_void_p).value)
                ON_ARRAYS[ours] = _on_arrays(_vml_in_python(function, real), 1, kind)
                COMPILED[ours] = _vml_compiled(ours, number)


_BOTH = {"np": np, "f32": np.float32, "f64": np.float64, "int64": np.int64, "inf": np.inf, "nan": np.nan}
_where = register_jitable(_choose)
COMPILED: dict[str, Any] = {**_BOTH, "where": _where, "bf": register_jitable(_to_bfloat16(_where))}
ON_ARRAYS: dict[str, Any] = {**_BOTH, "where": lambda *values: np.asarray(np.where(*values))[()]}
ON_ARRAYS["bf"] = _to_bfloat16(ON_ARRAYS["where"])
_fill_tables()


def _choices(sign: str) -> str:
    """Return the expressions of a maximum or minimum; they differ in how they treat NaN and the sign of 0."""
    either = ("{0}", "{1}"), ("{1}", "{0}")
    ways = [f"where({a} {s} {b}, {a}, {b})" for a, b in either for s in (sign, sign + "=")]
    with_nan = [f"where(({a} != {a}) | ({a} {s} {b}), {a}, {b})" for a, b in either for s in (sign, sign + "=")]
    rest = [f"where({a} != {a}, {b}, where({b} != {b}, {a}, {way}))" for a, b in either for way in ways]
    return "; ".join([*with_nan, *ways, *rest])


_LERP = "; ".join(
    f"where(abs({{2}}) < {{half}}, {low}, {high})"
    for low in ("fma_{K}({2}, {1} - {0}, {0})", "{0} + {2} * ({1} - {0})")
    for high in (
        "fma_{K}({1} - {0}, {2} - {one}, {1})",
        "{1} - ({1} - {0}) * ({one} - {2})",
        "fma_{K}(-({1} - {0}), {one} - {2}, {1})",
    )
)
_MATMUL = "; ".join(
    form.replace("AB", product)
    for product in ("({1} * {2} + {zero})", "({1} * {2})")
    for form in ("fma_{K}({3}, {0}, {4} * AB)", "{3} * {0} + {4} * AB", "fma_{K}({4}, AB, {3} * {0})")
)
_WORDS = {"LERP": _LERP, "MATMUL": _MATMUL, "LARGER": _choices(">"), "SMALLER": _choices("<")}
_WORDS["SIGN"] = "where({0} > 0, {one}, where({0} < 0, -{one}, {zero}))"

_LINES = """
add: self other alpha: fma_{K}({2}, {1}, {0}); {0} + {2} * {1}
sub: self other alpha: fma_{K}(-{2}, {1}, {0}); {0} - {2} * {1}
rsub: self other alpha: fma_{K}(-{2}, {0}, {1}); {1} - {2} * {0}
add 1.0: self other: {0} + {1}
sub 1.0: self other: {0} - {1}
rsub 1.0: self other: {1} - {0}
mul: self other: {0} * {1}
div: self other: {0} / {1}; {0} * ({one} / {1})
addcmul: self tensor1 tensor2 value: fma_{K}({3} * {1}, {2}, {0}); {0} + {3} * {1} * {2}; \
{0} + {3} * ({1} * {2}); fma_{K}({3}, {1} * {2}, {0})
addcdiv: self tensor1 tensor2 value: {0} + {3} * {1} / {2}; {0} + {3} * ({1} / {2}); fma_{K}({3}, {1} / {2}, {0})
addcmul 1.0: self tensor1 tensor2: fma_{K}({1}, {2}, {0}); {0} + {1} * {2}
addcdiv 1.0: self tensor1 tensor2: {0} + {1} / {2}
lerp: self end weight: LERP
neg: self: -{0}
abs: self: abs({0})
sqrt: self: np.sqrt({0}); vml_sqrt_{K}({0})
rsqrt: self: {one} / np.sqrt({0}); {one} / vml_sqrt_{K}({0})
reciprocal: self: {one} / {0}
square: self: {0} * {0}
sign, sgn: self: SIGN; where({0} != {0}, {0}, SIGN)
maximum, fmax: self other: LARGER
minimum, fmin: self other: SMALLER
clamp_min: self min: LARGER
clamp_max: self max: SMALLER
clamp: self min max: where({2} < where({0} < {1}, {1}, {0}), {2}, where({0} < {1}, {1}, {0}))
hypot: self other: hypot_{K}({0}, {1}); np.sqrt({0} * {0} + {1} * {1})
nan_to_num: self: where({0} != {0}, {zero}, where({0} > {max}, {max}, where({0} < -{max}, -{max}, {0})))
relu: self: where({0} != {0}, {0}, where({0} > {zero}, {0}, {zero}))
sigmoid: self: {one} / ({one} + exp_{K}(-{0}))
floor: self: np.floor({0})
ceil: self: np.ceil({0})
atan2: self other: atan2_{K}({0}, {1}); f32(atan2_d(f64({0}), f64({1})))
where: condition self other: where({0}, {1}, {2})
masked_fill: mask value self: where({0}, {1}, {2})
index_put: indices values self: where({0}, {1}, {2})
linalg_vector_norm, norm: self: abs({0}); np.sqrt({0} * {0}); f32(np.sqrt(f64({0}) * f64({0})))
mm, bmm: self mat2: {0} * {1} + {zero}; {0} * {1}
dot: self tensor: {0} * {1} + {zero}; {0} * {1}
mv: self vec: {0} * {1} + {zero}; {0} * {1}
addmm: self mat1 mat2 beta alpha: MATMUL
baddbmm: self batch1 batch2 beta alpha: MATMUL
isnan: self: ({0} != {0})
isfinite: self: ({0} - {0} == 0)
isinf: self: (abs({0}) == inf)
logical_and: self other: (({0} != 0) & ({1} != 0))
logical_or: self other: (({0} != 0) | ({1} != 0))
logical_xor: self other: (({0} != 0) != ({1} != 0))
logical_not, bitwise_not: self: ({0} == 0)
bitwise_and: self other: ({0} & {1})
bitwise_or: self other: ({0} | {1})
gt: self other: ({0} > {1})
lt: self other: ({0} < {1})
ge: self other: ({0} >= {1})
le: self other: ({0} <= {1})
eq: self other: ({0} == {1})
ne: self other: ({0} != {1})
pow: self exponent: pow_{K}({0}, {1}); f32(pow_d(f64({0}), f64({1})))
pow 2.0: self: {0} * {0}
pow 3.0: self: {0} * {0} * {0}
pow 0.5: self: np.sqrt({0}); vml_sqrt_{K}({0})
pow -0.5: self: {one} / np.sqrt({0}); {one} / vml_sqrt_{K}({0})
pow -1.0: self: {one} / {0}
pow -2.0: self: {one} / ({0} * {0})
pow 1.0: self: {0}
pow 0.0: self: {one}
clone, alias, contiguous, _to_copy, lift_fresh, lift_fresh_copy, _unsafe_view, repeat, cat, stack, sum, mean, \
amax, amin, prod, median, max, min, nansum, cumsum, trace, any, all, squeeze_copy, view_copy, detach_copy, \
expand_copy, logsumexp, _reshape_copy: \
self: {0}; {0} + {zero}
"""


def _table() -> dict[str, tuple[list[str], list[str]]]:
    table: dict[str, tuple[list[str], list[str]]] = {}
    for line in _LINES.strip().split("\n"):
        names, operands, templates = line.split(": ")
        for word, text in _WORDS.items():
            templates = templates.replace(word, text)
        table |= dict.fromkeys(names.split(", "), (operands.split(), templates.split("; ")))
    for name in UNARY:
        table[name] = ["self"], [f"vml_{name}_{{K}}({{0}})", f"{name}_{{K}}({{0}})", f"f32({name}_d(f64({{0}})))"]
    return table


TABLE = _table()
"""For each operation, the names of its operands in torch's schema, and the expressions that may match its kernel.

A number after the name is the operation's constant factor or exponent; ``{K}`` stands for the letter of the kind."""
CONDITIONS = ("where", "masked_fill", "index_put")  # operations whose first operand is a condition
OF_INTEGERS = (
    *("add", "sub", "maximum", "minimum", "clamp", "where", "clone", "_to_copy", "sum", "max", "min", "cat", "stack"),
)
"""Operations that map small integers to small integers; only these are known to be exact in a run's state."""


def candidates(name: str, fixed: Mapping[str, Any]) -> tuple[list[str], list[str]] | None:
    """Return an operation's operands and candidate expressions, chosen by its constant arguments."""
    if name == "clamp" and None in (fixed.get("min", 0), fixed.get("max", 0)):
        name = "clamp_max" if fixed.get("min", 0) is None else "clamp_min"
    if name == "div" and fixed.get("rounding_mode"):
        return None
    factor = fixed.get({"pow": "exponent", "addcmul": "value", "addcdiv": "value"}.get(name, "alpha"))
    special = f"{name} {float(factor)!r}" if isinstance(factor, int | float) else ""
    return TABLE.get(special) or TABLE.get(name)


def expression(template: str, operands: Sequence[str], kind: str) -> str:
    """Fill a template with operands; bfloat16 is computed in float32 and then rounded."""
    k = "f" if kind == "h" else kind
    cast = CASTS[k].format
    largest = repr(float(np.finfo(np.float64 if k == "d" else np.float32).max))
    text = template.format(*operands, K=k, one=cast("1"), half=cast("0.5"), zero=cast("0"), max=cast(largest))
    return f"bf({text})" if kind == "h" else text


OPERANDS = 2048  # operands in each trial; the second half has special numbers among ordinary ones
USUAL = (0.1, 0.9, 0.001, 0.999, 0.01, 1.0, 0.5, 1e-8, -1e-3, 0.0, 2.0, 3.0, -0.5, -1.0, -2.0)  # half of Python numbers
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 5e-324, -3e-310, 1e38, 3e-38)


def _random(numbers: np.random.Generator, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bool:
        return torch.from_numpy(numbers.random(OPERANDS) < 0.5)
    if KINDS[dtype] == "i":
        return torch.from_numpy(numbers.integers(-100, 100, OPERANDS)).to(dtype)
    spread = np.where(np.arange(OPERANDS) % 4 == 0, 1, 9)
    data = np.exp(numbers.uniform(-spread, spread)) * np.where(numbers.random(OPERANDS) < 0.5, -1, 1)
    special = (np.arange(OPERANDS) >= OPERANDS // 2) & (numbers.random(OPERANDS) < 0.6)
    return torch.from_numpy(np.where(special, numbers.choice([*SPECIAL, *USUAL], OPERANDS), data)).to(dtype)


def _numbers_of(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def rounding(
    operation: Any,
    operands: Sequence[tuple[str, int]],
    templates: Sequence[str],
    kinds: tuple[str, str],
    condition: bool,
) -> tuple[str | None, bytes]:
    """Find the template with the same bits as an operation on all random operands; also return a digest of its results.

    The template is None if none matches.

    Args:
        operands: each is ("t", index of a tensor), ("s", index of a Python number), ("=", index of a Python number that
            has the same value in all trials) or ("1", value).
        kinds: the kind in which the operation computes, and the kind of its result.
        condition: whether the first operand is a condition.
    """
    draw = np.random.default_rng(1)
    tensors = [_random(draw, dtype) for dtype in operation.dtypes]
    varied = {j for way, j in operands if way == "s"}
    columns = []
    for j, value in enumerate(operation.values):
        drawn = np.exp(draw.uniform(-7, 3, OPERANDS)) * np.where(draw.random(OPERANDS) < 0.5, -1, 1)
        drawn = np.where(np.arange(OPERANDS) % 2 == 0, draw.choice(USUAL, OPERANDS), drawn)
        if type(value) is int:
            drawn = np.ceil(drawn) + 0.0  # turns −0 into 0, since no int is −0
        columns.append(drawn if j in varied else np.full(OPERANDS, float(value)))
    results = []
    with torch.no_grad():
        for n in range(OPERANDS):
            given = [each[n].reshape(shape).clone() for each, shape in zip(tensors, operation.shapes, strict=True)]
            numbers = [type(v)(column[n]) for v, column in zip(operation.values, columns, strict=True)]
            results.append(operation.call(given, numbers).reshape(-1))
    wanted = np.asarray(_numbers_of(torch.cat(results)), DTYPES[kinds[1]])
    values = []
    for i, (way, j) in enumerate(operands):
        column = _numbers_of(tensors[j]) if way == "t" else np.full(OPERANDS, j) if way == "1" else columns[j]
        values.append(column.astype(bool if condition and i == 0 else DTYPES[kinds[0]]))
    digest = hashlib.sha256(np.nan_to_num(wanted).tobytes()).digest()
    names = [f"a[{i}]" for i in range(len(operands))]
    for template in templates:
        text = CASTS[kinds[1]].format(expression(template, names, kinds[0]))
        with np.errstate(all="ignore"):
            try:
                got = np.asarray(eval(text, ON_ARRAYS, {"a": values}), DTYPES[kinds[1]])
            except (NameError, TypeError):  # the function does not exist for this kind or in this build of torch
                continue
        if same_bits(np.broadcast_to(got, wanted.shape), wanted):
            return template, digest
    return None, digest


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays of one dtype have the same bits; all NaNs count as equal."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    same_signs = (np.signbit(a) == np.signbit(b)) | np.isnan(a)  # 0 and −0 are equal
    return np.array_equal(a, b, equal_nan=True) and bool(np.all(same_signs))
