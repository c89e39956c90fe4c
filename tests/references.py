"""Independent implementations of every optimizer: another library's class, or the paper's lines in plain Python.

A reference is called with a problem, its step sizes and the optimizer's settings, and returns x_t for each t and x_T,
all in double precision. ``lr`` of the settings is α; the step sizes are α_t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_optimizer
import torch

from amsgrad_exp.problems import Problem
from amsgrad_exp.spec.optimizer import OptimizerSettings

Reference = Callable[[Problem, list[float], OptimizerSettings], list[float]]


def clamped(problem: Problem, x: float) -> float:
    low, high = problem.interval
    return min(max(x, low), high)


def of_class(
    kind: Callable[..., torch.optim.Optimizer], arguments: Callable[[OptimizerSettings], Mapping[str, Any]]
) -> Reference:
    """A `torch.optim.Optimizer` of somebody else's, on one float64 parameter whose gradient is set by hand."""

    def xs(problem: Problem, step_sizes: list[float], settings: OptimizerSettings) -> list[float]:
        param = torch.nn.Parameter(torch.tensor([problem.start], dtype=torch.float64))
        optimizer = kind([param], lr=settings.lr, **arguments(settings))
        seen = [param.item()]
        for c, step_size in zip(problem.coefficients(0, len(step_sizes)).T.tolist(), step_sizes, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = step_size
            param.grad = torch.tensor([problem.slope(param.item(), *c)], dtype=torch.float64)
            optimizer.step()
            with torch.no_grad():
                param.fill_(clamped(problem, param.item()))
            seen.append(param.item())
        return seen

    return xs


def of_step(make: Callable[[OptimizerSettings], Callable[[float, float], float]]) -> Reference:
    """Plain Python: ``make`` returns a function of (g, α_t) that keeps its own state and returns the move."""

    def xs(problem: Problem, step_sizes: list[float], settings: OptimizerSettings) -> list[float]:
        move, x = make(settings), problem.start
        seen = [x]
        for c, step_size in zip(problem.coefficients(0, len(step_sizes)).T.tolist(), step_sizes, strict=True):
            x = clamped(problem, x - move(problem.slope(x, *c), step_size))
            seen.append(x)
        return seen

    return xs


def betas_and_eps(settings: OptimizerSettings) -> dict[str, Any]:
    return {"betas": (settings.beta1, settings.beta2), "eps": settings.eps}


def adam(settings: OptimizerSettings, *, amsgrad: bool = False) -> Callable[[float, float], float]:
    """Kingma and Ba 2015, Algorithm 1 and the end of Section 2; with the maximum of Reddi et al. 2018, Algorithm 2."""
    beta1, beta2, eps = settings.beta1 or 0.0, settings.beta2 or 0.0, settings.eps or 0.0
    m = v = v_hat = 0.0
    t = 0

    def move(g: float, step_size: float) -> float:
        nonlocal m, v, v_hat, t
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        v_hat = max(v_hat, v) if amsgrad else v
        if settings.optimized_update:
            return step_size * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (math.sqrt(v_hat) + eps)
        return step_size * (m / (1 - beta1**t)) / (math.sqrt(v_hat / (1 - beta2**t)) + eps)

    return move


def adopt(settings: OptimizerSettings) -> dict[str, Any]:
    """pytorch_optimizer counts the first step, which moves nothing, where the authors' code does not."""
    clip = (lambda step: (step - 1) ** 0.25) if settings.options["clip"] else None
    return {**betas_and_eps(settings), "clip_lambda": clip, "foreach": False}


def adashift(settings: OptimizerSettings) -> Callable[[float, float], float]:
    """Zhou et al. 2019, Algorithm 3: the paper's lines over the list of all gradients so far."""
    beta1, beta2, eps = settings.beta1 or 0.0, settings.beta2 or 0.0, settings.eps or 0.0
    n: Any = settings.options["n"]
    gradients: list[float] = []
    v = 0.0

    def move(g: float, step_size: float) -> float:
        nonlocal v
        gradients.append(g)
        t = len(gradients)
        if t <= n:
            return 0.0
        v = beta2 * v + (1 - beta2) * gradients[t - n - 1] ** 2
        m = sum(beta1**i * gradients[t - 1 - i] for i in range(n)) / sum(beta1**i for i in range(n))
        return step_size * m / (math.sqrt(v / (1 - beta2 ** (t - n))) + eps)

    return move


REFERENCES: dict[str, Reference] = {
    "adam": of_step(adam),
    "amsgrad": of_step(lambda settings: adam(settings, amsgrad=True)),
    "adopt": of_class(pytorch_optimizer.ADOPT, adopt),
    "radam": of_class(torch.optim.RAdam, betas_and_eps),
    "adashift": of_step(adashift),
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adam": [{"optimized_update": False}],
    "amsgrad": [{"optimized_update": False}],
    "adopt": [{"options": {"clip": False}}],
    "adashift": [{"options": {"n": 1}}, {"options": {"n": 2}}],
}
"""Settings in which an optimizer is compared beside its default ones."""
