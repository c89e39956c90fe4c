"""Defines the base class of the optimizers: it checks groups, steps over parameters, and loads states."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import SimpleNamespace
from typing import Any, ClassVar, cast, overload

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, _default_to_fused_or_foreach

from amsgrad_exp.rules.rule import Options

Group = dict[str, Any]
State = dict[str, Any]

HALF_PRECISION = (torch.float16, torch.bfloat16)

ONE = torch.ones(())  # add_(1) would convert the number to a tensor each time
SMALL = 2**11
"""On a CPU, parameters with at most this many elements on average are updated together. Larger ones do not fit into the
caches together, and Python's overhead is a small part of their time."""


@dataclass(frozen=True)
class WeightDecay:
    """Weight decay as one value, which can be passed for ``weight_decay``; a parameter group stores its three fields.

    Args:
        weight_decay: the coefficient λ ≥ 0; stored as ``weight_decay``.
        weight_decouple: shrink the parameter itself, θ ← θ − lr·λ·θ (Loshchilov and Hutter 2019, *Decoupled Weight
            Decay Regularization*, arXiv 1711.05101, Algorithm 2); otherwise apply the L2 penalty of the same
            algorithm, g ← g + λ·θ. Stored as ``decoupled_weight_decay``.
        absolute: only if decoupled: shrink by λ alone, θ ← θ − λ·θ, whatever the learning rate is, unless it is 0.
            Stored as ``absolute_weight_decay``.

    Raises:
        ValueError: λ is negative or not finite, or ``absolute`` is given with the L2 form.
    """

    weight_decay: float = 0.0
    weight_decouple: bool = True
    absolute: bool = False

    def __post_init__(self) -> None:
        if not is_between(self.weight_decay, 0, math.inf):
            raise ValueError(f"weight_decay must be a finite number of at least 0, not {self.weight_decay!r}")
        if self.absolute and not self.weight_decouple:
            raise ValueError("absolute=True requires weight_decouple=True")


# state_dicts of versions 0.1.0 and 0.2.0 contain a WeightDecay, which torch.load(weights_only=True) would reject.
torch.serialization.add_safe_globals([(WeightDecay, "amsgrad_exp.optimizers.base.WeightDecay")])


def plain(group: Group) -> Group:
    """Store a `WeightDecay` of a group as its fields, and NumPy's numbers as Python's."""
    decay = group["weight_decay"]
    if isinstance(decay, WeightDecay):
        group["weight_decay"] = decay.weight_decay
        group["decoupled_weight_decay"] = decay.weight_decouple
        group["absolute_weight_decay"] = decay.absolute
    for name, value in group.items():
        if isinstance(value, np.generic):
            group[name] = value.item()
        elif name == "betas" and isinstance(value, Iterable):
            group[name] = tuple(beta.item() if isinstance(beta, np.generic) else beta for beta in value)
    return group


def check_group(group: Mapping[str, Any], options: type[Options]) -> None:
    """Raise a ValueError that names the first value of a complete group that is out of range."""
    for name in ("lr", "eps"):
        if not is_between(group.get(name, 0), 0, math.inf):
            raise ValueError(f"{name} must be a finite number of at least 0, not {group[name]!r}")
    for name in ("beta1", "beta2"):
        if not is_between(group.get(name, 0), 0, 1):
            raise ValueError(f"{name} must be a number in [0, 1), not {group[name]!r}")
    betas = group.get("betas", (0, 0))
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(is_between(beta, 0, 1) for beta in betas)):
        raise ValueError(f"betas must be two numbers in [0, 1), not {betas!r}")
    for name in ("decoupled_weight_decay", "absolute_weight_decay", "maximize", "foreach"):
        if not (isinstance(group[name], bool) or (name == "foreach" and group[name] is None)):
            raise ValueError(f"{name} must be True or False, not {group[name]!r}")
    WeightDecay(group["weight_decay"], group["decoupled_weight_decay"], group["absolute_weight_decay"])
    checked_options(options, {name: group[name] for name in options.model_fields if name in group})


