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
        lr: step size α.
        betas: (β1, β2), those of them that the optimizer has.
        eps: ε.
        weight_decay: a `WeightDecay`; none by default.
        options: the optimizer's own settings, by name.

    Raises:
        ValueError: an argument is out of range; the message names it and its value.

    State of a parameter: ``step`` (int), ``carry`` (what the coefficients carry from step to step) and the rule's
    own, by its names, tensors of the parameter's shape and dtype.
    """

    optimizer: Optimizer

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: WeightDecay = WeightDecay(),
        **options: Any,
    ) -> None:
        try:
            chosen = self.optimizer.options.model_validate(options).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{first['loc'][-1]}: {first['msg']}, not {first['input']!r}") from error
        super().__init__(params, lr, betas, eps, weight_decay, chosen)

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
        beta1, beta2 = group["betas"]
        grad = group["weight_decay"](param, grad, group)
        h = rule.hyper_from({**group, "lr": float(group["lr"]), "beta1": beta1, "beta2": beta2})
        scale, c, state["carry"] = rule.coefficients(state["step"], 1.0, h, *state["carry"])
        move, kept = rule.update(grad, h.lr * scale, c, h, *(state[name] for name in rule.state))
        param.sub_(move)
        state["step"] += 1
        state.update(zip(rule.state, kept, strict=True))
