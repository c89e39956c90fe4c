"""Takes single steps of a torch optimizer, in a faster way if it needs only a gradient."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim import optimizer as torch_optimizer
from torch.optim.optimizer import Optimizer

from amsgrad_exp.optimizers.importing import PLAIN, Drive, said
from amsgrad_exp.problems import LinearProblem, Problem

# A derivative of at least this size has the same bits as autograd's gradient, which then rounds no halves.
# tests/test_problems.py checks this.
SMALLEST_SLOPE = 1e-30

PROFILED = Optimizer.profile_hook_step(lambda optimizer: None).__code__


class Step:
    """Takes an optimizer's steps on one parameter with one element, in a fast or an ordinary way, with the same bits.

    The fast way sets the gradient to the loss's derivative instead of using autograd, and calls the update without
    torch's profiler wrapper. The ordinary way is used if the optimizer has its own ``zero_grad`` or hooks on the step
    or the parameter, or needs more than a gradient.
    """

    def __init__(self, problem: Problem, optimizer: Optimizer, param: torch.nn.Parameter, drive: Drive = PLAIN) -> None:
        self._problem = problem
        self._drive = drive
        self._optimizer = optimizer
        self._param = param
        self._number = number_of(str(param.dtype).removeprefix("torch."))
        self._interval = problem.interval
        self._smallest = 0.0 if isinstance(problem, LinearProblem) else SMALLEST_SLOPE
        self._update = update_of(optimizer)
        self._lean = not (drive.closure or drive.graph) and sees_gradients_alone(optimizer, param)

    def take(self, x: float, c: tuple[Any, ...], step_size: float) -> float:
        """Take one step from x and clamp; return the new value of the parameter.

        Args:
            x: the value of the parameter.
            c: the loss's coefficients, in the type that `number_of` returns.
            step_size: α_t, for every parameter group.

        Raises:
            Exception: any exception of the optimizer.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = step_size
        slope = self._problem.slope(self._number(x), *c) if self._lean else 0.0
        if self._lean and not abs(slope) < self._smallest:
            self._param.grad = torch.full(self._drive.shape, float(slope), dtype=self._param.dtype)
            self._update()
            self._param.grad = None
        else:
            self._drive.step(self._optimizer, [self._param], lambda: self._loss(c))
        x = self._param.item()
        low, high = self._interval
        if not low < x < high:
            with torch.no_grad():
                x = self._param.clamp_(low, high).item()
        return x

    def _loss(self, c: tuple[Any, ...]) -> torch.Tensor:
        x = self._param.float() if self._param.dtype.itemsize < 4 else self._param
        loss: torch.Tensor = self._problem.loss(x, *map(float, c)).sum()
        return loss


def number_of(dtype: str) -> type[np.floating[Any]]:
    """Return NumPy's type for losses and gradients in runs of this dtype: the same, or float32 for half precision."""
    return np.dtype({"bfloat16": "float32", "float16": "float32"}.get(dtype, dtype)).type


def raised(error: BaseException, step: int) -> str:
    """Describe an exception that an optimizer raised in a step, in one line."""
    why = said(error)
    if isinstance(error, NotImplementedError) and not str(error):
        why = "its step() is not implemented (a method of another name may do the work)"
    return f"the optimizer raised {type(error).__name__} at step {step}: {why}"


def update_of(optimizer: Optimizer) -> Callable[[], Any]:
    """Return an optimizer's ``step`` without the wrapper that torch adds to every class."""
    step = type(optimizer).step
    if "step" in vars(optimizer) or getattr(step, "__code__", None) is not PROFILED:
        return optimizer.step
    return types.MethodType(step.__wrapped__, optimizer)  # type: ignore[attr-defined]


def sees_gradients_alone(optimizer: Optimizer, param: torch.nn.Parameter) -> bool:
    """Whether no code of the optimizer, such as a hook, runs between two updates."""
    hooks = (
        getattr(optimizer, "_optimizer_step_pre_hooks", None),  # a wrapper may not call torch's constructor
        getattr(optimizer, "_optimizer_step_post_hooks", None),
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
        param._backward_hooks,
        param._post_accumulate_grad_hooks,
    )
    own_zero_grad = "zero_grad" in vars(optimizer) or type(optimizer).zero_grad is not Optimizer.zero_grad
    return not own_zero_grad and not any(hooks)