def checked_options(options: type[Options], given: Mapping[str, Any], title: str = "") -> dict[str, Any]:
    """Complete the given options with defaults and return all by name; a ValueError says which given one is wrong."""
    try:
        return options.model_validate(given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"{title} takes no {name}"
        elif name:
            message = f"{name}: {message}, not {first['input']!r}"
        raise ValueError(message) from error


def is_between(value: object, low: float, high: float) -> bool:
    """Whether low ≤ value < high, for a number or a tensor with one element."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else None
    return isinstance(value, Real) and low <= float(value) < high


def _new(name: str) -> Callable[..., Tensors]:
    return lambda self, *operands, **keywords: Tensors(_foreach(name, self, *operands, **keywords))


def _in_place(name: str) -> Callable[..., Tensors]:
    def method(self: Tensors, *operands: Any, **keywords: Any) -> Tensors:
        _foreach(name, self, *operands, **keywords)
        return self

    return method


def _foreach(name: str, *operands: Any, **keywords: Any) -> Any:
    lists = (operand.each if isinstance(operand, Tensors) else operand for operand in operands)
    return getattr(torch, f"_foreach_{name}")(*lists, **keywords)


class Tensors:
    """Tensors that go through the same operations together, each in one call of torch's foreach functions.

    It has the operators and methods of `torch.Tensor` that rules and optimizers use. On a CPU its results have the same
    bits.

    Args:
        each: tensors of any shapes. Other operands are numbers, or `Tensors` of as many tensors of the same shapes.
    """

    def __init__(self, each: Iterable[Tensor]) -> None:
        self.each = list(each)

    __neg__ = _new("neg")
    __add__ = __radd__ = add = _new("add")
    __sub__ = _new("sub")
    __mul__ = __rmul__ = _new("mul")
    __truediv__ = _new("div")
    pow, sign, sqrt = _new("pow"), _new("sign"), _new("sqrt")
    add_, sub_, mul_, div_ = _in_place("add_"), _in_place("sub_"), _in_place("mul_"), _in_place("div_")
    addcdiv_, addcmul_ = _in_place("addcdiv_"), _in_place("addcmul_")

    def __rsub__(self, number: float) -> Tensors:
        return -self + number

    def __rtruediv__(self, number: float) -> Tensors:
        return Tensors(torch._foreach_reciprocal(self.each)) * number

    def clamp(self, min: Any = None, max: Any = None) -> Tensors:  # noqa: A002
        clamped = self if min is None else Tensors(_foreach("clamp_min", self, min))
        return clamped if max is None else Tensors(_foreach("clamp_max", clamped, max))

    def clamp_(self, min: Any) -> Tensors:  # noqa: A002
        _foreach("clamp_min_", self, min)
        return self

    def clone(self) -> Tensors:
        return Tensors(tensor.clone() for tensor in self.each)

    def item(self) -> float:
        """Return the number that each of the tensors holds."""
        return self.each[0].item()


class AdaptiveOptimizer(Optimizer, ABC):
    """Base of optimizers that scale the step by moments of the gradient.

    A subclass defines the state of a parameter (`init_state`) and its update (`step_param`). This class checks
    parameter groups and loaded states, decays weights and steps over the parameters. Parameters in half precision are
    updated in float32, and their state has that dtype.

    Args:
        params, lr: as for every `torch.optim.Optimizer`.
        betas, eps: (β1, β2), each in [0, 1), and ε ≥ 0; None if the optimizer has none.
        weight_decay: λ ≥ 0, or a `WeightDecay`, which replaces ``decoupled_weight_decay``.
        defaults: further per-group options and their defaults; not modified. The other arguments take precedence.
        decoupled_weight_decay: decay as in AdamW instead of adding an L2 penalty to the gradient.
        foreach: update many parameters in one call of torch's foreach functions. None decides by their device and
            size. `step_param` then gets `Tensors`; a subclass that needs more than these must leave it False.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        ValueError: an argument is out of range; the message names it and its value.
    """

    options: ClassVar[type[Options]] = Options
    """The type that checks the group's further options."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        betas: tuple[float, float] | None,
        eps: float | None,
        weight_decay: float | WeightDecay = 0.0,
        defaults: Mapping[str, Any] | None = None,
        *,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = False,
        maximize: bool = False,
    ) -> None:
        own: Group = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "absolute_weight_decay": False,
            "foreach": foreach,
            "maximize": maximize,
        }
        taken = {name: value for name, value in own.items() if value is not None or name not in ("betas", "eps")}
        super().__init__(params, plain({**(defaults or {}), **taken}))

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in torch.optim; an invalid group is rejected before anything is added."""
        group = plain({**self.defaults, **param_group})
        check_group(group, self.options)
        super().add_param_group(group)

    @abstractmethod
    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        """Fill the empty ``state`` of ``param`` with all of its entries, tensors and numbers.

        ``step``, the number of steps taken, is a tensor made by `new_step`.
        """

    @abstractmethod
    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Update ``param`` in place from ``grad``, a dense tensor of its shape and dtype."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step on every parameter that has a gradient; return the closure's result, if there is a closure.

        The closure re-evaluates the model and returns the loss, with gradients enabled. ``torch.compile`` leaves the
        step uncompiled.

        Raises:
            RuntimeError: a gradient is sparse or a parameter complex; no parameter was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (_step_uncompiled if torch.compiler.is_compiling() else AdaptiveOptimizer._step)(self)
        return loss

    def _step(self) -> None:
        name = type(self).__name__
        with_grad = [[param for param in group["params"] if param.grad is not None] for group in self.param_groups]
        for param in itertools.chain.from_iterable(with_grad):
            if param.grad.is_sparse:
                raise RuntimeError(f"{name} needs dense gradients; torch.optim.SparseAdam takes sparse ones")
            if param.is_complex():
                raise RuntimeError(f"{name} needs real parameters; torch.view_as_real makes them so")
        for group, params in zip(self.param_groups, with_grad, strict=True):
            if isinstance(group["weight_decay"], WeightDecay):
                plain(group)
            if _together(group["foreach"], params):
                self._step_together(group, params)
                continue
            for param in params:
                work, grad = _working(param)
                self.step_param(self._state_of(param, group, work), group, self._decayed(group, grad, work), work)
                if work is not param:
                    param.copy_(work)

    def _step_together(self, group: Group, params: Sequence[Tensor]) -> None:
        """Update parameters together; those with equal numbers, such as ``step``, in their states share one call."""
        alike: defaultdict[Hashable, list[tuple[Tensor, Tensor, Tensor, State]]] = defaultdict(list)
        for param in params:
            work, grad = _working(param)
            state = self._state_of(param, group, work)
            numbers = [
                value if not isinstance(value, Tensor) else value.item() if name == "step" else None
                for name, value in state.items()
            ]
            alike[tuple(numbers)].append((param, work, grad, state))
        for batch in alike.values():
            together, works, grads, states = zip(*batch, strict=True)
            joint = {
                name: Tensors(state[name] for state in states) if isinstance(value, Tensor) else value
                for name, value in states[0].items()
            }
            before = dict(joint)
            moved = Tensors(works)
            grad = self._decayed(group, Tensors(grads), moved)
            self.step_param(joint, group, grad, cast(Tensor, moved))  # `Tensors` has all methods that updates use
            for name, value in joint.items():
                if value is not before.get(name):
                    each = value.each if isinstance(value, Tensors) else [value] * len(states)
                    for state, new in zip(states, each, strict=True):
                        state[name] = new
            for param, work in zip(together, works, strict=True):
                if work is not param:
                    param.copy_(work)

    def _state_of(self, param: Tensor, group: Group, work: Tensor) -> State:
        state: State = self.state[param]
        if not state:
            self.init_state(state, group, work)
        return state

    def _decayed(self, group: Group, grad: Any, param: Any) -> Any:
        """Decay ``param`` in place if decoupled; return the gradient to minimize, including an L2 penalty's."""
        grad = -grad if group["maximize"] else grad
        decay, lr = float(group["weight_decay"]), float(group["lr"])
        if decay and not group["decoupled_weight_decay"]:
            return grad.add(param, alpha=decay)
        if decay and lr:
            param.mul_(1 - (1 if group["absolute_weight_decay"] else lr) * decay)
        return grad

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a ``state_dict`` of this class, or of the class of torch.optim with the same state.

        State dicts of versions 0.1.0 and 0.2.0 load too. Settings that a saved group lacks keep their values.

        Raises:
            ValueError: the state does not fit the parameters or the class; nothing was changed.
        """
        hook = self.register_load_state_dict_pre_hook(_hide_values)
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied, unpickled or loaded state; a loaded state is checked before anything changes."""
        if "defaults" not in state:
            self._check_loaded(state["param_groups"], state["state"])
        super().__setstate__(state)

    def _check_loaded(self, groups: list[Group], states: dict[Tensor, State]) -> None:
        numbers = itertools.count()
        for group, present in zip(groups, self.param_groups, strict=True):
            self.complete_group(group, present)
            check_group(plain(group), self.options)
            for param, number in zip(group["params"], numbers, strict=False):
                if states.get(param):
                    try:
                        states[param] = self._fitted(states[param], group, param)
                    except ValueError as error:
                        name = f"{type(self).__name__} cannot load the state of parameter {number}"
                        raise ValueError(f"{name}: {error}") from error

    def complete_group(self, group: Group, present: Group) -> None:
        """Complete a loaded ``group`` from the group that it replaces; a ValueError says what it must not lack."""
        for name in ("lr", "betas", "beta1", "eps"):
            if name in present and name not in group:
                raise ValueError(f"{type(self).__name__} cannot load a parameter group without {name}")
        group.setdefault("absolute_weight_decay", False)
        for name in present.keys() & self.defaults.keys():
            group.setdefault(name, present[name])

    def complete_state(self, state: State, group: Group) -> None:
        """Convert a loaded ``state`` of a parameter into the form of `init_state`, if it has another form."""

    def _fitted(self, saved: State, group: Group, param: Tensor) -> State:
        """Convert a saved state of ``param`` to this optimizer's dtypes and devices."""
        state = {name: hidden.value for name, hidden in saved.items()}
        self.complete_state(state, group)
        fresh: State = {}
        self.init_state(fresh, group, param.detach().float() if param.dtype in HALF_PRECISION else param.detach())
        if missing := fresh.keys() - state.keys():
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        if unknown := state.keys() - fresh.keys():
            raise ValueError(
                f"it has {', '.join(sorted(map(str, unknown)))}, which {type(self).__name__} does not keep"
            )
        return {name: _like(name, state[name], value) for name, value in fresh.items()}


