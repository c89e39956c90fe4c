"""Optimizers, and functions that make them, as users might write them; tests name them by import path."""

import collections
import enum
import functools
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.optimizer import ParamsT

Closure = Callable[[], Any]


class Simple(torch.optim.SGD):
    """A base class whose step calls ``update`` for every parameter; it takes no settings but lr."""

    def __init__(self, params: ParamsT, lr: float = 1e-3) -> None:
        super().__init__(params, lr)

    def update(self, param: Any, group: dict[str, Any]) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                self.update(param, group)


class Accumulating(Simple):
    """Keeps a float64 sum and an integer beside a float32 parameter."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        state = self.state[param]
        state["sum"] = state.get("sum", torch.zeros(1, dtype=torch.float64)) + param.grad.double() / 3
        state["count"] = state.get("count", torch.zeros(1, dtype=torch.int64)) + 1
        param.sub_(group["lr"] * (state["sum"] / state["count"]).float())


class Faulty(Simple):
    """Raises, or returns NaN, at its tenth step."""

    def __init__(self, params: ParamsT, lr: float, raises: bool = True) -> None:
        super().__init__(params, lr)
        self.raises = raises
        self.steps = 0

    def update(self, param: Any, group: dict[str, Any]) -> None:
        self.steps += 1
        if self.steps == 10 and self.raises:
            raise ZeroDivisionError("by zero")
        param.add_(float("nan") if self.steps == 10 else 0.01)


class NeedsMore(torch.optim.SGD):
    """Cannot be built with a learning rate alone."""

    def __init__(self, params: ParamsT, lr: float, more: int) -> None:
        super().__init__(params, lr)


class Anything(torch.optim.SGD):
    """Takes any argument without naming it."""

    def __init__(self, params: ParamsT, **options: Any) -> None:
        super().__init__(params, **options)


class Unsaveable(torch.optim.SGD):
    """Keeps a function, which cannot be saved, from its first step on."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        self.param_groups[0]["how"] = lambda: None
        super().step()


class Forgetful(Simple):
    """Keeps a tensor outside its state."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        self.sum = getattr(self, "sum", torch.zeros(1)) + param.grad.abs()
        param.sub_(group["lr"] * param.grad / self.sum)


class How(enum.Enum):
    """A state of `Hoarding`."""

    UP = "up"
    DOWN = "down"


class Hoarding(Simple):
    """Keeps gradients in containers of all kinds, each of which its step uses, and a count in an attribute."""

    count = 0

    def update(self, param: Any, group: dict[str, Any]) -> None:
        self.count += 1
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
    """Updates a parameter in a hook as soon as there is a gradient; its step does nothing."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, lr)
        for param in self.param_groups[0]["params"]:
            param.register_post_accumulate_grad_hook(lambda param: torch.optim.SGD.step(self))

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        return


class Looking(torch.optim.SGD):
    """Registers a hook before each step."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, lr)
        self.register_step_pre_hook(lambda *_: (self.param_groups[0]["params"][0].grad.mul_(0.5), None)[1])


def twice(step: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for a step; the result looks like the original function."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        return step(*args, **kwargs)

    return wrapper


torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # only from now on does torch's wrapper surround SGD.step


class Wrapped(torch.optim.SGD):
    """Steps twice, since its step is SGD's in a wrapper around torch's own wrapper."""

    step = twice(torch.optim.SGD.step)


class Keeping(Simple):
    """Keeps the gradients that it is given without copying them, and halves each in place after using it."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        kept = self.state[param].setdefault("kept", [])
        kept.append(param.grad)
        param.sub_(group["lr"] * sum(kept[-3:]))
        param.grad.mul_(0.5)


class Random(torch.optim.SGD):
    """Makes steps of random sizes."""

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        self.param_groups[0]["lr"] *= random.random() * torch.rand(()).item() * np.random.random()
        super().step()


class Renamed(torch.optim.SGD):
    """Plain gradient descent under another name."""


class SignError(Simple):
    """Adam with a wrong sign in its first moment; it ignores all groups but the first."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        if group is not self.param_groups[0]:
            return
        state = self.state[param]
        if not state:
            state["m"], state["v"], state["t"] = torch.zeros_like(param), torch.zeros_like(param), 0
        state["t"] += 1
        state["m"].mul_(0.9).sub_(param.grad, alpha=0.1)
        state["v"].mul_(0.99).addcmul_(param.grad, param.grad, value=0.01)
        v = state["v"] / (1 - 0.99 ** state["t"])
        param.sub_(group["lr"] * state["m"] / (v.sqrt() + 1e-8))


class Normed(Simple):
    """Divides by the norm of a parameter's whole gradient."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        param.sub_(group["lr"] * param.grad / (param.grad.norm() + 1))


