"""Takes single steps of a torch optimizer, and finds out how it must be driven and whether its parameters share state.

A run has only one parameter with one element, so it does not show whether parameters share a step count or a moment,
which is a frequent bug of ported optimizers.
"""

from __future__ import annotations

import functools
import itertools
import random
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import optimizer as torch_optimizer
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.torch_state import generators_restored, outside_restored, unheard
from amsgrad_exp.optimizers.importing import PLAIN, Drive, Form, Imported, import_optimizer, said, written
from amsgrad_exp.problems import LinearProblem, Online, Problem
from amsgrad_exp.rules import OPTIMIZERS, arguments_of
from amsgrad_exp.rules.settings import OptimizerSettings

# A derivative of at least this size has the same bits as autograd's gradient, which then rounds no halves.
# tests/test_problems.py checks this.
SMALLEST_SLOPE = 1e-30

PROFILED = Optimizer.profile_hook_step(lambda optimizer: None).__code__

SHAPES = ((1,), (1, 1))
FORMS: tuple[Form, ...] = ("tensors", "named", "module", "use_muon")
ACCIDENTS = TypeError, AttributeError, RuntimeError  # errors of a constructor that expects other arguments
STEPS = 12  # per trial, since some optimizers treat their first ten steps differently

STEPS_OF_TWO = 24  # the same for two parameters
AGREEMENT = 1e-6  # largest rounding difference relative to the largest update: kernels round two elements differently
LOUDER = 37.0  # the factor between the gradients of the two parameters

Shared = Literal["parameters", "groups", "elements"]


