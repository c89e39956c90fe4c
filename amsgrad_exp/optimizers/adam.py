"""Adam (Kingma and Ba 2015, arXiv 1412.6980, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from amsgrad_exp.optimizers.adaptive import AdaptiveOptimizer, State, count_step, new_step
from amsgrad_exp.optimizers.groups import Group, WeightDecay, checked_options
from amsgrad_exp.rules.adam import AdamOptions
from amsgrad_exp.rules.rule import Options


class Adam(AdaptiveOptimizer):
    r"""Adam, split where its variants differ.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \alpha \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        params: parameters, named parameters or parameter groups.
        lr: step size α (default 1e-3, as in the paper).
        betas: (β1, β2) (default (0.9, 0.999), as in the paper).
        eps: ε (default 1e-16, small enough not to matter in this project's experiments; the paper's is 1e-8).
        weight_decay: λ of an L2 penalty, or a `WeightDecay`; 0 by default.
        optimized_update: fold both corrections into the step size, α·√(1 − β2^t)/(1 − β1^t) (end of the
            paper's Section 2), so that ε is added to the uncorrected √v; False computes the formula above, as
            torch.optim does. A group loaded from torch.optim has it False.
        defaults: further per-group options and their defaults; read, never modified.
        decoupled_weight_decay, foreach, maximize: as in torch.optim.Adam; on a CPU, too, foreach=None updates many
            small parameters together.
        options: ``dialect``: torch, or paper for no bias correction at all (Reddi, Kale and Kumar 2018);
            ``optimized_update`` is of torch's.

    Raises:
        ValueError: an argument is out of range; the message names it and its value.

    State of a parameter, under torch.optim's names: ``step`` (a tensor with one number), ``exp_avg`` m and
    ``exp_avg_sq`` v (tensors of the parameter's shape and dtype; float32 for parameters of half precision).
    """

    options: ClassVar[type[Options]] = AdamOptions

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float | WeightDecay = 0.0,
        optimized_update: bool = True,
        defaults: Mapping[str, Any] | None = None,
        *,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        **options: Any,
    ) -> None:
        chosen = checked_options(self.options, options | {"optimized_update": optimized_update}, type(self).__name__)
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            {**(defaults or {}), **chosen, "betas": betas, "eps": eps},  # both are needed: None is not a number
            decoupled_weight_decay=decoupled_weight_decay,
            foreach=foreach,
            maximize=maximize,
        )

    def complete_group(self, group: Group, present: Group) -> None:
        group.setdefault("optimized_update", False)  # as in torch.optim, which has no such option
        if group.get("amsgrad") and "amsgrad" not in self.defaults:
            raise ValueError(f"{type(self).__name__} cannot load a parameter group with amsgrad=True; AMSGrad can")
        super().complete_group(group, present)

    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        """Start from t = 0 with both moments at zero."""
        state["step"] = new_step(exact=group["dialect"] != "torch")
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def calc_mv(self, state: State, group: Group, grad: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Update both moments in place and return (m_t, v_t), before bias correction."""
        beta1, beta2 = self.get_betas(group, step)
        m: Tensor = state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        v: Tensor = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        return m, v

    def get_betas(self, group: Group, step: int) -> tuple[float, float]:
        """Return the decay rates of step t, counted from 1."""
        beta1, beta2 = map(float, group["betas"])
        return beta1, beta2

    def adam_update(self, group: Group, param: Tensor, m: Tensor, v: Tensor, step: int) -> None:
        """Move ``param`` in place by m over the root of v, both bias-corrected, or neither in the paper's dialect."""
        lr, eps = float(group["lr"]), group["eps"]
        if group["dialect"] == "paper":
            param.addcdiv_(m, v.sqrt().add_(eps), value=-lr)
            return
        beta1, beta2 = map(float, group["betas"])
        bias_correction2_sqrt = math.sqrt(1 - beta2**step)
        step_size = lr / (1 - beta1**step)
        denominator = v.sqrt()
        if group["optimized_update"]:
            step_size *= bias_correction2_sqrt
        else:
            denominator.div_(bias_correction2_sqrt)
        param.addcdiv_(m, denominator.add_(eps), value=-step_size)

    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Take step t, counted from 1."""
        step = count_step(state)
        m, v = self.calc_mv(state, group, grad, step)
        self.adam_update(group, param, m, v, step)
