"""Saves and loads a torch optimizer's state as bytes that can be read without running code."""

from __future__ import annotations

import collections
import enum
import functools
import io
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.torch_state import Survey, generators_restored, unheard
from amsgrad_exp.optimizers import AdaptiveOptimizer
from amsgrad_exp.optimizers.importing import said

KIND = "amsgrad_exp.kind"
"""The key that marks a dict as the encoding of another type, which its value names."""

AS_THEY_ARE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
SCALARS = bool, int, float, str
FACTORIES = {factory.__name__: factory for factory in (*SCALARS, list, dict, set, tuple)}
NUMBERS = "biufcmM"  # NumPy's dtype kinds whose bytes hold the whole value


class Saving:
    """Saves and loads an optimizer and its only parameter.

    Args:
        new: makes the optimizer and its parameter as they are at the start of a run.

    Attributes:
        optimizer, param: the optimizer and parameter to save or load.
    """

    def __init__(self, new: Callable[[], tuple[Optimizer, torch.nn.Parameter]]) -> None:
        self.optimizer, self.param = new()
        self._new = new
        self._checked: set[bool] = set()  # whether checked at step 0 (False) and later (True)

    def save(self, step: int, fields: Mapping[str, Any]) -> bytes:
        """The optimizer's state, its parameter, ``step`` and further fields, for `load`.

        Besides ``state_dict()``, the numbers and texts among the optimizer's attributes are saved. The first time, and
        the first time after step 0, they are loaded into a new optimizer, which is compared with this one.

        Raises:
            ValueError: the optimizer keeps something that cannot be saved; the message names the key.
        """
        attributes = {name: value for name, value in vars(self.optimizer).items() if type(value) in SCALARS}
        buffer = io.BytesIO()
        try:
            state = encoded(self.optimizer.state_dict())
            own = {"step": step, "param": self.param.detach(), "optimizer": state, "attributes": attributes}
            torch.save({**fields, **own}, buffer)
        except Unsaveable:
            raise
        except Exception as error:  # an imported optimizer's state_dict may do anything
            raise ValueError(f"its state_dict cannot be saved: {said(error)}") from error
        if (step > 0) not in self._checked:
            self._check(buffer.getvalue(), step)
            self._checked.add(step > 0)
        return buffer.getvalue()

    def _check(self, saved: bytes, step: int) -> None:
        with generators_restored(), unheard():
            twin = Saving(self._new)
            twin.load(saved)
            own, restored = (Survey(each.optimizer, each.param, step).own for each in (self, twin))
        if step > 0 and own != restored:
            raise ValueError("it keeps something outside its state_dict")

    def load(self, saved: bytes) -> dict[str, Any]:
        """Restore the optimizer and its parameter; return all saved fields.

        Raises:
            ValueError: ``saved`` does not come from such an optimizer.
        """
        try:
            fields: dict[str, Any] = torch.load(io.BytesIO(saved), weights_only=True)
            state, of_param = decoded(fields["optimizer"]), fields["optimizer"].get("state", {}).get(0)
            if of_param is not None and type(self.optimizer).load_state_dict is Optimizer.load_state_dict:
                state["state"][0] = of_param  # load_state_dict casts values, but only in plain containers
            self.optimizer.load_state_dict(state)
            if of_param is not None and not isinstance(self.optimizer, AdaptiveOptimizer):  # those cast nothing
                self.optimizer.state[self.param] = decoded(of_param)
            vars(self.optimizer).update(fields.get("attributes", {}))
            with torch.no_grad():
                self.param.copy_(fields["param"])
        except Exception as error:  # a damaged file or an imported load_state_dict may raise anything
            problem = "not a state that a torch engine can read without running code in it"
            raise ValueError(f"{problem} ({type(error).__name__})") from error
        return fields


class Unsaveable(ValueError):
    """A value that cannot be stored in a form that is readable without running code."""


def encoded(value: Any, where: str = "") -> Any:
    """Encode a value in types that `torch.load` reads with ``weights_only``.

    Raises:
        Unsaveable: this is impossible; the message names the place.
    """
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
    """Decode what `encoded` returned, into new containers.

    Raises:
        Exception: the value was not encoded.
    """
    if type(value) in (list, tuple):
        return type(value)(map(decoded, value))
    if type(value) is collections.OrderedDict or (type(value) is dict and KIND not in value):
        return type(value)((key, decoded(item)) for key, item in value.items())
    if type(value) is not dict:
        return value
    return DECODERS[value[KIND]](value)


def _enum(value: Mapping[str, Any]) -> enum.Enum:
    """A member of an Enum whose module is already imported."""
    found = functools.reduce(getattr, value["class"].split("."), sys.modules[value["module"]])
    if not isinstance(found, enum.EnumType):
        raise TypeError(f"{value['class']} is not an Enum")
    member: enum.Enum = found.__members__[value["member"]]
    return member


def _array(value: Mapping[str, Any]) -> Any:
    return np.frombuffer(value["bytes"], np.dtype(value["dtype"])).reshape(value["shape"]).copy()


DECODERS: dict[str, Any] = {
    "dict": lambda value: {decoded(key): decoded(item) for key, item in value["items"]},
    "defaultdict": lambda value: collections.defaultdict(
        value["factory"] and FACTORIES[value["factory"]], {decoded(key): decoded(item) for key, item in value["items"]}
    ),
    "deque": lambda value: collections.deque(map(decoded, value["items"]), value["maxlen"]),
    "set": lambda value: set(map(decoded, value["items"])),
    "frozenset": lambda value: frozenset(map(decoded, value["items"])),
    "number": lambda value: _array({**value, "shape": ()})[()],
    "array": _array,
    "enum": _enum,
}