class Coupled(torch.optim.SGD):
    """Divides by the norm of all parameters' gradients."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        params = [param for group in self.param_groups for param in group["params"]]
        norm = torch.cat([param.grad for param in params]).norm()
        for param in params:
            param.sub_(self.defaults["lr"] * param.grad / (norm + 1))


class Global(Simple):
    """Counts the steps of all optimizers of its class together."""

    steps = 0

    def update(self, param: Any, group: dict[str, Any]) -> None:
        Global.steps += 1
        param.sub_(param.grad / Global.steps)


class NeverFinite(Simple):
    """Makes x NaN at its first step."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        param.mul_(float("nan"))


class RaisesLater(torch.optim.SGD):
    """Raises at its step 7."""

    steps = 0

    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        if self.steps == 7:
            raise ZeroDivisionError("by zero")
        self.steps += 1
        super().step()


class Replacing(Simple):
    """Puts another tensor in the place of a parameter's."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        param.data = param.data - group["lr"] * param.grad


class Still(Simple):
    """Leaves its parameters as they are."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        pass


class Port(Simple):
    """RMSprop, with methods for where it keeps its second moment and for what it averages there."""

    def place(self, group: dict[str, Any], param: torch.Tensor) -> dict[str, Any]:
        return self.state[param]  # type: ignore[no-any-return]

    def square(self, grad: torch.Tensor) -> torch.Tensor:
        return grad * grad

    def update(self, param: Any, group: dict[str, Any]) -> None:
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


class CountsParameters(Simple):
    """RMSprop with bias correction, whose count increases with every parameter instead of with every step."""

    count = 0

    def counts(self, param: Any, group: dict[str, Any]) -> bool:
        return True

    def update(self, param: Any, group: dict[str, Any]) -> None:
        self.count += self.counts(param, group)
        state = self.state[param]
        state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * param.grad**2
        param.sub_(group["lr"] * param.grad / ((state["v"] / (1 - 0.999**self.count)).sqrt() + 1e-8))


class CountsGroups(CountsParameters):
    """The same, but the count increases with every group."""

    def counts(self, param: Any, group: dict[str, Any]) -> bool:
        return param is group["params"][0]


def adam(params: ParamsT, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """A function that makes Adam."""
    return Adam(params, lr=lr, betas=betas, eps=eps)


class Lookahead(Optimizer):
    """Every k steps, goes back a part of the way to where its optimizer was k steps before."""

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
    """Makes optimizers if an instance is called, and by a method."""

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
    """Makes an optimizer of a parameter of its own."""
    return Adam([nn.Parameter(torch.zeros(1))], lr=lr)


def without_lr(params: ParamsT) -> Optimizer:
    """Takes no step size."""
    return Adam(params)


def raising(params: ParamsT, lr: float) -> Optimizer:
    """Raises an error whose message has several lines."""
    raise RuntimeError("no\nsuch luck")


def exiting(params: ParamsT, lr: float) -> Optimizer:
    """Ends the program."""
    raise SystemExit("enough")


class Named(torch.optim.SGD):
    """Takes names and parameters."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float) -> None:
        super().__init__([param for _, param in named_parameters], lr)


class OfAModel(Named):
    """Takes a module."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.named_parameters(), lr)


class Matrices(Simple):
    """Updates matrices only, and raises an error at its first step otherwise."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        if param.ndim != 2:
            raise ValueError("only matrices")
        param.add_(param.grad, alpha=-group["lr"])


class Polyak(torch.optim.SGD):
    """Takes the step with which a linear loss would be 0, but with at most lr; evaluates the loss twice."""

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        closure()
        loss: Tensor = closure()
        for group in self.param_groups:
            for param in group["params"]:
                size = min(group["lr"], abs(loss.item()) / float(param.grad.square().sum()))
                param.data.sub_(size * param.grad)
        return loss


class Curved(torch.optim.SGD):
    """Divides by 1 plus the magnitude of the second derivative."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                (second,) = torch.autograd.grad(param.grad.sum(), param)
                param.data.add_(param.grad.detach() / (1 + second.abs()), alpha=-group["lr"])


class Lengthy(Simple):
    """Raises an error whose message is long and has control characters."""

    def update(self, param: Any, group: dict[str, Any]) -> None:
        raise ValueError("\x1b" + "no\nmore\t" * 1000)


class Bare(Optimizer):
    """Wraps an optimizer without having its attributes."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


def wrapped(params: ParamsT, lr: float) -> Optimizer:
    """Makes an optimizer in a wrapper."""
    return Bare(Adam(params, lr=lr))
