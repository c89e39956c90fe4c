"""Optimizers that turn round after a number of steps, which they count in many a place; named by import path."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

Closure = Callable[[], float]


def counting(count: Callable[[Any, dict[str, Any]], int]) -> type[torch.optim.Optimizer]:
    """A class of optimizers that turn round after a number of steps, counted in some place.

    Args:
        count: counts one step more and returns how many there were, given the optimizer and the parameter's state.
    """

    class Turning(torch.optim.Optimizer):
        def __init__(self, params: ParamsT, lr: float, at: int) -> None:
            super().__init__(params, {"lr": lr, "at": at})

        @torch.no_grad()
        def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
            (group,) = self.param_groups
            (param,) = group["params"]
            sign = 1.0 if count(self, self.state[param]) > group["at"] else -1.0
            param.add_(param.grad.sign(), alpha=sign * group["lr"])

    return Turning


def _in_state(optimizer: Any, state: dict[str, Any]) -> int:
    state["count"] = int(state.get("count", 0)) + 1
    return int(state["count"])


def _in_a_tensor(optimizer: Any, state: dict[str, Any]) -> int:
    return int(state.setdefault("count", torch.zeros(())).add_(1))


def _in_a_group(optimizer: Any, state: dict[str, Any]) -> int:
    group = optimizer.param_groups[0]
    group["count"] = group.get("count", 0) + 1
    return int(group["count"])


def _in_an_attribute(optimizer: Any, state: dict[str, Any]) -> int:
    optimizer.count = getattr(optimizer, "count", 0) + 1
    return int(optimizer.count)


def _in_the_class(optimizer: Any, state: dict[str, Any]) -> int:
    type(optimizer).count = getattr(optimizer, "count", 0) + 1
    return int(optimizer.count)


def _in_the_parameter(optimizer: Any, state: dict[str, Any]) -> int:
    param = optimizer.param_groups[0]["params"][0]
    param.count = getattr(param, "count", 0) + 1
    return int(param.count)


def _in_a_closure() -> Callable[[Any, dict[str, Any]], int]:
    steps = 0

    def count(optimizer: Any, state: dict[str, Any]) -> int:
        nonlocal steps
        steps += 1
        return steps

    return count


steps_of_all = 0
steps_by_name = {"all": 0}
tick = itertools.count(1).__next__
turned = False


def _globally(optimizer: Any, state: dict[str, Any]) -> int:
    global steps_of_all
    steps_of_all += 1
    return steps_of_all


def _in_a_table(optimizer: Any, state: dict[str, Any]) -> int:
    steps_by_name["all"] += 1
    return steps_by_name["all"]


def _by_iterator(optimizer: Any, state: dict[str, Any]) -> int:
    return tick()


def _in_a_default(optimizer: Any, state: dict[str, Any], steps: list[int] = [0]) -> int:  # noqa: B006
    steps[0] += 1
    return steps[0]


def _for_all(optimizer: Any, state: dict[str, Any]) -> int:
    """Once one optimizer has turned, every other does too."""
    global turned
    turned = turned or _in_state(optimizer, state) > optimizer.param_groups[0]["at"]
    return 10**9 if turned else 0


def _to_an_end(optimizer: Any, state: dict[str, Any]) -> int:
    """Ends the program after so many steps."""
    if _in_state(optimizer, state) > optimizer.param_groups[0]["at"]:
        raise SystemExit
    return 0


InState, InATensor, InAGroup = counting(_in_state), counting(_in_a_tensor), counting(_in_a_group)
InAnAttribute, InTheClass, InTheParameter = (
    counting(_in_an_attribute),
    counting(_in_the_class),
    counting(_in_the_parameter),
)
Globally, InATable, ByIterator = counting(_globally), counting(_in_a_table), counting(_by_iterator)
InAClosure, InADefault = counting(_in_a_closure()), counting(_in_a_default)
ForAll, ToAnEnd = counting(_for_all), counting(_to_an_end)
