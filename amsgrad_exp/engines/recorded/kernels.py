"""How torch's kernels round on a tensor of one element, found by trial: the scalar expression that gives their bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsgrad_exp.engines.recorded.scalars import CASTS, DTYPES, KINDS, ON_ARRAYS, UNARY

OPERANDS = 2048  # of each trial; half are ordinary numbers, half have special ones among them
USUAL = (0.1, 0.9, 0.001, 0.999, 0.01, 1.0, 0.5, 1e-8, -1e-3, 0.0, 2.0)  # Python numbers, half of the time
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 5e-324, -3e-310, 1e38, 3e-38)

_LERP = [
    f"where(abs({{2}}) < {{half}}, {low}, {high})"
    for low in ("fma_{K}({2}, {1} - {0}, {0})", "{0} + {2} * ({1} - {0})")
    for high in (
        "fma_{K}({1} - {0}, {2} - {one}, {1})",
        "{1} - ({1} - {0}) * ({one} - {2})",
        "fma_{K}(-({1} - {0}), {one} - {2}, {1})",
    )
]


def _choices(sign: str) -> list[str]:
    """Ways to take the larger or the smaller of two numbers, which differ in NaN and in the sign of 0."""
    either = ("{0}", "{1}"), ("{1}", "{0}")
    ways = [f"where({a} {s} {b}, {a}, {b})" for a, b in either for s in (sign, sign + "=")]
    with_nan = [f"where(({a} != {a}) | ({a} {s} {b}), {a}, {b})" for a, b in either for s in (sign, sign + "=")]
    return [
        *with_nan,
        *ways,
        *(f"where({a} != {a}, {b}, where({b} != {b}, {a}, {w}))" for a, b in either for w in ways),
    ]


_LARGER, _SMALLER = _choices(">"), _choices("<")
_SIGN = "where({0} > 0, {one}, where({0} < 0, -{one}, {zero}))"
_PRODUCTS = ["{0} * {1} + {zero}", "{0} * {1}"]
_MATMUL = [
    form.format(product)
    for product in ("({1} * {2} + {zero})", "({1} * {2})")
    for form in (
        "fma_{{K}}({{3}}, {{0}}, {{4}} * {})",
        "{{3}} * {{0}} + {{4}} * {}",
        "fma_{{K}}({{4}}, {}, {{3}} * {{0}})",
    )
]

TABLE: dict[str, tuple[str, Sequence[str]]] = {
    "add": ("self other alpha", ["fma_{K}({2}, {1}, {0})", "{0} + {2} * {1}"]),
    "sub": ("self other alpha", ["fma_{K}(-{2}, {1}, {0})", "{0} - {2} * {1}"]),
    "rsub": ("self other alpha", ["fma_{K}(-{2}, {0}, {1})", "{1} - {2} * {0}"]),
    "mul": ("self other", ["{0} * {1}"]),
    "div": ("self other", ["{0} / {1}", "{0} * ({one} / {1})"]),
    "addcmul": (
        "self tensor1 tensor2 value",
        [
            "fma_{K}({3} * {1}, {2}, {0})",
            "{0} + {3} * {1} * {2}",
            "{0} + {3} * ({1} * {2})",
            "fma_{K}({3}, {1} * {2}, {0})",
        ],
    ),
    "addcdiv": (
        "self tensor1 tensor2 value",
        ["{0} + {3} * {1} / {2}", "{0} + {3} * ({1} / {2})", "fma_{K}({3}, {1} / {2}, {0})"],
    ),
    "lerp": ("self end weight", _LERP),
    "neg": ("self", ["-{0}"]),
    "abs": ("self", ["abs({0})"]),
    "sqrt": ("self", ["np.sqrt({0})", "vml_sqrt_{K}({0})"]),
    "rsqrt": ("self", ["{one} / np.sqrt({0})", "{one} / vml_sqrt_{K}({0})"]),
    "reciprocal": ("self", ["{one} / {0}"]),
    "square": ("self", ["{0} * {0}"]),
    **dict.fromkeys(("sign", "sgn"), ("self", [_SIGN, "where({0} != {0}, {0}, " + _SIGN + ")"])),
    **dict.fromkeys(("maximum", "fmax"), ("self other", _LARGER)),
    **dict.fromkeys(("minimum", "fmin"), ("self other", _SMALLER)),
    "clamp_min": ("self min", _LARGER),
    "clamp_max": ("self max", _SMALLER),
    "hypot": ("self other", ["hypot_{K}({0}, {1})", "np.sqrt({0} * {0} + {1} * {1})"]),
    "nan_to_num": ("self", ["where({0} != {0}, {zero}, where({0} > {max}, {max}, where({0} < -{max}, -{max}, {0})))"]),
    "relu": ("self", [text.replace("{1}", "{zero}") for text in _LARGER]),
    "sigmoid": ("self", ["{one} / ({one} + exp_{K}(-{0}))"]),
    "floor": ("self", ["np.floor({0})"]),
    "ceil": ("self", ["np.ceil({0})"]),
    "atan2": ("self other", ["atan2_{K}({0}, {1})", "f32(atan2_d(f64({0}), f64({1})))"]),
    "where": ("condition self other", ["where({0}, {1}, {2})"]),
    "masked_fill": ("mask value self", ["where({0}, {1}, {2})"]),
    "index_put": ("indices values self", ["where({0}, {1}, {2})"]),
    **dict.fromkeys(
        ("linalg_vector_norm", "norm"),
        ("self", ["abs({0})", "np.sqrt({0} * {0})", "f32(np.sqrt(f64({0}) * f64({0})))"]),
    ),
    "mm": ("self mat2", _PRODUCTS),
    "bmm": ("self mat2", _PRODUCTS),
    "dot": ("self tensor", _PRODUCTS),
    "mv": ("self vec", _PRODUCTS),
    "addmm": ("self mat1 mat2 beta alpha", _MATMUL),
    "baddbmm": ("self batch1 batch2 beta alpha", _MATMUL),
    "isnan": ("self", ["({0} != {0})"]),
    "isfinite": ("self", ["({0} - {0} == 0)"]),
    "isinf": ("self", ["(abs({0}) == inf)"]),
    "logical_and": ("self other", ["(({0} != 0) & ({1} != 0))"]),
    "logical_or": ("self other", ["(({0} != 0) | ({1} != 0))"]),
    "logical_xor": ("self other", ["(({0} != 0) != ({1} != 0))"]),
    "logical_not": ("self", ["({0} == 0)"]),
    "bitwise_and": ("self other", ["({0} & {1})"]),
    "bitwise_or": ("self other", ["({0} | {1})"]),
    "bitwise_not": ("self", ["({0} == 0)"]),
    **{
        name: ("self", [f"vml_{name}_{{K}}({{0}})", f"{name}_{{K}}({{0}})", f"f32({name}_d(f64({{0}})))"])
        for name in UNARY
    },
    **{
        name: ("self other", [f"({{0}} {sign} {{1}})"])
        for name, sign in {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}.items()
    },
    **dict.fromkeys(
        (
            *("clone", "alias", "contiguous", "_to_copy", "lift_fresh", "lift_fresh_copy", "_unsafe_view", "repeat"),
            *(
                "cat",
                "stack",
                "sum",
                "mean",
                "amax",
                "amin",
                "prod",
                "median",
                "max",
                "min",
                "nansum",
                "cumsum",
                "trace",
            ),
            *("any", "all", "squeeze_copy", "view_copy", "detach_copy", "expand_copy", "logsumexp", "_reshape_copy"),
        ),
        ("self", ["{0}", "{0} + {zero}"]),
    ),
}
"""An operation's operands, by their names in its schema, and expressions of them; ``{K}`` is the kind's letter."""

POWERS = {
    2.0: ["{0} * {0}"],
    3.0: ["{0} * {0} * {0}"],
    0.5: ["np.sqrt({0})", "vml_sqrt_{K}({0})"],
    -0.5: ["{one} / np.sqrt({0})", "{one} / vml_sqrt_{K}({0})"],
    -1.0: ["{one} / {0}"],
    -2.0: ["{one} / ({0} * {0})"],
    1.0: ["{0}"],
    0.0: ["{one}"],
}
_WITHOUT_FACTOR = {
    "add": ["{0} + {1}"],
    "sub": ["{0} - {1}"],
    "rsub": ["{1} - {0}"],
    "addcmul": ["fma_{K}({1}, {2}, {0})", "{0} + {1} * {2}"],
    "addcdiv": ["{0} + {1} / {2}"],
}
CONDITIONS = ("where", "masked_fill", "index_put")
"""Operations whose first operand is a condition."""


def candidates(name: str, numbers: Mapping[str, Any]) -> tuple[list[str], Sequence[str]] | None:
    """An operation's operands and the expressions that it may be, or None of an operation that is not known.

    Args:
        name: without ``_foreach_`` and the underscore of operations in place.
        numbers: its arguments that are Python numbers and never change; others have any value.
    """
    if name in _WITHOUT_FACTOR and numbers.get("alpha", numbers.get("value")) == 1:
        operands = TABLE[name][0].split()[: 3 if name.startswith("addc") else 2]
        return operands, _WITHOUT_FACTOR[name]
    if name == "pow":
        if (exponent := numbers.get("exponent")) in POWERS:
            return ["self"], POWERS[exponent]
        return ["self", "exponent"], ["pow_{K}({0}, {1})", "f32(pow_d(f64({0}), f64({1})))"]
    if name == "clamp":
        if numbers.get("min", 0) is not None and numbers.get("max", 0) is not None:
            inner = "where({0} < {1}, {1}, {0})"
            return ["self", "min", "max"], [f"where({{2}} < {inner}, {{2}}, {inner})"]
        return (["self", "min"], _LARGER) if numbers.get("max", 0) is None else (["self", "max"], _SMALLER)
    if name not in TABLE or (name == "div" and numbers.get("rounding_mode")):
        return None
    return TABLE[name][0].split(), TABLE[name][1]


def expression(template: str, operands: Sequence[str], kind: str) -> str:
    """A template over these operands; what is of kind bfloat16 is computed in float32, then rounded."""
    k = "f" if kind == "h" else kind
    cast = CASTS[k].format
    largest = repr(float(np.finfo(np.float64 if k == "d" else np.float32).max))
    words = {"one": cast("1"), "half": cast("0.5"), "zero": cast("0"), "max": cast(largest)}
    text = template.format(*operands, K=k, **words)
    return f"bf({text})" if kind == "h" else text


class Answers:
    """What torch's kernels gave in trials, and a digest of it that tells one machine or build of torch from another."""

    def __init__(self) -> None:
        self._templates: dict[Any, str | None] = {}
        self._digests: dict[Any, bytes] = {}

    def digest(self, keys: Sequence[Any]) -> str:
        """Of the answers to some trials."""
        return hashlib.sha256(b"".join(self._digests[key] for key in sorted(keys, key=repr))).hexdigest()

    def template(
        self,
        key: Any,
        call: Callable[[Sequence[Tensor], Sequence[float]], Tensor],
        dtypes: Sequence[torch.dtype],
        shapes: Sequence[tuple[int, ...]],
        numbers: Sequence[float],
        operands: Sequence[tuple[str, int]],
        templates: Sequence[str],
        kinds: tuple[str, str],
        condition: bool,
    ) -> str | None:
        """The expression with the bits of an operation on all `OPERANDS` random operands, or None.

        Args:
            key: of the trial, by which its answer is remembered.
            call: the operation, of tensors and of Python numbers.
            dtypes, shapes: of its tensors.
            numbers: its Python numbers.
            operands: for each operand of the templates ("t", which tensor), ("s", which number), or ("=", which number)
                of one that has the same value in all trials.
            templates: expressions.
            kinds: what it computes in, and that of its result.
            condition: whether the first operand is one.
        """
        if key not in self._templates:
            self._templates[key], self._digests[key] = _tried(
                call, dtypes, shapes, numbers, operands, templates, kinds, condition
            )
        return self._templates[key]


