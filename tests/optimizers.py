"""Optimizers as somebody might write them: what they keep, what they take and how they fail; named by import path."""

from __future__ import annotations

import collections
import enum
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import ParamsT

Closure = Callable[[], float]


class Accumulating(torch.optim.Optimizer):
    """Keeps a float64 sum and an integer beside a float32 parameter."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            state = self.state[param]
            if not state:
                state["sum"] = torch.zeros(1, dtype=torch.float64)
                state["count"] = torch.zeros(1, dtype=torch.int64)
            state["sum"] += param.grad.double() / 3
            state["count"] += 1
            with torch.no_grad():
                param.sub_(self.param_groups[0]["lr"] * (state["sum"] / state["count"]).float())


class Faulty(torch.optim.Optimizer):
    """Raises, or returns NaN, at its tenth step."""

    def __init__(self, params: ParamsT, lr: float, raises: bool = True) -> None:
        super().__init__(params, {"lr": lr})
        self.raises = raises
        self.steps = 0

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        self.steps += 1
        if self.steps == 10 and self.raises:
            raise ZeroDivisionError("by zero")
        with torch.no_grad():
            for param in self.param_groups[0]["params"]:
                param.add_(float("nan") if self.steps == 10 else 0.01)


class NeedsMore(torch.optim.SGD):
    """Cannot be built with a learning rate alone."""

    def __init__(self, params: ParamsT, lr: float, more: int) -> None:
        super().__init__(params, lr)


class Anything(torch.optim.SGD):
    """Takes any argument, and says of none that it does."""

    def __init__(self, params: ParamsT, **options: Any) -> None:
        super().__init__(params, **options)


class Unsaveable(torch.optim.SGD):
    """Keeps what cannot be saved, from its first step on."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        self.param_groups[0]["how"] = lambda: None
        super().step()


class Forgetful(torch.optim.SGD):
    """Keeps a tensor beside its state."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            self.sum = getattr(self, "sum", torch.zeros(1)) + param.grad.abs()
            param.sub_(self.param_groups[0]["lr"] * param.grad / self.sum)


class How(enum.Enum):
    """Which way round."""

    UP = "up"
    DOWN = "down"


class Hoarding(torch.optim.SGD):
    """Keeps gradients in containers of all kinds, each of which its step depends on, and a count in an attribute."""

    count = 0

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        self.count += 1
        for param in group["params"]:
            state = self.state[param]
            if not state:
                state["queue"] = collections.deque(maxlen=3)
                state["sums"] = collections.defaultdict(float)
                state["nested"] = {"ordered": collections.OrderedDict(), 1: [(np.zeros(1),)]}
                state["peak"], state["how"], state["seen"] = np.float64(0), How.UP, {0}
            state["queue"].append(param.grad.clone())
            state["sums"][self.count % 3] += param.grad.item()
            state["peak"] = max(state["peak"], np.float64(abs(param.grad.item())))
            state["how"] = How.DOWN if state["how"] is How.UP else How.UP
            state["seen"].add(self.count % 5)
            state["nested"]["ordered"][self.count % 2] = np.float32(self.count)
            state["nested"][1][0][0][0] += param.grad.item()
            size = sum(state["queue"]) + sum(state["sums"].values()) + state["nested"][1][0][0][0]
            sign = 1 if state["how"] is How.UP else 0.5
            scale = state["peak"] * len(state["seen"]) + float(sum(state["nested"]["ordered"].values()))
            param.sub_(group["lr"] * sign * size / float(scale))


class Clearing(torch.optim.SGD):
    """Halves its parameter whenever its gradient is cleared."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        with torch.no_grad():
            for param in self.param_groups[0]["params"]:
                param.mul_(0.5)


class InBackward(torch.optim.SGD):
    """Moves as soon as there is a gradient, in a hook on its parameter, and in its step not at all."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, lr)
        for param in self.param_groups[0]["params"]:
            param.register_post_accumulate_grad_hook(lambda param: torch.optim.SGD.step(self))

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        return


class Looking(torch.optim.SGD):
    """Has a hook of its own before each step."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, lr)
        self.register_step_pre_hook(lambda *_: (self.param_groups[0]["params"][0].grad.mul_(0.5), None)[1])


