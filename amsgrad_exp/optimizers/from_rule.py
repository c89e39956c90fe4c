"""A rule as a `torch.optim.Optimizer`, elementwise on parameters of any shape."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.optim.optimizer import ParamsT

from amsgrad_exp.optimizers.base import AdaptiveOptimizer, Group, State, WeightDecay
from amsgrad_exp.rules.base import Optimizer, Rule


class RuleOptimizer(AdaptiveOptimizer):
    """An optimizer of the project whose class is made of its rule.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: step size α; the default of this and of what follows is what the optimizer's authors publish.
        betas: (β1, β2), of an optimizer that has both.
        eps: ε, of an optimizer that has one.
        weight_decay: a `WeightDecay`; none by default.
        settings: ``beta1`` or ``beta2`` of an optimizer that has only one of them, and its own options, by name.

    Raises:
        ValueError: an argument is out of range, or the optimizer takes no such argument; the message names it.

    State of a parameter: ``step`` (int), ``carry`` (what the coefficients carry from step to step) and the rule's
    own, by its names, tensors of the parameter's shape and dtype. A group's ``initial_lr`` is the lr it began with,
    as torch's schedulers call it.
    """

    optimizer: Optimizer

    def __init__(
        self,
        params: ParamsT,
        lr: float | None = None,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: WeightDecay = WeightDecay(),
        **settings: Any,
    ) -> None:
        given: dict[str, Any] = {name: settings.pop(name) for name in ("beta1", "beta2") if name in settings}
        given |= {name: value for name, value in (("betas", betas), ("eps", eps)) if value is not None}
        try:
            options = self.optimizer.options.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{first['loc'][-1]}: {first['msg']}, not {first['input']!r}") from error
        takes = self.optimizer.rule(options).settings
        published: dict[str, Any] = {name: value for name, value in self.optimizer.defaults.items() if name in takes}
        if {"beta1", "beta2"} <= published.keys():
            published["betas"] = (published.pop("beta1"), published.pop("beta2"))
        for name in given:
            if name not in published:
                raise ValueError(f"{self.optimizer.title} takes no {name}")
        own = published | given
        lr = own.pop("lr") if lr is None else lr
        super().__init__(
            params, lr, own.pop("betas", None), own.pop("eps", None), weight_decay, options.model_dump() | own
        )

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in torch.optim; a bad option is refused before anything is added."""
        super().add_param_group({"initial_lr": param_group.get("lr", self.defaults["lr"]), **param_group})

    def _rule(self, group: Group) -> Rule:
        names = self.optimizer.options.model_fields
        return self.optimizer.rule(self.optimizer.options(**{name: group[name] for name in names}))

    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        """Start from t = 0."""
        rule = self._rule(group)
        state["step"] = 0
        state["carry"] = rule.carry
        for name, start in rule.state.items():
            state[name] = torch.full_like(param, start, memory_format=torch.preserve_format)

    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Take step t = ``state["step"]``, counted from 0."""
        rule = self._rule(group)
        grad = group["weight_decay"](param, grad, group)
        lr = float(group["lr"])
        first = float(group["initial_lr"]) or lr
        decays = dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))
        h = rule.hyper_from({**group, **decays, "lr": first})
        scale, c, state["carry"] = rule.coefficients(state["step"], lr / first if first else 1.0, h, *state["carry"])
        seen = (param,) if rule.sees_x else ()
        move, kept = rule.update(grad, h.lr * scale, c, h, *seen, *(state[name] for name in rule.state))
        param.sub_(move)
        state["step"] += 1
        state.update(zip(rule.state, kept, strict=True))
