"""Defines Adam and its variant AMSGrad by hand, as `torch.optim.Optimizer` classes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

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
from amsgrad_exp.rules.adam import AdamOptions
from amsgrad_exp.rules.amsgrad import AMSGradOptions
from amsgrad_exp.rules.rule import Options


class Adam(AdaptiveOptimizer):
    r"""Adam (Kingma and Ba 2015, arXiv 1412.6980, Algorithm 1), with a method for each part in which variants differ.

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
            torch.optim does. In a group loaded from torch.optim, it is False.
        defaults: further per-group options and their defaults; not modified.
        decoupled_weight_decay, foreach, maximize: as in torch.optim.Adam, but foreach=None updates many small
            parameters together on a CPU, too.
        options: ``dialect``, which is torch, or paper for no bias correction at all (Reddi, Kale and Kumar 2018);
            ``optimized_update`` belongs to dialect torch.

    Raises:
        ValueError: an argument is out of range; the message names it and its value.

    The state of a parameter has, under torch.optim's names, ``step`` (a tensor with one number), ``exp_avg`` m and
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
            {**(defaults or {}), **chosen, "betas": betas, "eps": eps},  # both are needed, since None is not a number
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
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)

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
        """Update ``param`` in place by m over the root of v, with bias corrections except in the paper's dialect."""
        step_size, denominator = float(group["lr"]), v.sqrt()
        if group["dialect"] != "paper":
            beta1, beta2 = map(float, group["betas"])
            bias_correction2_sqrt = math.sqrt(1 - beta2**step)
            step_size /= 1 - beta1**step
            if group["optimized_update"]:
                step_size *= bias_correction2_sqrt
            else:
                denominator.div_(bias_correction2_sqrt)
        param.addcdiv_(m, denominator.add_(group["eps"]), value=-step_size)

    def step_param(self, state: State, group: Group, grad: Tensor, param: Tensor) -> None:
        """Take step t, counted from 1."""
        step = count_step(state)
        m, v = self.calc_mv(state, group, grad, step)
        self.adam_update(group, param, m, v, step)


class AMSGrad(Adam):
    r"""Adam that divides by the root of the largest v so far, so that its step size never grows.

    Reddi, Kale and Kumar 2018, *On the Convergence of Adam and Beyond*, arXiv 1904.09237, Algorithm 2:

    .. math::
        \hat{v}_t = \max(\hat{v}_{t-1}, v_t) \qquad
        \theta_t = \theta_{t-1} - \alpha_t \frac{m_t}{\sqrt{\hat{v}_t} + \epsilon}

    with Adam's bias corrections of m and of v̂ as in torch.optim, which takes the maximum of the uncorrected v. In the
    dialect of optax, the maximum is that of the corrected v; the paper's Algorithm 2 has no bias correction.

    Args:
        params, lr, betas, eps, weight_decay, optimized_update, defaults: as in `Adam`.
        amsgrad: False selects plain Adam, for the whole optimizer or for one parameter group.
        options: `Adam`'s further arguments, where ``dialect`` is torch, paper or optax; ``beta1_decay``, which says how
            β1 decays in the paper's dialect: none, geometric (β1·λ^{t−1}) or harmonic (β1/t); ``lam``, λ in (0, 1).

    The state of a parameter is `Adam`'s and, unless ``amsgrad`` is False, ``max_exp_avg_sq`` v̂, like ``exp_avg_sq``.
    """

    options: ClassVar[type[Options]] = AMSGradOptions

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float | WeightDecay = 0.0,
        optimized_update: bool = True,
        amsgrad: bool = True,
        defaults: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        own = {**(defaults or {}), "amsgrad": amsgrad}
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, own, **options)

    def complete_group(self, group: Group, present: Group) -> None:
        super().complete_group(group, present)
        if present["amsgrad"] and not group["amsgrad"]:
            warnings.warn(
                "the loaded state is plain Adam's: its parameter group has amsgrad=False, and so has AMSGrad's now; "
                "to use AMSGrad, set amsgrad to True in param_groups",
                stacklevel=2,
            )

    def complete_state(self, state: State, group: Group) -> None:
        """Set the largest v so far to 0 if plain Adam did not store it; remove it if it is not used."""
        if not group["amsgrad"]:
            state.pop("max_exp_avg_sq", None)
        elif isinstance(state.get("exp_avg_sq"), Tensor):
            state.setdefault("max_exp_avg_sq", torch.zeros_like(state["exp_avg_sq"]))

    def init_state(self, state: State, group: Group, param: Tensor) -> None:
        super().init_state(state, group, param)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def calc_mv(self, state: State, group: Group, grad: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Update the moments and their maximum in place and return (m_t, v̂_t), before bias correction."""
        m, v = super().calc_mv(state, group, grad, step)
        if not group["amsgrad"]:
            return m, v
        if "max_exp_avg_sq" not in state:  # amsgrad was turned on after steps without it
            state["max_exp_avg_sq"] = v.clone()
        if group["dialect"] == "optax":
            v = v / (1 - self.get_betas(group, step)[1] ** step)
        return m, state["max_exp_avg_sq"].clamp_(min=v)

    def get_betas(self, group: Group, step: int) -> tuple[float, float]:
        beta1, beta2 = super().get_betas(group, step)
        if group["beta1_decay"] == "geometric":
            beta1 *= group["lam"] ** (step - 1)
        elif group["beta1_decay"] == "harmonic":
            beta1 /= step
        return beta1, beta2

    def adam_update(self, group: Group, param: Tensor, m: Tensor, v: Tensor, step: int) -> None:
        """Update as `Adam.adam_update` does, with v̂, which is already corrected in the dialect of optax."""
        if not group["amsgrad"] or group["dialect"] != "optax":
            super().adam_update(group, param, m, v, step)
            return
        step_size = float(group["lr"]) / (1 - float(group["betas"][0]) ** step)
        param.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-step_size)
