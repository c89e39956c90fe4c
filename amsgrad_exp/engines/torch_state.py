"""Compares, copies, encodes and restores everything that a torch optimizer keeps between steps."""

from __future__ import annotations

import collections
import contextlib
import copy
import enum
import functools
import hashlib
import io
import random
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from amsgrad_exp.code import names
from amsgrad_exp.optimizers.importing import in_library

PRIMITIVES = (type(None), type(...), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout)

Path = tuple[Any, ...]
"""The names, keys and indices that lead from an optimizer to a number; None stands for the parameter."""

Put = Callable[[Any], None]
"""Replaces a value that was found."""

KIND = "amsgrad_exp.kind"
"""The key that marks a dict as the encoding of another type; its value names the type."""

AS_THEY_ARE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
SCALARS = bool, int, float, str
FACTORIES = {factory.__name__: factory for factory in (*SCALARS, list, dict, set, tuple)}
NUMBERS = "biufcmM"  # NumPy's dtype kinds whose bytes hold the whole value


class Survey:
    """Finds what an optimizer keeps in its attributes, and what its functions reach by closures, globals and classes.

    Everything reached from its attributes is its own; everything else is outside, and shared with any copy of it. If no
    counters are given, all numbers in ``state`` or groups that differ from ``step``, t, by at most 1 count steps.

    Attributes:
        own, outside: digests of both parts, without the values of counters.
        counters: each counter's difference from t, by its path.
        opaque: an object that cannot be inspected, or that both parts reach; None if there is no such object.
    """

    def __init__(
        self, optimizer: Optimizer, param: Tensor, step: int, counters: Mapping[Path, int] | None = None
    ) -> None:
        self._param, self._step, self._given = param, step, counters
        self._facts = {True: hashlib.sha256(), False: hashlib.sha256()}
        self._seen: dict[int, tuple[int, bool, object]] = {id(optimizer): (0, True, optimizer)}
        self.functions: list[types.FunctionType | type] = [type(optimizer)]
        self._places: list[tuple[Put, Any]] = []
        self.counters: dict[Path, int] = {}
        self.opaque: str | None = None
        self._walk(param, True)
        self._walk(vars(param), True)
        for name, value in vars(optimizer).items():
            if name != "defaults":
                if name.endswith("_hooks") and value:
                    value = list(value.values())  # the keys are numbers that a process counts
                self._walk(value, True, (name,) if name in ("state", "param_groups") else None)
        for function in self.functions:  # the list grows during the loop
            self._code(function)
        # Loading a state separates values that groups share with the defaults, and adds one default.
        self._seen = {}
        self._walk({"differentiable": False, **optimizer.defaults}, True)
        self.own: bytes = self._facts[True].digest()
        self.outside: bytes = self._facts[False].digest()

    def restore_outside(self) -> None:
        """Restore every number, string and other plain value outside of the optimizer."""
        for put, value in self._places:
            put(value)

    def _note(self, own: bool, *facts: object) -> None:
        self._facts[own].update(repr(facts).encode())

    def _walk(self, value: Any, own: bool, path: Path | None = None, put: Put | None = None) -> None:
        if path is not None and self._counts(value, path):
            self._note(own, "counter", self.counters[path])
        elif isinstance(value, PRIMITIVES):
            self._note(own, type(value).__name__, value)
            if put is not None and not own:
                self._places.append((put, value))
        elif isinstance(value, types.FunctionType | type):
            self._note(own, value.__module__, value.__qualname__)
            if value not in self.functions:
                self.functions.append(value)
        elif isinstance(value, types.ModuleType | types.BuiltinFunctionType):
            self._note(own, value.__name__)
            if not isinstance(value.__self__ if hasattr(value, "__self__") else None, types.ModuleType | None):
                self._walk(value.__self__, own)
        elif isinstance(value, tuple):
            self._look_into(value, own, None)
        elif id(value) in self._seen:
            number, was_own, _ = self._seen[id(value)]
            self._note(own, "again", number)
            if own != was_own:
                self.opaque = f"a {type(value).__name__} of the optimizer that something outside of it keeps as well"
        else:
            self._seen[id(value)] = (len(self._seen), own, value)
            self._note(own, type(value).__name__)
            self._look_into(value, own, path)

    def _counts(self, value: Any, path: Path) -> bool:
        if self._given is not None:
            if path in self._given:
                self.counters[path] = self._given[path]
        else:
            number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
            if type(number) in (int, float) and abs(number - self._step) <= 1 and number == int(number):
                self.counters[path] = int(number) - self._step
        return path in self.counters

    def _look_into(self, value: Any, own: bool, path: Path | None) -> None:
        if isinstance(value, Tensor):
            numbers = value.detach().reshape(-1).contiguous().view(torch.uint8).numpy()  # the bytes, of any dtype
            self._note(own, value.dtype, tuple(value.shape), numbers.tobytes())
        elif isinstance(value, np.ndarray | np.generic):
            self._note(own, value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, dict | types.MappingProxyType):
            self._items(value, own, path)
        elif isinstance(value, list | tuple | collections.deque):
            self._note(own, len(value))
            for index, item in enumerate(value):
                if isinstance(value, list):
                    self._walk(item, own, path and (*path, index), functools.partial(value.__setitem__, index))
                else:
                    self._walk(item, own)
        elif isinstance(value, set | frozenset):
            self._note(own, sorted(map(repr, value)))
        else:
            self._object(value, own)

    def _items(self, mapping: Mapping[Any, Any], own: bool, path: Path | None) -> None:
        items = list(mapping.items())
        if all(isinstance(key, str) for key in mapping):
            items.sort()
        self._note(own, len(items))
        for key, value in items:
            self._walk(key, own)
            put = functools.partial(mapping.__setitem__, key) if isinstance(mapping, dict) else None
            self._walk(value, own, path and (*path, None if key is self._param else key), put)

    def _object(self, value: Any, own: bool) -> None:
        if isinstance(value, types.MethodType):
            parts: Any = [value.__func__, value.__self__]
        elif isinstance(value, staticmethod | classmethod):
            parts = [value.__func__]
        elif isinstance(value, functools.cached_property):
            parts = [value.func]
        elif isinstance(value, property):
            parts = [value.fget, value.fset]
        elif type(value).__module__ in ("typing", "types"):
            parts = []
        else:
            self._walk(type(value), own)
            parts = [getattr(value, "__dict__", None)]
            try:
                parts += value.__reduce_ex__(2)
            except Exception:  # an imported object may raise anything
                self.opaque = f"a {type(value).__name__}"
        for part in parts:
            self._walk(list(part) if isinstance(part, Iterator) else part, own)

    def _code(self, function: types.FunctionType | type) -> None:
        """Inspect a function's defaults, attributes and closure; outside of libraries, also all that it names."""
        if isinstance(function, type):
            for base in function.__mro__:
                if not in_library(base.__module__):
                    for name, value in vars(base).items():
                        if not name.startswith("__") and name != "_abc_impl":
                            self._walk(value, False, put=functools.partial(setattr, base, name))
            return
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            self._walk(part, False)
        for cell in function.__closure__ or ():
            try:
                self._walk(cell.cell_contents, False, put=functools.partial(setattr, cell, "cell_contents"))
            except ValueError:  # the cell is empty
                continue
        if in_library(function.__globals__.get("__name__")):
            return
        self._globals(function.__globals__, names(function.__code__))

    def _globals(self, scope: dict[str, Any], named: set[str]) -> None:
        for name in sorted(named & scope.keys()):
            value = scope[name]
            self._walk(value, False, put=functools.partial(scope.__setitem__, name))
            if isinstance(value, types.ModuleType) and not in_library(value.__name__) and vars(value) is not scope:
                self._globals(vars(value), named)


