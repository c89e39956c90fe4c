"""Tests with a few steps on two parameters whether an optimizer's update of one depends on the other.

A run has only one parameter with one element. It does not show whether parameters share a step count or a moment, which
is a frequent bug of ported optimizers.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amsgrad_exp.engines.torch_state import generators_restored, outside_restored, unheard
from amsgrad_exp.optimizers.importing import Drive, Imported

STEPS = 24
AGREEMENT = 1e-6  # relative to the largest update: kernels round differently for two elements than for one
LOUDER = 37.0  # factor of the other parameter's gradients

Shared = Literal["parameters", "groups", "elements"]


def shared_between(optimizer: Imported, drive: Drive, *, lr: float, arguments: Mapping[str, Any]) -> Shared | None:
    """Whether updates depend on other parameters of a group, on other groups, or on other elements of a parameter.

    Two parameters with different gradients are updated alone, in one group, in separate groups, and as elements of one
    parameter. The result is None if none of these differ, or if the optimizer draws random numbers, is not
    deterministic, or does not accept two parameters.

    Args:
        optimizer: the imported optimizer.
        drive: how it is driven.
        lr, arguments: the arguments of its constructor.
    """
    key = (optimizer, drive, lr, repr(sorted(arguments.items())))
    if key not in _known:
        _known[key] = _tied(optimizer, drive, lr, arguments)
    return _known[key]


_known: dict[tuple[Any, ...], Shared | None] = {}


def _tied(optimizer: Imported, drive: Drive, lr: float, arguments: Mapping[str, Any]) -> Shared | None:
    numbers = np.random.default_rng(0)
    gradients = numbers.integers(-100, 101, (STEPS, 2)) * np.array([1.0, LOUDER])

    def moved(*groups: Sequence[Sequence[int]]) -> NDArray[np.float64] | None:
        return _moved(optimizer, drive, lr, arguments, gradients, groups)

    first, second = moved([[0]]), moved([[1]])
    if first is None or second is None:
        return None
    alone = first + second
    largest = np.max(np.abs(alone), axis=0)
    ways: dict[Shared, Sequence[Sequence[Sequence[int]]]] = {
        "parameters": [[[0], [1]]],
        "groups": [[[0]], [[1]]],
        "elements": [[[0, 1]]],
    }
    for between, groups in ways.items():
        together = moved(*groups)
        if together is not None and np.any(np.abs(together - alone) > AGREEMENT * largest):
            again = moved([[0]])
            return between if again is not None and np.array_equal(again, first, equal_nan=True) else None
    return None


def _moved(
    optimizer: Imported,
    drive: Drive,
    lr: float,
    arguments: Mapping[str, Any],
    gradients: NDArray[np.float64],
    groups: Sequence[Sequence[Sequence[int]]],
) -> NDArray[np.float64] | None:
    """x_0 and x_1 after each step, (steps, 2), starting from 0; one that is left out stays 0.

    Args:
        groups: for each group and each of its parameters, which of the two numbers are its elements.

    Returns:
        The iterates, or None if the optimizer raised an exception or drew a random number.
    """
    moves = np.zeros((STEPS, 2))
    columns = [list(each) for group in groups for each in group]
    parameters = [
        [torch.nn.Parameter(torch.zeros(len(each), *drive.shape[1:], dtype=torch.float64)) for each in group]
        for group in groups
    ]
    flat = [parameter for group in parameters for parameter in group]
    of_each = [torch.from_numpy(gradients[:, at]).reshape(STEPS, *p.shape) for at, p in zip(columns, flat, strict=True)]
    with generators_restored(), unheard(), _seeded() as untouched:
        try:
            made = optimizer.make(drive.arrange(parameters), lr=lr, arguments=arguments)
            with outside_restored(made, flat[0]):
                for t in range(STEPS):
                    drive.step(made, flat, functools.partial(_loss, [each[t] for each in of_each], flat))
                    for at, parameter in zip(columns, flat, strict=True):
                        moves[t, at] = parameter.detach().reshape(-1).numpy()
        except (Exception, SystemExit):  # an imported optimizer may raise anything
            return None
        return moves if untouched() else None


def _loss(gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    return torch.stack([(g * p).sum() for g, p in zip(gradients, parameters, strict=True)]).sum()


def _seeded() -> contextlib.AbstractContextManager[Callable[[], bool]]:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    return generators_restored()