class Step:
    """Takes an optimizer's steps on one parameter with one element, in a fast or an ordinary way, with the same bits.

    The fast way sets the gradient to the loss's derivative instead of using autograd, and calls the update without
    torch's profiler wrapper. The ordinary way is used if the optimizer has its own ``zero_grad`` or hooks on the step
    or the parameter, or needs more than a gradient.
    """

    def __init__(self, problem: Problem, optimizer: Optimizer, param: torch.nn.Parameter, drive: Drive = PLAIN) -> None:
        self._problem, self._optimizer, self._param, self._drive = problem, optimizer, param, drive
        self._number = number_of(str(param.dtype).removeprefix("torch."))
        self._interval = problem.interval
        self._smallest = 0.0 if isinstance(problem, LinearProblem) else SMALLEST_SLOPE
        self._update = update_of(optimizer)
        self._lean = not (drive.closure or drive.graph) and sees_gradients_alone(optimizer, param)

    def take(self, x: float, c: tuple[Any, ...], step_size: float) -> float:
        """Take one step of size α_t from x, the parameter's value, and clamp; return the parameter's new value.

        The loss's coefficients ``c`` have the type that `number_of` returns. The optimizer may raise anything.
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


@dataclass(frozen=True)
class Way:
    """How an optimizer is built (its arguments and the dtype of its parameter) and how its steps are driven."""

    imported: Imported
    lr: float
    arguments: Mapping[str, Any]
    dtype: str = "float32"
    drive: Drive = PLAIN

    def make(self, groups: Sequence[Sequence[Tensor]]) -> Optimizer:
        """Build the optimizer for groups of parameters; raise a ValueError if that fails."""
        return self.imported.make(self.drive.arrange(groups), lr=self.lr, arguments=self.arguments)

    def new(self, x: float = 0.0) -> tuple[Optimizer, torch.nn.Parameter]:
        """Build the optimizer for one parameter with this value; return both."""
        param = torch.nn.Parameter(torch.full(self.drive.shape, x, dtype=getattr(torch, self.dtype)))
        return self.make([[param]]), param

    @functools.cached_property
    def shared(self) -> Shared | None:
        """Whether updates depend on other parameters of a group, other groups or other elements of a parameter.

        Two parameters with different gradients are updated alone, in one group, in separate groups, and as elements of
        one parameter. The result is None if none of these differ, or if the optimizer draws random numbers, is not
        deterministic, or does not accept two parameters.
        """
        numbers = np.random.default_rng(0)
        gradients = numbers.integers(-100, 101, (STEPS_OF_TWO, 2)) * np.array([1.0, LOUDER])
        first, second = _moved(self, gradients, [[[0]]]), _moved(self, gradients, [[[1]]])
        if first is None or second is None:
            return None
        alone = first + second
        largest = np.max(np.abs(alone), axis=0)
        arranged: dict[Shared, Sequence[Sequence[Sequence[int]]]] = {
            "parameters": [[[0], [1]]],
            "groups": [[[0]], [[1]]],
            "elements": [[[0, 1]]],
        }
        for between, groups in arranged.items():
            together = _moved(self, gradients, groups)
            if together is not None and np.any(np.abs(together - alone) > AGREEMENT * largest):
                again = _moved(self, gradients, [[[0]]])
                return between if again is not None and np.array_equal(again, first, equal_nan=True) else None
        return None


_found: dict[tuple[Any, ...], Way] = {}
_one_at_a_time = threading.Lock()


def way_of(settings: OptimizerSettings, dtype: str) -> Way:
    """Find the simplest way in which an optimizer takes `STEPS` steps, or else the way with the most steps.

    A ValueError says what an optimizer needs that cannot be imported or takes no step in any way.
    """
    known = OPTIMIZERS.get(settings.name)
    way = Way(import_optimizer(known.path if known else settings.name), settings.lr, arguments_of(settings), dtype)
    key = way.imported, way.lr, repr(sorted(way.arguments.items())), dtype, settings.shape
    with _one_at_a_time:
        if key not in _found:
            _found[key] = _find(way, [shape for shape in SHAPES if settings.shape in (None, written(shape))])
        return _found[key]


def _find(untried: Way, shapes: Sequence[tuple[int, ...]]) -> Way:
    furthest: tuple[int, bool, Way, Exception] | None = None
    unbuilt = set()
    for graph, closure, form, shape in itertools.product((False, True), (False, True), FORMS, shapes):
        if (form, shape) in unbuilt:
            continue
        way = replace(untried, drive=Drive(shape, form, closure, graph))
        steps, error = _tried(way)
        if error is None:
            return way
        if steps < 0:
            unbuilt.add((form, shape))
        meant = steps < 0 and not isinstance(error.__cause__ or error, ACCIDENTS)
        if furthest is None or (steps, meant) > furthest[:2] or (steps < 0 and meant and furthest[0] < 0):
            furthest = steps, meant, way, error
    assert furthest is not None
    steps, _, way, error = furthest
    if steps < 0:
        raise ValueError(said(error)) from error
    return way


def _tried(way: Way) -> tuple[int, Exception | None]:
    """Return how many steps an optimizer takes in this way (-1 if it cannot be built), and its exception.

    Random generators, and numbers and strings outside of the optimizer, are restored afterwards.
    """
    with generators_restored(), unheard():
        try:
            made, param = way.new()
            groups = getattr(made, "param_groups", [])  # a wrapper may have none
            if not any(held is param for group in groups for held in group["params"]):
                lost = "it does not keep the parameters that it is given"
                raise ValueError(f"optimizer {way.imported.path} cannot be built: {lost}")
        except Exception as error:
            return -1, error
        problem, taken, x = Online(), 0, 0.0
        try:
            with outside_restored(made, param):
                step = Step(problem, made, param, way.drive)
                for slope in problem.coefficients(0, STEPS)[0].astype(number_of(way.dtype)):
                    x = step.take(x, (slope,), way.lr)
                    taken += 1
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
            return taken, error if isinstance(error, Exception) else RuntimeError(said(error))
    return STEPS, None


def _moved(
    way: Way, gradients: NDArray[np.float64], groups: Sequence[Sequence[Sequence[int]]]
) -> NDArray[np.float64] | None:
    """Optimize two numbers from 0 and return both after each step, (steps, 2); a number in no group stays 0.

    For each parameter of each group, ``groups`` has the indices of the numbers that are its elements. The result is
    None if the optimizer raised an exception or drew a random number.
    """
    moves = np.zeros((STEPS_OF_TWO, 2))
    columns = [list(each) for group in groups for each in group]
    flat = [torch.nn.Parameter(torch.zeros(len(at), *way.drive.shape[1:], dtype=torch.float64)) for at in columns]
    left = iter(flat)
    parameters = [[next(left) for _ in group] for group in groups]
    slopes = [torch.from_numpy(gradients[:, at]) for at in columns]
    with generators_restored(), unheard():
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        try:
            with generators_restored() as untouched:
                made = way.make(parameters)
                with outside_restored(made, flat[0]):
                    for t in range(STEPS_OF_TWO):
                        now = [each[t].reshape(param.shape) for each, param in zip(slopes, flat, strict=True)]
                        way.drive.step(made, flat, functools.partial(_loss, now, flat))
                        for at, param in zip(columns, flat, strict=True):
                            moves[t, at] = param.detach().reshape(-1).numpy()
                return moves if untouched() else None
        except (Exception, SystemExit):  # an imported optimizer may raise anything
            return None


def _loss(gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    return torch.stack([(g * p).sum() for g, p in zip(gradients, parameters, strict=True)]).sum()
