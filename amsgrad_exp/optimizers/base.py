"""What every adaptive optimizer shares: validation, the walk over parameters, weight decay."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

Group = dict[str, Any]
State = dict[str, Any]


@dataclass(frozen=True)
class WeightDecay:
    """Weight decay as an immutable value, called as ``weight_decay(param, grad, group)``.

    Args:
        weight_decay: the coefficient λ ≥ 0.
        weight_decouple: shrink the parameter itself, θ ← θ − lr·λ·θ (Loshchilov and Hutter 2019,
            *Decoupled Weight Decay Regularization*, arXiv 1711.05101, Algorithm 2); otherwise the L2
            penalty of the same algorithm, g ← g + λ·θ.
        absolute: decoupled only: shrink by λ alone, θ ← θ − λ·θ, whatever the learning rate.

    Raises:
        ValueError: λ is negative or not finite, or ``absolute`` is asked of the L2 form.
    """

    weight_decay: float = 0.0
    weight_decouple: bool = True
    absolute: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a finite number of at least 0, not {self.weight_decay}")
        if self.absolute and not self.weight_decouple:
            raise ValueError("absolute=True goes with weight_decouple=True only")

    def __call__(self, param: Tensor, grad: Tensor, group: Mapping[str, Any]) -> Tensor:
        """Decay ``param`` in place (decoupled), or return the gradient with the penalty's added (L2)."""
        if self.weight_decay == 0:
            return grad
        if not self.weight_decouple:
            return grad.add(param, alpha=self.weight_decay)
        param.mul_(1 - (1 if self.absolute else group["lr"]) * self.weight_decay)
        return grad


# A saved state_dict holds a WeightDecay, which torch.load(weights_only=True) would otherwise refuse.
torch.serialization.add_safe_globals([WeightDecay])


class AdaptiveOptimizer(Optimizer, ABC):
    """Base of optimizers that scale the step by moments of the gradient.

    A subclass says what it keeps for a parameter (`init_state`) and how one parameter moves
    (`step_param`); this class does the rest.

    Args:
        params: parameters, named parameters or parameter groups, as for every `torch.optim.Optimizer`.
        lr: step size α ≥ 0.
        betas: decay rates (β1, β2) of the first and second moments, each in [0, 1); None for an optimizer without.
        eps: ε ≥ 0, added to the root of the second moment; None for an optimizer without.
        weight_decay: how parameters are decayed.
        defaults: further per-group options and their defaults; read, never modified, and the arguments above win.

    Raises:
        ValueError: lr, betas, eps or weight_decay is out of range; the message names it and its value.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        betas: tuple[float, float] | None,
        eps: float | None,
        weight_decay: WeightDecay,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        own = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        taken = {name: value for name, value in own.items() if value is not None or name == "lr"}
        super().__init__(params, {**(defaults or {}), **taken})

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in torch.optim; a bad option is refused before anything is added."""
        _validate({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a saved state, one of a torch.optim optimizer too: what its groups lack gets its default."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                if name != "differentiable":  # which torch adds here, and nothing reads
                    group.setdefault(name, default)
            if not isinstance(group["weight_decay"], WeightDecay):
                decoupled = group.get("decoupled_weight_decay", False)
                group["weight_decay"] = WeightDecay(group["weight_decay"], weight_decouple=decoupled)

    @abstractmethod
    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        """Fill the empty ``state`` of ``param``; called once, before its first step."""

    @abstractmethod
    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Update ``param`` in place from ``grad``, a dense tensor of its shape and dtype."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step on every parameter that has a gradient.

        Args:
            closure: re-evaluates the model and returns the loss, with gradients enabled.

        Returns:
            What the closure returned, or None without one.

        Raises:
            RuntimeError: a gradient is sparse or a parameter complex; no parameter has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with_grad = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _, param in with_grad:
            if param.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} needs dense gradients; torch.optim.SparseAdam takes sparse ones"
                )
            if param.is_complex():
                raise RuntimeError(f"{type(self).__name__} needs real parameters; torch.view_as_real makes them so")
        for group, param in with_grad:
            state = self.state[param]
            if not state:
                self.init_state(state, group, param)
            self.step_param(state, group, param.grad, param)
        return loss


def _validate(group: Mapping[str, Any]) -> None:
    for name in ("lr", "eps"):
        if not _is_between(group.get(name, 0), 0, math.inf):
            raise ValueError(f"{name} must be a finite number of at least 0, not {group[name]!r}")
    for name in ("beta1", "beta2"):
        if not _is_between(group.get(name, 0), 0, 1):
            raise ValueError(f"{name} must be a number in [0, 1), not {group[name]!r}")
    betas = group.get("betas", (0, 0))
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(_is_between(beta, 0, 1) for beta in betas)):
        raise ValueError(f"betas must be two numbers in [0, 1), not {betas!r}")
    if not isinstance(group["weight_decay"], WeightDecay):
        raise ValueError(f"weight_decay must be a WeightDecay, not {group['weight_decay']!r}")


def _is_between(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float | Tensor) and bool(low <= value < high)
