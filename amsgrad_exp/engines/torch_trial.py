"""Finds out how an imported optimizer must be driven, by taking a few steps in each possible way."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from typing import Any

import torch

from amsgrad_exp.engines.torch_state import generators_restored, outside_restored, unheard
from amsgrad_exp.engines.torch_step import Step, number_of
from amsgrad_exp.optimizers.importing import Drive, Form, Imported, said, written
from amsgrad_exp.problems import Online

SHAPES = ((1,), (1, 1))
FORMS: tuple[Form, ...] = ("tensors", "named", "module", "use_muon")
ACCIDENTS = TypeError, AttributeError, RuntimeError  # errors of a constructor that expects other arguments
STEPS = 12  # per trial: some optimizers treat their first ten steps differently

_found: dict[tuple[Any, ...], Drive] = {}
_one_at_a_time = threading.Lock()


def drive_of(
    optimizer: Imported, *, lr: float, arguments: Mapping[str, Any], dtype: str = "float32", shape: str | None = None
) -> Drive:
    """The simplest way in which an optimizer takes a few steps; if all ways fail, the one that takes the most steps.

    Args:
        optimizer: the imported optimizer.
        lr, arguments: the arguments of its constructor.
        dtype: the dtype of its parameter.
        shape: "1" or "1x1" to try only that shape.

    Raises:
        ValueError: it does not take a step in any way; the message says what it needs.
    """
    key = (optimizer, lr, repr(sorted(arguments.items())), dtype, shape)
    with _one_at_a_time:
        if key not in _found:
            _found[key] = _find(optimizer, lr, arguments, dtype, shape)
    return _found[key]


def _find(optimizer: Imported, lr: float, arguments: Mapping[str, Any], dtype: str, shape: str | None) -> Drive:
    shapes = [each for each in SHAPES if shape in (None, written(each))]
    furthest: tuple[int, bool, Drive, Exception] | None = None
    unbuilt = set()
    for graph, closure, form, each in itertools.product((False, True), (False, True), FORMS, shapes):
        if (form, each) in unbuilt:
            continue
        drive = Drive(each, form, closure, graph)
        steps, error = _tried(optimizer, drive, lr, arguments, dtype)
        if error is None:
            return drive
        if steps < 0:
            unbuilt.add((form, each))
        meant = steps < 0 and not isinstance(error.__cause__ or error, ACCIDENTS)
        if furthest is None or (steps, meant) > furthest[:2] or (steps < 0 and meant and furthest[0] < 0):
            furthest = steps, meant, drive, error
    assert furthest is not None
    steps, _, drive, error = furthest
    if steps < 0:
        raise ValueError(said(error)) from error
    return drive


def _tried(
    optimizer: Imported, drive: Drive, lr: float, arguments: Mapping[str, Any], dtype: str
) -> tuple[int, Exception | None]:
    """The number of steps that an optimizer takes when driven like this (-1 if it cannot be built), and its exception.

    Random generators, and numbers and texts outside of the optimizer, are restored afterwards.
    """
    param = torch.nn.Parameter(torch.zeros(drive.shape, dtype=getattr(torch, dtype)))
    with generators_restored(), unheard():
        try:
            made = optimizer.make(drive.arrange([[param]]), lr=lr, arguments=arguments)
            groups = getattr(made, "param_groups", [])  # a wrapper may have none
            if not any(held is param for group in groups for held in group["params"]):
                raise ValueError(
                    f"optimizer {optimizer.path} cannot be built: it does not keep the parameters that it is given"
                )
        except Exception as error:
            return -1, error
        problem, taken, x = Online(), 0, 0.0
        try:
            with outside_restored(made, param):
                step = Step(problem, made, param, drive)
                for slope in problem.coefficients(0, STEPS)[0].astype(number_of(dtype)):
                    x = step.take(x, (slope,), lr)
                    taken += 1
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
            return taken, error if isinstance(error, Exception) else RuntimeError(said(error))
    return STEPS, None
