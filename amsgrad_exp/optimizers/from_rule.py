"""Makes a `torch.optim.Optimizer` from a rule, which it applies elementwise to parameters of any shape."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from amsgrad_exp.optimizers.adaptive import (
    AdaptiveOptimizer,
    Group,
    State,
    WeightDecay,
    checked_options,
    count_step,
    new_step,
)
from amsgrad_exp.rules.rule import Optimizer, Rule


class RuleOptimizer(AdaptiveOptimizer):
    """An optimizer of the project whose class is made from its rule.

    Args:
        params, lr: as in `Adam`; by default, lr and the following settings are what the optimizer's authors publish.
        betas, eps: (β1, β2) and ε, for an optimizer that has both βs, or ε.
        weight_decay, decoupled_weight_decay, foreach, maximize: as in `Adam`.
        settings: ``beta1`` or ``beta2`` of an optimizer that has only one of them, and its own options, by name.

    Raises:
        ValueError: an argument is out of range, or the optimizer has no such argument; the message names it.

    The state of a parameter has ``step`` (a tensor with one number), the numbers that the rule's coefficients carry
    from step to step, and tensors of the parameter's shape and dtype (float32 for parameters of half precision), under
    the rule's names for them. A group's ``base_lr`` is the lr that it was made with.
    """

    optimizer: Optimizer

    def __init_subclass__(cls) -> None:
        cls.options = cls.optimizer.options

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor | None = None,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | WeightDecay = 0.0,
        *,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        **settings: Any,
    ) -> None:
        given: dict[str, Any] = {name: settings.pop(name) for name in ("beta1", "beta2") if name in settings}
        given |= {name: value for name, value in (("betas", betas), ("eps", eps)) if value is not None}
        options = checked_options(self.options, settings, type(self).__name__)
        takes = _rule(type(self), tuple(options.values())).settings
        own: dict[str, Any] = {name: value for name, value in self.optimizer.defaults.items() if name in takes}
        if {"beta1", "beta2"} <= own.keys():
            own["betas"] = (own.pop("beta1"), own.pop("beta2"))
        if unknown := [name for name in given if name not in own]:
            raise ValueError(f"{self.optimizer.title} takes no {unknown[0]}")
        own |= given | ({} if lr is None else {"lr": lr})
        super().__init__(
            params,
            own.pop("lr"),
            own.pop("betas", None),
            own.pop("eps", None),
            weight_decay,
            options | own,
            decoupled_weight_decay=decoupled_weight_decay,
            foreach=foreach,
            maximize=maximize,
        )

    def add_param_group(self, param_group: Group) -> None:
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("base_lr", float(self.param_groups[-1]["lr"]))

    def complete_group(self, group: Group, present: Group) -> None:
        super().complete_group(group, present)
        # Version 0.2.0 stored it under the name that torch's schedulers use.
        group.setdefault("base_lr", float(group["initial_lr"] if "initial_lr" in group else group["lr"]))

    def complete_state(self, state: State, group: Group) -> None:
        """Name the numbers that version 0.2.0 stored in one tuple; compute those that torch.optim does not store."""
        rule = self._rule(group)
        if "carry" in state:
            carried = state.pop("carry")
            if len(carried) != len(rule.carried):
                raise ValueError(f"its carry has {len(carried)} numbers, not {len(rule.carried)}")
            state |= dict(zip(rule.carried, carried, strict=True))
        missing = rule.carried.keys() - state.keys()
        known = self.optimizer.kept_by_torch
        if known and missing and missing.isdisjoint(known) and "step" in state:
            h, carry = self._hyper(rule, group), rule.carry
            for t in range(int(state["step"])):
                before, carry = carry, rule.coefficients(t, 1.0, h, *carry)[2]
                if carry == before:
                    break
            state |= {name: value for name, value in zip(rule.carried, carry, strict=True) if name in missing}

    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        """Start from t = 0."""
        rule = self._rule(group)
        state["step"] = new_step(exact=not self.optimizer.kept_by_torch)
        state.update(rule.carried)
        for name, start in rule.state.items():
            state[name] = torch.full_like(param, start, memory_format=torch.preserve_format)

    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Take step t, counted from 0 as rules count.

        Raises:
            RuntimeError: an option was changed after the first step, and the state is not the one it needs.
        """
        rule = self._rule(group)
        try:
            carried, kept = [state[name] for name in rule.carried], [state[name] for name in rule.state]
        except KeyError as missing:
            options = ", ".join(f"{name}={group[name]!r}" for name in self.options.model_fields)
            raise RuntimeError(f"{type(self).__name__} took steps with other options than {options}") from missing
        t = count_step(state) - 1
        h = self._hyper(rule, group)
        scale = float(group["lr"]) / h.lr if h.lr else 0.0
        scale, c, carry = rule.coefficients(t, scale, h, *carried)
        # NumPy's numbers would try to make arrays of tensors.
        state.update(zip(rule.carried, map(float, carry), strict=True))
        seen = (param,) if rule.uses_iterate else ()
        move, new = rule.update(grad, h.lr * float(scale), tuple(map(float, c)), h, *seen, *kept)
        param.sub_(move)
        # A gradient that is kept may be overwritten by the next one.
        state.update(zip(rule.state, (each.clone() if each is grad else each for each in new), strict=True))

    def _rule(self, group: Group) -> Rule:
        return _rule(type(self), tuple(group[name] for name in self.options.model_fields))

    def _hyper(self, rule: Rule, group: Group) -> Any:
        """Return the rule's hyper-parameters; lr is the group's base lr, by which α_t is divided."""
        betas = {name: float(beta) for name, beta in zip(("beta1", "beta2"), group.get("betas", ()), strict=False)}
        return rule.hyper_from({**group, **betas, "lr": group["base_lr"] or float(group["lr"])})


@functools.lru_cache
def _rule(kind: type[RuleOptimizer], values: tuple[Any, ...]) -> Rule:
    """Return the rule of a class with these values of its options, in their order."""
    return kind.optimizer.rule(kind.options(**dict(zip(kind.options.model_fields, values, strict=True))))
