"""Computes digests of a function's code and of all code that it reaches, without docstrings and comments."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

OUTSIDE = sys.stdlib_module_names | {"numpy", "numba", "llvmlite"}  # functions of these are identified by name


def functions(function: FunctionType) -> list[FunctionType]:
    """A function and all functions that it may call, directly or not, except those of `OUTSIDE`."""
    found: dict[FunctionType, None] = {}
    left = [function]
    while left:
        each = left.pop()
        if each not in found:
            found[each] = None
            left += [value for _, value in _values(each) if isinstance(value, FunctionType) and not _outside(value)]
    return list(found)


def names(code: CodeType) -> set[str]:
    """The names of globals and attributes in a piece of code and in the functions written inside it."""
    inside = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(names, inside))


def digest(*values: Any) -> str:
    """A digest of values; for a function, of its code and every function, class and constant that it reaches.

    Edits of docstrings, comments, annotations and line numbers do not change it. Other types raise a TypeError.
    """
    found: dict[FunctionType, int] = {}
    sha256 = hashlib.sha256()
    for part in _parts(values, found):
        sha256.update(part + b"\0")
    return sha256.hexdigest()


def _values(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """A function's closure variables, default arguments, and the globals that its code names."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    for name in sorted(names(code) & function.__globals__.keys()):
        yield name, function.__globals__[name]


def _outside(value: Any) -> bool:
    return (value.__module__ or "").partition(".")[0] in OUTSIDE


def _parts(value: Any, found: dict[FunctionType, int]) -> Iterator[bytes]:
    yield f"{type(value).__name__} {getattr(type(value), '_fields', '')}".encode()
    if isinstance(value, FunctionType) and not _outside(value):
        known = value in found
        yield str(found.setdefault(value, len(found))).encode()
        if not known:
            yield from _parts(value.__code__, found)
            yield from _parts(tuple(_values(value)), found)
    elif isinstance(value, CodeType):
        doc, *constants = value.co_consts or (None,)
        first = None if isinstance(doc, str) else doc
        yield value.co_code
        yield from _parts((value.co_argcount, value.co_kwonlyargcount, value.co_names, first, constants), found)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else value
        yield str(len(items)).encode()
        for item in items:
            yield from _parts(item, found)
    elif isinstance(value, set | frozenset):
        yield from sorted(b"".join(_parts(item, found)) for item in value)
    elif value is None or value is Ellipsis or isinstance(value, int | float | complex | str | bytes | np.generic):
        yield repr(value).encode()
    elif isinstance(value, ModuleType):
        yield value.__name__.encode()
    elif hasattr(value, "__module__") and hasattr(value, "__name__"):
        yield f"{value.__module__}.{value.__name__} {getattr(value, '_fields', '')}".encode()
    else:
        raise TypeError(f"no digest of a {type(value).__name__} that compiled code reaches: {value!r}")
