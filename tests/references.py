"""Independent implementations of every optimizer: another library's class, `Port`, or a paper's lines in Python.

A reference is called with a problem, its step sizes and the optimizer's settings, and returns x_t for each t and x_T,
all in double precision. ``lr`` of the settings is α; the step sizes are α_t.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_optimizer
import torch

from amsgrad_exp.problems import Problem
from amsgrad_exp.rules.settings import OptimizerSettings
from tests.ports import Port, decayed_beta1

Reference = Callable[[Problem, list[float], OptimizerSettings], list[float]]


def clamped(problem: Problem, x: float) -> float:
    low, high = problem.interval
    return min(max(x, low), high)


def of_class(
    kind: Callable[..., torch.optim.Optimizer], arguments: Callable[[OptimizerSettings], Mapping[str, Any]]
) -> Reference:
    """A `torch.optim.Optimizer` class of another library, on one float64 parameter whose gradient is set by hand."""

    def xs(problem: Problem, step_sizes: list[float], settings: OptimizerSettings) -> list[float]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)  # the dtype of NAdam's product of momenta
        try:
            param = torch.nn.Parameter(torch.tensor([problem.start]))
            optimizer = kind([param], lr=settings.lr, **arguments(settings))
            seen = [param.item()]
            for c, step_size in zip(problem.coefficients(0, len(step_sizes)).T.tolist(), step_sizes, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = step_size
                param.grad = torch.tensor([problem.slope(param.item(), *c)])
                optimizer.step()
                with torch.no_grad():
                    param.fill_(clamped(problem, param.item()))
                seen.append(param.item())
        finally:
            torch.set_default_dtype(before)
        return seen

    return xs


def of_step(make: Callable[[OptimizerSettings], Callable[[float, float], float]]) -> Reference:
    """An optimizer in plain Python: ``make`` returns a function of (g, α_t) with state that returns the update."""

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


def ported(settings: OptimizerSettings) -> dict[str, Any]:
    """The arguments of `Port` without a departure."""
    rule, options = settings.name, dict(settings.options)
    form = options.pop("form", options.pop("dialect", "torch"))
    if form in ("paper", "optax", "published"):
        rule += f":{form}"
    elif settings.optimized_update:
        rule += ":folded"
    options.pop("optimized_update", None)
    eps = 0.1 if form == "published" else settings.eps  # of AvaGrad, in whose published form ε cancels out
    return {"betas": numbers(settings)[:2], "eps": eps, "rule": rule, **options}


def numbers(settings: OptimizerSettings) -> tuple[float, float, float]:
    """β1, β2 and ε, 0 where there is none."""
    return settings.beta1 or 0.0, settings.beta2 or 0.0, settings.eps or 0.0


def adopt(settings: OptimizerSettings) -> dict[str, Any]:
    """pytorch_optimizer counts the first step, which changes nothing; the authors' code does not."""
    clip = (lambda step: (step - 1) ** 0.25) if settings.options["clip"] else None
    return {**betas_and_eps(settings), "clip_lambda": clip, "foreach": False}


def adamnc(settings: OptimizerSettings) -> Callable[[float, float], float]:
    """Reddi et al. 2018, Algorithm 3 and Corollary 2, with v as the mean over the list of all squares so far."""
    _, _, eps = numbers(settings)
    options: Any = settings.options
    squares: list[float] = []
    m = 0.0

    def move(g: float, step_size: float) -> float:
        nonlocal m
        squares.append(g**2)
        beta1 = decayed_beta1(settings.beta1 or 0.0, len(squares), options["beta1_decay"], options["lam"])
        m = beta1 * m + (1 - beta1) * g
        return step_size * m / (math.sqrt(math.fsum(squares) / len(squares)) + eps)

    return move


def nosadam(settings: OptimizerSettings) -> Callable[[float, float], float]:
    """Huang et al. 2019, Algorithm 1: v as Σ b_k·g_k²/B_t over the list of all gradients so far."""
    beta1, _, eps = numbers(settings)
    gamma: Any = settings.options["gamma"]
    gradients: list[float] = []
    m = 0.0

    def move(g: float, step_size: float) -> float:
        nonlocal m
        gradients.append(g)
        weights = [(k + 1) ** -gamma for k in range(len(gradients))]
        m = beta1 * m + (1 - beta1) * g
        v = math.fsum(b * gradient**2 for b, gradient in zip(weights, gradients, strict=True)) / math.fsum(weights)
        return step_size / (1 - beta1 ** len(gradients)) * m / (math.sqrt(v) + eps)

    return move


