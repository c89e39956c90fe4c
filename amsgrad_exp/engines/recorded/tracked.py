"""Python numbers that know how they came about: what is computed with them is noted as an expression.

Names in expressions: ``lr``; p0, p1, … Python numbers that an optimizer keeps; i0, i1, … numbers read from tensors.
A note is never believed: it is tried on many recordings (`paths`). What becomes of a number where it can no longer be
followed, after ``int()`` say, is not known: that is an escape, and an optimizer in which one escapes is not compiled.
"""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from amsgrad_exp.engines.recorded.scalars import UNARY

MATH = {name: f"{name}_d({{}})" for name in UNARY} | {"sqrt": "np.sqrt({})", "pow": "pow_d({}, {})", "fabs": "abs({})"}
_BINARY = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "truediv": "({} / {})",
    "pow": "pow_d({}, {})",
    "mod": "mod({}, {})",
    "floordiv": "floordiv({}, {})",
}
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Notes:
    """What is noted of tracked numbers during one step.

    Args:
        on_guard: called with each comparison's expression and how it came out.

    Attributes:
        made: expressions, by the value that they had.
        escapes: expressions of the numbers that escaped.
    """

    def __init__(self, on_guard: Callable[[str, bool], object]) -> None:
        self.made: dict[float, list[str]] = {}
        self.escapes: list[str] = []
        self.on_guard = on_guard

    def number(self, value: float, text: str) -> Tracked:
        """A tracked number."""
        number = Tracked(value)
        number.text, number.notes = text, self
        known = self.made.setdefault(plain(value), [])
        if text not in known:
            known.append(text)
        return number


class Tracked(float):
    """A number that notes what is computed with it."""

    text: str
    notes: Notes

    def escaped(self, *_: Any) -> float:
        """The plain number, which cannot be followed from here on."""
        self.notes.escapes.append(self.text)
        return plain(self)

    __float__ = __getnewargs__ = conjugate = hex = as_integer_ratio = escaped  # type: ignore[assignment]
    real = imag = property(escaped)

    def __copy__(self, *_: object) -> Tracked:
        return self

    __deepcopy__ = __pos__ = __copy__

    def __bool__(self) -> bool:
        return bool(self != 0.0)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __index__(self) -> int:
        number = self.escaped()
        if number != int(number):
            raise TypeError("not an integer")
        return int(number)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        values = [each.escaped() if isinstance(each, Tracked) else each for each in inputs]
        return getattr(ufunc, method)(*values, **kwargs)


def plain(value: Any) -> float:
    """The value of a Python number, without an escape."""
    return float.__pos__(value) if isinstance(value, float) else float(value)


def text_of(value: Any) -> str:
    """The expression of a number."""
    return value.text if isinstance(value, Tracked) else repr(plain(value))


def _arithmetic(name: str, template: str, *, reflected: bool = False) -> Callable[..., Any]:
    of_floats = getattr(float, name)

    def method(self: Tracked, *others: Any) -> Any:
        if not all(isinstance(other, int | float) for other in others):
            return NotImplemented
        result = of_floats(plain(self), *map(plain, others))
        if not isinstance(result, float):  # a power may be complex
            self.escaped()
            return result
        texts = [self.text, *map(text_of, others)]
        return self.notes.number(result, template.format(*(texts[::-1] if reflected else texts)))

    return method


def _comparison(name: str, sign: str) -> Callable[..., Any]:
    of_floats = getattr(float, name)

    def method(self: Tracked, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        result = of_floats(plain(self), plain(other))
        self.notes.on_guard(f"({self.text} {sign} {text_of(other)})", result)
        return result

    return method


def _escape(name: str) -> Callable[..., Any]:
    return lambda self, *args: getattr(float, name)(self.escaped(), *args)


for _name, _template in _BINARY.items():
    setattr(Tracked, f"__{_name}__", _arithmetic(f"__{_name}__", _template))
    setattr(Tracked, f"__r{_name}__", _arithmetic(f"__r{_name}__", _template, reflected=True))
for _name, _template in _COMPARED.items():
    setattr(Tracked, f"__{_name}__", _comparison(f"__{_name}__", _template))
for _name in ("int", "trunc", "floor", "ceil", "round", "hash", "repr", "str", "format", "reduce", "reduce_ex"):
    setattr(Tracked, f"__{_name}__", _escape(f"__{_name}__"))
Tracked.is_integer = _escape("is_integer")  # type: ignore[method-assign]
Tracked.__neg__ = _arithmetic("__neg__", "(-{})")  # type: ignore[method-assign]
Tracked.__abs__ = _arithmetic("__abs__", "abs({})")  # type: ignore[method-assign]


def _following(function: Callable[..., Any], template: str | None) -> Callable[..., Any]:
    """A function of `math` that follows tracked numbers, or lets them escape."""

    def follow(*args: Any) -> Any:
        tracked = next((each for each in args if isinstance(each, Tracked)), None)
        if tracked is None:
            return function(*args)
        if template is None or template.count("{}") != len(args):
            return function(*(each.escaped() if isinstance(each, Tracked) else each for each in args))
        return tracked.notes.number(function(*map(plain, args)), template.format(*map(text_of, args)))

    return follow


@contextlib.contextmanager
def following(functions: Iterable[types.FunctionType]) -> Iterator[None]:
    """Have the functions of `math` follow tracked numbers, also where some modules have imported them by name.

    Args:
        functions: whose modules.
    """
    wrapped = {
        function: _following(function, MATH.get(name)) for name, function in vars(math).items() if callable(function)
    }
    scopes = {id(scope): scope for scope in (vars(math), *(each.__globals__ for each in functions))}
    changed = [
        (scope, name, value)
        for scope in scopes.values()
        for name, value in list(scope.items())
        if isinstance(value, types.BuiltinFunctionType) and value in wrapped
    ]
    try:
        for scope, name, value in changed:
            scope[name] = wrapped[value]
        yield
    finally:
        for scope, name, value in changed:
            scope[name] = value
