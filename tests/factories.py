"""Functions that make optimizers, and optimizers that must be driven in their own way, as somebody might write them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.optimizer import ParamsT

Closure = Callable[[], Tensor]


def adam(params: ParamsT, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Adam with its weights decayed by nothing, as a function."""
    return Adam(params, lr=lr, betas=betas, eps=eps)


class Lookahead(Optimizer):
    """Goes a part of the way back, every k steps, to where its optimizer was k steps before."""

    def __init__(self, optimizer: Optimizer, k: int, part: float) -> None:
        self.optimizer, self.k, self.part = optimizer, k, part
        self.param_groups, self.state, self.defaults = optimizer.param_groups, optimizer.state, optimizer.defaults
        self.steps = 0
        self.slow = [param.detach().clone() for group in self.param_groups for param in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.optimizer.step(closure)
        self.steps += 1
        if self.steps % self.k == 0:
            params = [param for group in self.param_groups for param in group["params"]]
            for param, slow in zip(params, self.slow, strict=True):
                slow.lerp_(param, self.part)
                param.copy_(slow)


def lookahead(params: ParamsT, lr: float, k: int = 5, part: float = 0.5) -> Optimizer:
    """Lookahead around Adam."""
    return Lookahead(Adam(params, lr=lr), k, part)


halved = functools.partial(Adam, betas=(0.5, 0.5))
shorter = lambda params, lr: torch.optim.SGD(params, lr=lr)  # noqa: E731


class Maker:
    """An instance that is called, and has a method that makes optimizers, too."""

    def __call__(self, params: ParamsT, lr: float, **options: Any) -> Optimizer:
        return Adam(params, lr=lr, **options)

    @staticmethod
    def sgd(params: ParamsT, lr: float) -> Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(params, lr=lr)


maker = Maker()


def loud(params: ParamsT, lr: float) -> Optimizer:
    """Prints what it does."""
    print("made an optimizer")
    return Adam(params, lr=lr)


def none(params: ParamsT, lr: float) -> None:
    """Makes nothing."""


def other_parameters(params: ParamsT, lr: float) -> Optimizer:
    """Makes an optimizer of something else."""
    return Adam([nn.Parameter(torch.zeros(1))], lr=lr)


def without_lr(params: ParamsT) -> Optimizer:
    """Takes no step size."""
    return Adam(params)


def raising(params: ParamsT, lr: float) -> Optimizer:
    """Raises, in several lines."""
    raise RuntimeError("no\nsuch luck")


def exiting(params: ParamsT, lr: float) -> Optimizer:
    """Ends the program."""
    raise SystemExit("enough")


class Named(Optimizer):
    """Takes names and parameters."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float) -> None:
        self.names = {param: name for name, param in named_parameters}
        super().__init__(list(self.names), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                param.add_(param.grad, alpha=-group["lr"])


class OfAModel(Named):
    """Takes a module."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.named_parameters(), lr)


class Matrices(torch.optim.SGD):
    """Takes matrices alone, and says so at its first step."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if any(param.ndim != 2 for group in self.param_groups for param in group["params"]):
            raise ValueError("only matrices")
        super().step()


class Polyak(torch.optim.SGD):
    """Takes the step that would bring a convex loss to 0, no longer than lr; evaluates the loss twice."""

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        closure()
        loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                size = min(group["lr"], abs(loss.item()) / float(param.grad.square().sum()))
                param.data.sub_(size * param.grad)
        return loss


class Curved(torch.optim.SGD):
    """Divides by 1 and the magnitude of the second derivative."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                (second,) = torch.autograd.grad(param.grad.sum(), param)
                param.data.add_(param.grad.detach() / (1 + second.abs()), alpha=-group["lr"])


class Lengthy(torch.optim.SGD):
    """Raises, with control characters, at length."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise ValueError("\x1b" + "no\nmore\t" * 1000)


class Bare(Optimizer):
    """Wraps an optimizer and has none of its attributes."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


def wrapped(params: ParamsT, lr: float) -> Optimizer:
    """An optimizer in a wrapper that shows nothing of it."""
    return Bare(Adam(params, lr=lr))