def copied(optimizer: Optimizer, param: torch.nn.Parameter) -> tuple[Optimizer, torch.nn.Parameter]:
    """Copy an optimizer and its parameter, including what a ``state_dict`` leaves out."""
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(param, memo)
    vars(twin).update(copy.deepcopy(vars(param), memo))
    new = object.__new__(type(optimizer))
    memo[id(optimizer)] = new
    vars(new).update({name: copy.deepcopy(value, memo) for name, value in vars(optimizer).items()})
    return new, twin


@contextlib.contextmanager
def generators_restored() -> Iterator[Callable[[], bool]]:
    """Restore the random generators of torch, Python and NumPy at the end; yield a check that they are unchanged."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()

    def untouched() -> bool:
        of_torch, of_python, of_numpy = before
        same = torch.equal(torch.get_rng_state(), of_torch) and random.getstate() == of_python
        return same and all(map(np.array_equal, np.random.get_state(), of_numpy))

    try:
        yield untouched
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


@contextlib.contextmanager
def outside_restored(optimizer: Optimizer, param: Tensor) -> Iterator[None]:
    """Restore numbers and strings outside of a new optimizer at the end, as far as `Survey` finds them."""
    survey = None
    with contextlib.suppress(Exception):  # an imported object may raise anything
        survey = Survey(optimizer, param, 0)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            if survey is not None and Survey(optimizer, param, 0).outside != survey.outside:
                survey.restore_outside()


def unheard() -> contextlib.AbstractContextManager[object]:
    """Discard what an optimizer prints in a trial; it prints the same again in the run."""
    return contextlib.redirect_stdout(io.StringIO())


class Unsaveable(ValueError):
    """A value cannot be stored in a form that is readable without running code; the message names its place."""


def encoded(value: Any, where: str = "") -> Any:
    """Encode a value in types that `torch.load` reads with ``weights_only``, else raise an `Unsaveable`."""
    kind = type(value)
    if kind in AS_THEY_ARE or kind in torch.serialization.get_safe_globals() or isinstance(value, Tensor):
        return value
    if kind in (list, tuple):
        return kind(_items(value, where))
    if kind in (dict, collections.OrderedDict) and KIND not in value:
        return kind((key, encoded(item, f"{where}[{key!r}]" if where else str(key))) for key, item in value.items())
    if kind is dict:
        return {KIND: "dict", "items": _pairs(value, where)}
    if kind is collections.defaultdict:
        factory = getattr(value.default_factory, "__name__", None)
        if value.default_factory is None or FACTORIES.get(str(factory)) is value.default_factory:
            return {KIND: "defaultdict", "factory": factory, "items": _pairs(value, where)}
    if kind is collections.deque:
        return {KIND: "deque", "maxlen": value.maxlen, "items": _items(value, where)}
    if kind in (set, frozenset):
        return {KIND: kind.__name__, "items": _items(value, where)}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in NUMBERS:
        known = {"dtype": value.dtype.str, "bytes": value.tobytes()}
        return {KIND: "array", "shape": value.shape, **known} if kind is np.ndarray else {KIND: "number", **known}
    if isinstance(value, enum.Enum) and value.name in kind.__members__ and "<locals>" not in kind.__qualname__:
        return {KIND: "enum", "module": kind.__module__, "class": kind.__qualname__, "member": value.name}
    raise Unsaveable(f"it keeps a {kind.__name__} in {where}, which cannot be saved")


def _items(values: Any, where: str) -> list[Any]:
    return [encoded(item, f"{where}[{index}]") for index, item in enumerate(values)]


def _pairs(mapping: Mapping[Any, Any], where: str) -> list[Any]:
    return [(encoded(key, where), encoded(item, f"{where}[{key!r}]")) for key, item in mapping.items()]


def decoded(value: Any) -> Any:
    """Decode what `encoded` returned, into new containers; anything else raises an exception."""
    if type(value) in (list, tuple):
        return type(value)(map(decoded, value))
    if type(value) is collections.OrderedDict or (type(value) is dict and KIND not in value):
        return type(value)((key, decoded(item)) for key, item in value.items())
    if type(value) is not dict:
        return value
    items, kind = value.get("items", ()), value[KIND]
    if kind == "dict":
        return dict(map(decoded, items))
    if kind == "defaultdict":
        return collections.defaultdict(value["factory"] and FACTORIES[value["factory"]], map(decoded, items))
    if kind == "deque":
        return collections.deque(map(decoded, items), value["maxlen"])
    if kind in ("set", "frozenset"):
        return (set if kind == "set" else frozenset)(map(decoded, items))
    if kind in ("number", "array"):
        numbers = np.frombuffer(value["bytes"], np.dtype(value["dtype"])).reshape(value.get("shape", ())).copy()
        return numbers if kind == "array" else numbers[()]
    if kind != "enum":
        raise TypeError(f"unknown kind {kind}")
    found = functools.reduce(getattr, value["class"].split("."), sys.modules[value["module"]])  # already imported
    if not isinstance(found, enum.EnumType):
        raise TypeError(f"{value['class']} is not an Enum")
    return found.__members__[value["member"]]