ANSWERS = Answers()


def _random(numbers: np.random.Generator, dtype: torch.dtype) -> Tensor:
    """Operands of one dtype."""
    if dtype == torch.bool:
        return torch.from_numpy(numbers.random(OPERANDS) < 0.5)
    if KINDS[dtype] == "i":
        return torch.from_numpy(numbers.integers(1, 100, OPERANDS)).to(dtype)
    spread = np.where(np.arange(OPERANDS) % 4 == 0, 1, 9)
    data = np.exp(numbers.uniform(-spread, spread)) * np.where(numbers.random(OPERANDS) < 0.5, -1, 1)
    special = (np.arange(OPERANDS) >= OPERANDS // 2) & (numbers.random(OPERANDS) < 0.6)
    return torch.from_numpy(np.where(special, numbers.choice(SPECIAL, OPERANDS), data)).to(dtype)


def _numbers_of(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _tried(
    call: Callable[[Sequence[Tensor], Sequence[float]], Tensor],
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[tuple[int, ...]],
    numbers: Sequence[float],
    operands: Sequence[tuple[str, int]],
    templates: Sequence[str],
    kinds: tuple[str, str],
    condition: bool,
) -> tuple[str | None, bytes]:
    kind, kind_out = kinds
    draw = np.random.default_rng(1)
    tensors = [_random(draw, dtype) for dtype in dtypes]
    varied = {j for way, j in operands if way == "s"}
    scalars = []
    for j, value in enumerate(numbers):
        drawn = np.exp(draw.uniform(-7, 3, OPERANDS)) * np.where(draw.random(OPERANDS) < 0.5, -1, 1)
        drawn = np.where(np.arange(OPERANDS) % 2 == 0, draw.choice(USUAL, OPERANDS), drawn)
        if type(value) is int:
            drawn = np.ceil(drawn) + 0.0  # no int is −0
        scalars.append(drawn if j in varied else np.full(OPERANDS, float(value)))
    typed = [[type(value)(each) for each in column] for value, column in zip(numbers, scalars, strict=True)]
    pieces = [[tensor[n : n + 1] for n in range(OPERANDS)] for tensor in tensors]
    results = []
    with torch.no_grad():
        for n in range(OPERANDS):
            given = [piece[n].reshape(shape).clone() for piece, shape in zip(pieces, shapes, strict=True)]
            results.append(call(given, [column[n] for column in typed]).reshape(-1))
    wanted = np.asarray(_numbers_of(torch.cat(results)), DTYPES[kind_out])
    values = []
    for i, (way, j) in enumerate(operands):
        column = _numbers_of(tensors[j]) if way == "t" else scalars[j]
        values.append(column.astype(bool) if condition and i == 0 else column.astype(DTYPES[kind]))
    digest = hashlib.sha256(np.nan_to_num(wanted).tobytes()).digest() if wanted.dtype != bool else wanted.tobytes()
    names = [f"a[{i}]" for i in range(len(operands))]
    for template in templates:
        text = CASTS[kind_out].format(expression(template, names, kind))
        with np.errstate(all="ignore"):
            try:
                got = np.asarray(eval(text, ON_ARRAYS, {"a": values}), DTYPES[kind_out])
            except (NameError, TypeError):  # no such function of this kind, or with this build of torch
                continue
        if same_bits(np.broadcast_to(got, wanted.shape), wanted):
            return template, digest
    return None, digest


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays of one dtype have the same bits, whichever NaN a NaN is."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    integers = np.int32 if a.dtype.itemsize == 4 else np.int64
    same = np.ascontiguousarray(a).view(integers) == np.ascontiguousarray(b).view(integers)
    return bool(np.all(same | (np.isnan(a) & np.isnan(b))))
