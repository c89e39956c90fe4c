"""Checks the values of parameter groups and stores them as plain numbers and flags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from amsgrad_exp.rules.rule import Options

Group = dict[str, Any]


@dataclass(frozen=True)
class WeightDecay:
    """Weight decay as one value, which can be passed for ``weight_decay``; a parameter group stores its three fields.

    Args:
        weight_decay: the coefficient λ ≥ 0; stored as ``weight_decay``.
        weight_decouple: shrink the parameter itself, θ ← θ − lr·λ·θ (Loshchilov and Hutter 2019, *Decoupled Weight
            Decay Regularization*, arXiv 1711.05101, Algorithm 2); otherwise apply the L2 penalty of the same
            algorithm, g ← g + λ·θ. Stored as ``decoupled_weight_decay``.
        absolute: only if decoupled: shrink by λ alone, θ ← θ − λ·θ, whatever the learning rate is, unless it is 0.
            Stored as ``absolute_weight_decay``.

    Raises:
        ValueError: λ is negative or not finite, or ``absolute`` is given with the L2 form.
    """

    weight_decay: float = 0.0
    weight_decouple: bool = True
    absolute: bool = False

    def __post_init__(self) -> None:
        if not is_between(self.weight_decay, 0, math.inf):
            raise ValueError(f"weight_decay must be a finite number of at least 0, not {self.weight_decay!r}")
        if self.absolute and not self.weight_decouple:
            raise ValueError("absolute=True requires weight_decouple=True")


# state_dicts of versions 0.1.0 and 0.2.0 contain a WeightDecay, which torch.load(weights_only=True) would reject.
torch.serialization.add_safe_globals([(WeightDecay, "amsgrad_exp.optimizers.base.WeightDecay")])


def plain(group: Group) -> Group:
    """Store a `WeightDecay` of a group as its fields, and NumPy's numbers as Python's."""
    decay = group["weight_decay"]
    if isinstance(decay, WeightDecay):
        group["weight_decay"] = decay.weight_decay
        group["decoupled_weight_decay"] = decay.weight_decouple
        group["absolute_weight_decay"] = decay.absolute
    for name, value in group.items():
        if isinstance(value, np.generic):
            group[name] = value.item()
        elif name == "betas" and isinstance(value, Iterable):
            group[name] = tuple(beta.item() if isinstance(beta, np.generic) else beta for beta in value)
    return group


def check_group(group: Mapping[str, Any], options: type[Options]) -> None:
    """Raise a ValueError that names the first value of a complete group that is out of range."""
    for name in ("lr", "eps"):
        if not is_between(group.get(name, 0), 0, math.inf):
            raise ValueError(f"{name} must be a finite number of at least 0, not {group[name]!r}")
    for name in ("beta1", "beta2"):
        if not is_between(group.get(name, 0), 0, 1):
            raise ValueError(f"{name} must be a number in [0, 1), not {group[name]!r}")
    betas = group.get("betas", (0, 0))
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(is_between(beta, 0, 1) for beta in betas)):
        raise ValueError(f"betas must be two numbers in [0, 1), not {betas!r}")
    for name in ("decoupled_weight_decay", "absolute_weight_decay", "maximize", "foreach"):
        if not (isinstance(group[name], bool) or (name == "foreach" and group[name] is None)):
            raise ValueError(f"{name} must be True or False, not {group[name]!r}")
    WeightDecay(group["weight_decay"], group["decoupled_weight_decay"], group["absolute_weight_decay"])
    checked_options(options, {name: group[name] for name in options.model_fields if name in group})


def checked_options(options: type[Options], given: Mapping[str, Any], title: str = "") -> dict[str, Any]:
    """Complete the given options with defaults and return all by name; a ValueError says which given one is wrong."""
    try:
        return options.model_validate(given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"{title} takes no {name}"
        elif name:
            message = f"{name}: {message}, not {first['input']!r}"
        raise ValueError(message) from error


def is_between(value: object, low: float, high: float) -> bool:
    """Whether low ≤ value < high, for a number or a tensor with one element."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else None
    return isinstance(value, Real) and low <= float(value) < high