def avagrad(problem: Problem, step_sizes: list[float], settings: OptimizerSettings) -> list[float]:
    released = of_class(pytorch_optimizer.AvaGrad, betas_and_eps)
    form = released if settings.options["form"] == "released" else of_class(Port, ported)
    return form(problem, step_sizes, settings)


def with_options(settings: OptimizerSettings) -> dict[str, Any]:
    return {**betas_and_eps(settings), **settings.options}


def bounded(*, ams_bound: bool) -> Reference:
    return of_class(pytorch_optimizer.AdaBound, lambda settings: {**with_options(settings), "ams_bound": ams_bound})


REFERENCES: dict[str, Reference] = {
    "adam": of_class(Port, ported),
    "adamw": of_class(torch.optim.AdamW, with_options),
    "adamax": of_class(torch.optim.Adamax, betas_and_eps),
    "nadam": of_class(torch.optim.NAdam, with_options),
    "radam": of_class(torch.optim.RAdam, betas_and_eps),
    "amsgrad": of_class(Port, ported),
    "adamnc": of_step(adamnc),
    "adamx": of_class(Port, ported),
    "nosadam": of_step(nosadam),
    "padam": of_class(Port, ported),
    "yogi": of_class(pytorch_optimizer.Yogi, betas_and_eps),
    "adabelief": of_class(pytorch_optimizer.AdaBelief, betas_and_eps),
    "acprop": of_class(Port, ported),
    "adabound": bounded(ams_bound=False),
    "amsbound": bounded(ams_bound=True),
    "adashift": of_class(Port, ported),
    "adopt": of_class(pytorch_optimizer.ADOPT, adopt),
    "avagrad": avagrad,
    "adan": of_class(
        pytorch_optimizer.Adan,
        lambda settings: {"betas": (settings.beta1, settings.beta2, settings.options["beta3"]), "eps": settings.eps},
    ),
    "lion": of_class(pytorch_optimizer.Lion, lambda settings: {"betas": (settings.beta1, settings.beta2)}),
    "rmsprop": of_class(
        torch.optim.RMSprop, lambda settings: {"alpha": settings.beta2, "eps": settings.eps, **settings.options}
    ),
    "adagrad": of_class(torch.optim.Adagrad, lambda settings: {"eps": settings.eps}),
    "adadelta": of_class(torch.optim.Adadelta, lambda settings: {"rho": settings.beta2, "eps": settings.eps}),
    "sgd": of_class(torch.optim.SGD, lambda settings: settings.options),
    "signsgd": of_class(pytorch_optimizer.SignSGD, lambda settings: {"momentum": 0.0}),
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adam": [{"optimized_update": False}, {"options": {"dialect": "paper"}}],
    "nadam": [{"options": {"momentum_decay": 1.0}}],
    "amsgrad": [
        {"optimized_update": False},
        {"options": {"dialect": "optax"}},
        {"options": {"dialect": "paper"}},
        {"options": {"dialect": "paper", "beta1_decay": "geometric", "lam": 0.9}},
        {"options": {"dialect": "paper", "beta1_decay": "harmonic"}},
    ],
    "adamnc": [{"options": {"beta1_decay": "geometric", "lam": 0.9}}, {"options": {"beta1_decay": "harmonic"}}],
    "adamx": [{"options": {"beta1_decay": "geometric", "lam": 0.9}}, {"options": {"beta1_decay": "harmonic"}}],
    "nosadam": [{"options": {"gamma": 0.0}}],
    "padam": [{"options": {"p": 0.3}}],
    "adabound": [{"options": {"final_lr": 1e-5, "gamma": 0.1}}],
    "adashift": [{"options": {"n": 1}}, {"options": {"n": 2}}],
    "adopt": [{"options": {"clip": False}}],
    "avagrad": [{"options": {"form": "published"}}],
    "adan": [{"options": {"beta3": 0.9}}],
    "rmsprop": [{"options": {"momentum": 0.9}}, {"options": {"centered": True, "momentum": 0.5}}],
    "sgd": [{"options": {"momentum": 0.9}}],
}
"""Settings that an optimizer is compared with, besides its defaults."""
