"""AMSGrad (Reddi, Kale and Kumar 2018, *On the Convergence of Adam and Beyond*, arXiv 1904.09237, Algorithm 2)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from amsgrad_exp.optimizers.adam import Adam
from amsgrad_exp.optimizers.adaptive import State
from amsgrad_exp.optimizers.groups import Group, WeightDecay
from amsgrad_exp.rules.amsgrad import AMSGradOptions
from amsgrad_exp.rules.rule import Options


class AMSGrad(Adam):
    r"""Adam that divides by the root of the largest v so far, so that its step size never grows.

    .. math::
        \hat{v}_t = \max(\hat{v}_{t-1}, v_t) \qquad
        \theta_t = \theta_{t-1} - \alpha_t \frac{m_t}{\sqrt{\hat{v}_t} + \epsilon}

    with Adam's bias corrections of m and of v̂ as in torch.optim, where the maximum is of the uncorrected v. In the
    dialect of optax the maximum is of the corrected v; the paper's Algorithm 2 has no bias correction.

    Args:
        params, lr, betas, eps, weight_decay, optimized_update, defaults: as in `Adam`.
        amsgrad: False is plain Adam, for the whole optimizer or for one parameter group.
        options: `Adam`'s further arguments, and here ``dialect`` is torch, paper or optax. ``beta1_decay``: none,
            geometric (β1·λ^{t−1}) or harmonic (β1/t): how β1 decays in the paper's dialect. ``lam``: λ, in (0, 1).

    Raises:
        ValueError: an argument is out of range; the message names it and its value.

    State of a parameter: `Adam`'s and, unless ``amsgrad`` is False, ``max_exp_avg_sq`` v̂, a tensor as ``exp_avg_sq``.
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
        """Adam's state, and v̂ at zero."""
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
        """Move ``param`` in place by m over the root of v̂, corrected as the dialect has it."""
        if not group["amsgrad"] or group["dialect"] != "optax":
            super().adam_update(group, param, m, v, step)
            return
        step_size = float(group["lr"]) / (1 - float(group["betas"][0]) ** step)
        param.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-step_size)
