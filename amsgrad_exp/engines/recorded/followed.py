"""Defines Python numbers that record the expression by which they were computed.

Names in expressions are ``lr``, p0, p1, … for Python numbers that an optimizer keeps, and i0, i1, … for numbers read
from tensors. `paths` checks each expression against many recordings. A number whose use cannot be followed, for example
in ``int()``, escapes; an optimizer in which a number escapes is not compiled.
"""

from __future__ import annotations

import contextlib
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from amsgrad_exp.engines.recorded.kernels import UNARY

MATH = {name: f"{name}_d({{}})" for name in UNARY}
MATH |= {"sqrt": "np.sqrt({})", "pow": "pow_d({}, {})", "fabs": "abs({})"}
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "mod": "%", "floordiv": "//"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
OTHERS = {"pow": MATH["pow"], "neg": "(-{})", "abs": "abs({})"}
ESCAPES = ("int", "trunc", "floor", "ceil", "round", "hash", "repr", "str", "format", "reduce", "reduce_ex")
TOTAL = ("add", "sub", "mul", "neg", "abs", "fabs")  # operations that never raise an exception
CAUGHT = {"ArithmeticError", "OverflowError", "ZeroDivisionError"}
READ = re.compile(r"\bi\d+")


class Notes:
    """What is recorded about followed numbers during one step.

    Args:
        on_guard: called with each comparison's expression and result.
        poison: the value that C code sees if it reads a followed number directly. It differs between recordings, so
            that a step that uses it disagrees with the ordinary step and is rejected.
        catching: whether the optimizer may catch arithmetic exceptions, so that all arithmetic needs guards.
    """

    def __init__(
        self, on_guard: Callable[[str, bool], object], poison: float = math.nan, *, catching: bool = False
    ) -> None:
        self.escapes: list[str] = []
        self.on_guard, self.poison, self._catching = on_guard, poison, catching

    def number(self, value: float, text: str) -> Followed:
        number = Followed(self.poison)
        number.value, number.text, number.notes = plain(value), text, self
        return number

    def result(self, name: str, value: float, text: str) -> Followed:
        """Make the followed result of an operation.

        Where Python may raise an exception, a guard requires a finite result, since compiled code would go on with
        infinity or NaN.
        """
        if name not in TOTAL and (self._catching or READ.search(text)):
            self.on_guard(f"(abs({text}) < inf)", abs(value) < math.inf)
        return self.number(value, text)


class Followed(float):
    """A number that records what is computed with it."""

    value: float
    text: str
    notes: Notes

    def escaped(self, *_: Any) -> float:
        """Record that the number cannot be followed from here on, and return its plain value."""
        self.notes.escapes.append(self.text)
        return self.value

    __float__ = __getnewargs__ = conjugate = hex = as_integer_ratio = escaped  # type: ignore[assignment]
    real = imag = property(escaped)

    def __copy__(self, *_: object) -> Followed:
        return self

    __deepcopy__ = __pos__ = __copy__

    def __bool__(self) -> bool:
        return bool(self != 0.0)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __complex__(self) -> complex:
        return complex(self.escaped())

    def __index__(self) -> int:
        number = self.escaped()
        if number != int(number):
            raise TypeError("not an integer")
        return int(number)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        values = [each.escaped() if isinstance(each, Followed) else each for each in inputs]
        return getattr(ufunc, method)(*values, **kwargs)


def plain(value: Any) -> float:
    """Return the value of a Python number; a followed number does not escape by this."""
    return value.value if isinstance(value, Followed) else float(value)


def text_of(value: Any) -> str:
    """Return the expression of a number."""
    return value.text if isinstance(value, Followed) else repr(float(value))


def _computed(name: str, function: Callable[..., Any], template: str, values: tuple[Any, ...]) -> Any:
    """Apply a function to numbers, at least one of which is followed, and follow the result."""
    followed = next(each for each in values if isinstance(each, Followed))
    try:
        result, text = function(*map(plain, values)), template.format(*map(text_of, values))
    except (ArithmeticError, ValueError):  # the optimizer may catch it
        followed.escaped()
        raise
    if isinstance(result, float):
        return followed.notes.result(name, result, text)
    if isinstance(result, bool):
        followed.notes.on_guard(text, result)
    else:  # a power may be complex
        followed.escaped()
    return result


def _follow(name: str, template: str, prefix: str = "") -> None:
    """Let followed numbers have an operator; with the prefix "r", the operator whose second operand is followed."""
    of_floats = getattr(float, f"__{name}__")

    def method(self: Followed, *others: Any) -> Any:
        if not all(isinstance(other, int | float) for other in others):
            return NotImplemented
        return _computed(name, of_floats, template, (*others, self) if prefix else (self, *others))

    setattr(Followed, f"__{prefix}{name}__", method)


def _escape(name: str) -> None:
    setattr(Followed, name, lambda self, *args: getattr(float, name)(self.escaped(), *args))


TEMPLATES = OTHERS | {name: f"({{}} {sign} {{}})" for name, sign in (ARITHMETIC | COMPARISONS).items()}
for _name, _template in TEMPLATES.items():
    _follow(_name, _template)
for _name in (*ARITHMETIC, "pow"):
    _follow(_name, TEMPLATES[_name], "r")
for _name in ("is_integer", *(f"__{each}__" for each in ESCAPES)):
    _escape(_name)


def _following(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap a function of `math`, so that it follows numbers or records that they escape."""
    template = MATH.get(name, "")

    def known(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [*map(known, value)]
        return value.escaped() if isinstance(value, Followed) else value

    def follow(*args: Any) -> Any:
        if any(isinstance(each, Followed) for each in args) and len(args) == template.count("{}"):
            return _computed(name, function, template, args)
        return function(*map(known, args))

    return follow


@contextlib.contextmanager
def following(functions: Iterable[types.FunctionType]) -> Iterator[None]:
    """Make the functions of `math` follow numbers, also those imported by name in the modules of some functions."""
    wrapped = {function: _following(function, name) for name, function in vars(math).items() if callable(function)}
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
