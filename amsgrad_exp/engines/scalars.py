"""The functions of `arithmetic` in compiled code: an instruction or two each, where Numba would compile a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, overload, register_jitable, type_callable

from amsgrad_exp import arithmetic

INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # for what only compiled code calls

for _function in arithmetic.SCALARS:
    register_jitable(**INNER)(_function)
overload(arithmetic.power, jit_options=INNER)(
    lambda y, p: lambda y, p: arithmetic.number(arithmetic.real_power(y, p), y)
)


def _alike(context: Any) -> Callable[..., Any]:
    """Two numbers in, one out, all of the type that holds both."""

    def typer(y: Any, z: Any) -> Any:
        both = context.unify_types(y, z)
        return both(both, both) if isinstance(both, types.Float) else None

    return typer


@type_callable(arithmetic.sqrt)  # type: ignore[untyped-decorator]
def _type_sqrt(context: Any) -> Callable[..., Any]:
    def typer(y: Any) -> Any:
        root = types.float64 if isinstance(y, types.Integer) else y
        return root(root) if isinstance(root, types.Float) else None

    return typer


@lower_builtin(arithmetic.sqrt, types.Float)  # type: ignore[untyped-decorator]
def _sqrt(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    (y,) = arguments
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [y.type]), [y])


@type_callable(arithmetic.sign)  # type: ignore[untyped-decorator]
def _type_sign(context: Any) -> Callable[..., Any]:
    return lambda y: y if isinstance(y, types.Float) else None


@lower_builtin(arithmetic.sign, types.Float)  # type: ignore[untyped-decorator]
def _sign(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """−1, 0 or 1 as np.sign has them: 0 for −0, too, and NaN for NaN."""
    (y,) = arguments
    zero, one = ir.Constant(y.type, 0.0), ir.Constant(y.type, 1.0)
    nonzero = builder.select(builder.fcmp_ordered(">", y, zero), one, builder.fneg(one))
    sign = builder.select(builder.fcmp_ordered("==", y, zero), zero, nonzero)
    return builder.select(builder.fcmp_unordered("uno", y, y), y, sign)


@type_callable(arithmetic.where)  # type: ignore[untyped-decorator]
def _type_where(context: Any) -> Callable[..., Any]:
    def typer(condition: Any, y: Any, z: Any) -> Any:
        both = context.unify_types(y, z)
        return both(types.boolean, both, both) if isinstance(both, types.Float) else None

    return typer


@lower_builtin(arithmetic.where, types.Boolean, types.Float, types.Float)  # type: ignore[untyped-decorator]
def _where(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.select(*arguments)


type_callable(arithmetic.maximum)(_alike)
type_callable(arithmetic.minimum)(_alike)


@lower_builtin(arithmetic.maximum, types.Float, types.Float)  # type: ignore[untyped-decorator]
def _maximum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """y > z ? y : z; z, where one of them is NaN."""
    return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)


@lower_builtin(arithmetic.minimum, types.Float, types.Float)  # type: ignore[untyped-decorator]
def _minimum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)


@type_callable(arithmetic.number)  # type: ignore[untyped-decorator]
def _type_number(context: Any) -> Callable[..., Any]:
    return lambda y, like: like


@lower_builtin(arithmetic.number, types.Number, types.Number)  # type: ignore[untyped-decorator]
def _number(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.cast(builder, arguments[0], signature.args[0], signature.return_type)