_step_uncompiled = torch._disable_dynamo(AdaptiveOptimizer._step)  # type: ignore[attr-defined]


def new_step(*, exact: bool) -> Tensor:
    """Make a step count of 0 in torch.optim's dtype, or in double precision, which is exact beyond 2^24 steps."""
    return torch.zeros(
        (), dtype=torch.float64 if exact or torch.get_default_dtype() == torch.float64 else torch.float32
    )


def count_step(state: State) -> int:
    """Add 1 to the ``step`` of a state and return it."""
    return int(state["step"].add_(ONE).item())


def _together(foreach: bool | None, params: Sequence[Tensor]) -> bool:
    """Whether to update parameters together, given a group's ``foreach``."""
    if foreach is not None or len(params) < 2:
        return bool(foreach)
    if all(param.is_cpu for param in params):
        return sum(param.numel() for param in params) <= SMALL * len(params)
    return _default_to_fused_or_foreach(list(params), differentiable=False)[1]


def _working(param: Tensor) -> tuple[Tensor, Tensor]:
    """Return a parameter and its gradient, or float32 copies of both if they have half precision."""
    grad = cast(Tensor, param.grad)
    return (param.float(), grad.float()) if param.dtype in HALF_PRECISION else (param, grad)


def _hide_values(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Hide values from `torch.optim.Optimizer.load_state_dict`, which casts tensors to the parameter's dtype."""
    if not {"state", "param_groups"} <= state_dict.keys():
        raise ValueError(f"an optimizer's state_dict has state and param_groups, not {', '.join(map(str, state_dict))}")
    states = dict(state_dict["state"])
    for group in state_dict["param_groups"]:
        for key in group["params"]:
            if not isinstance(states.get(key, {}), dict):
                raise ValueError(f"the state of parameter {key} is not a dict: {states[key]!r}")
            if key in states:
                states[key] = {name: SimpleNamespace(value=value) for name, value in states[key].items()}
    return {**state_dict, "state": states}


def _like(name: str, value: Any, fresh: Any) -> Any:
    """Convert a loaded number or tensor to the type of the one in a fresh state."""
    if isinstance(fresh, Tensor) and name != "step":
        if not isinstance(value, Tensor) or value.shape != fresh.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else value
            raise ValueError(f"its {name} is not a tensor of shape {tuple(fresh.shape)}: {found}")
        return value.to(fresh.device, fresh.dtype)
    if not is_between(value, 0, math.inf):
        raise ValueError(f"its {name} is not a number of at least 0: {value!r}")
    return torch.full_like(fresh, float(value)) if isinstance(fresh, Tensor) else float(value)