def twice(step: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that passes for what it wraps."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        return step(*args, **kwargs)

    return wrapper


torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # from now on SGD.step is in torch's wrapper


class Wrapped(torch.optim.SGD):
    """Steps twice, by a wrapper around torch's own."""

    step = twice(torch.optim.SGD.step)


class Keeping(torch.optim.Optimizer):
    """Keeps the gradients it was given, as they are, and halves one in place after it has used it."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            kept = self.state[param].setdefault("kept", [])
            kept.append(param.grad)
            param.sub_(self.param_groups[0]["lr"] * sum(kept[-3:]))
            param.grad.mul_(0.5)


class Random(torch.optim.SGD):
    """Moves by chance."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        self.param_groups[0]["lr"] *= random.random() * torch.rand(()).item() * np.random.random()
        super().step()


class Renamed(torch.optim.SGD):
    """Plain gradient descent under another name."""


class SignError(torch.optim.Optimizer):
    """Adam but for one sign: what the first moment forgets is added to it."""

    def __init__(self, params: ParamsT, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            state = self.state[param]
            if not state:
                state["m"], state["v"], state["t"] = torch.zeros_like(param), torch.zeros_like(param), 0
            state["t"] += 1
            state["m"].mul_(0.9).sub_(param.grad, alpha=0.1)
            state["v"].mul_(0.99).addcmul_(param.grad, param.grad, value=0.01)
            v = state["v"] / (1 - 0.99 ** state["t"])
            param.sub_(self.param_groups[0]["lr"] * state["m"] / (v.sqrt() + 1e-8))


class Normed(torch.optim.SGD):
    """Divides by the norm of a parameter's whole gradient."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in [param for group in self.param_groups for param in group["params"]]:
            param.sub_(self.defaults["lr"] * param.grad / (param.grad.norm() + 1))


class Coupled(torch.optim.SGD):
    """Divides by the norm of all parameters' gradients."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        params = [param for group in self.param_groups for param in group["params"]]
        norm = torch.cat([param.grad for param in params]).norm()
        for param in params:
            param.sub_(self.defaults["lr"] * param.grad / (norm + 1))


class Global(torch.optim.SGD):
    """Counts its steps for all of its kind."""

    steps = 0

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        Global.steps += 1
        for param in self.param_groups[0]["params"]:
            param.sub_(param.grad / Global.steps)


class NeverFinite(torch.optim.SGD):
    """Makes x NaN at its first step."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            param.mul_(float("nan"))


class RaisesLater(torch.optim.SGD):
    """Raises at its step 7."""

    steps = 0

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        if self.steps == 7:
            raise ZeroDivisionError("by zero")
        self.steps += 1
        super().step()


class Replacing(torch.optim.SGD):
    """Puts another tensor in the place of a parameter's."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for param in self.param_groups[0]["params"]:
            param.data = param.data - self.param_groups[0]["lr"] * param.grad


class Still(torch.optim.SGD):
    """Moves nothing."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        pass


class Port(torch.optim.Optimizer):
    """RMSprop, with its second moment where `place` says, of what `square` says."""

    def __init__(self, params: ParamsT, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})
        self.count = 0

    def place(self, group: dict[str, Any], param: torch.Tensor) -> dict[str, Any]:
        return self.state[param]  # type: ignore[no-any-return]

    def square(self, grad: torch.Tensor) -> torch.Tensor:
        return grad * grad

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                kept = self.place(group, param)
                kept["v"] = 0.9 * kept.get("v", 0.0) + 0.1 * self.square(param.grad)
                param.sub_(group["lr"] * param.grad / (kept["v"] + 1e-16) ** 0.5)


class SharedByParameters(Port):
    """Keeps one second moment for all parameters of a group."""

    def place(self, group: dict[str, Any], param: torch.Tensor) -> dict[str, Any]:
        return group


class SharedByGroups(Port):
    """Keeps the second moments of parameters by their place in their group."""

    def place(self, group: dict[str, Any], param: torch.Tensor) -> dict[str, Any]:
        number = next(number for number, each in enumerate(group["params"]) if each is param)
        return vars(self).setdefault("moments", {}).setdefault(number, {})  # type: ignore[no-any-return]


class SharedByElements(Port):
    """Keeps one second moment for all elements of a parameter."""

    def square(self, grad: torch.Tensor) -> torch.Tensor:
        return (grad * grad).mean()


class CountsParameters(torch.optim.Optimizer):
    """RMSprop with bias correction, whose count goes up with every parameter instead of with every step."""

    of_parameters = True

    def __init__(self, params: ParamsT, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})
        self.count = 0

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            self.count += not self.of_parameters
            for param in group["params"]:
                self.count += self.of_parameters
                state = self.state[param]
                state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * param.grad**2
                param.sub_(group["lr"] * param.grad / ((state["v"] / (1 - 0.999**self.count)).sqrt() + 1e-8))


class CountsGroups(CountsParameters):
    """The same, whose count goes up with every group."""

    of_parameters = False
