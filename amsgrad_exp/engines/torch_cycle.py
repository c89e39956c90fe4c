"""Whether a torch optimizer's update depends on how many steps it has taken: shown by trials on copies of it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from amsgrad_exp.engines.torch_state import Path, Survey, bits, generators_restored
from amsgrad_exp.engines.torch_step import Step, sees_gradients_alone
from amsgrad_exp.optimizers.importing import Drive
from amsgrad_exp.problems.base import Problem

FAR = (10**6, 10**9, 10**12, 10**18)
"""Counts of steps at which an update is tried; a run has no more steps than the last."""

Inputs = Sequence[tuple[tuple[Any, ...], float]]
"""What steps are taken with: each one's coefficients and step size."""


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations on tensors: their names, arguments and results.

    Args:
        counters: tensors that count steps; their values are left out, and so are numbers read from them.
    """

    def __init__(self, counters: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counters = {id(counter): counter for counter in counters}
        self._facts = hashlib.sha256()

    def digest(self) -> bytes:
        """Of all that was recorded so far."""
        return self._facts.digest()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        facts = [str(func)]
        self._describe((args, kwargs), facts)
        result = func(*args, **(kwargs or {}))
        reads_counter = func is torch.ops.aten._local_scalar_dense.default and id(args[0]) in self._counters
        self._describe("counter" if reads_counter else result, facts)
        self._facts.update("\n".join(facts).encode())
        return result

    def _describe(self, value: Any, facts: list[str]) -> None:
        if isinstance(value, Tensor):
            held = value.item() if value.numel() == 1 else (tuple(value.shape), bits(value))
            facts.append("counter" if id(value) in self._counters else repr(held))
        elif isinstance(value, tuple | list):
            facts.append(str(len(value)))
            for item in value:
                self._describe(item, facts)
        elif isinstance(value, dict):
            self._describe(list(value.items()), facts)
        else:
            facts.append(repr(value))


class Trials:
    """Steps of an optimizer, from where it stands, tried with other counts of the steps it has taken.

    Nothing changes for the optimizer itself: steps are taken by copies. What is written outside of a copy, to a global
    say, is put back as far as it is a number or a text.

    Args:
        problem: whose losses are minimized.
        optimizer: of this one parameter.
        param: with one element.
        drive: how the optimizer is driven.
        step: t, the number of steps taken.
    """

    def __init__(
        self, problem: Problem, optimizer: Optimizer, param: torch.nn.Parameter, drive: Drive, step: int
    ) -> None:
        self._problem = problem
        self._drive = drive
        self._optimizer = optimizer
        self._param = param
        self._step = step

    def do_not_count(self, inputs: Inputs, *, returning: bool = False) -> bool:
        """Whether the next steps are the same operations whatever the count of steps is, of some far ahead in the run.

        Args:
            inputs: of the next steps.
            returning: whether they must also lead back to where they start from, but for the count.
        """
        ahead = [(far - self._step) // len(inputs) * len(inputs) for far in FAR if far - self._step >= len(inputs)]
        if not returning:
            ahead = ahead[-1:]
        try:
            survey = Survey(self._optimizer, self._param, self._step)
            if survey.opaque is not None or not sees_gradients_alone(self._optimizer, self._param):
                return False
            expected: list[bytes] = []
            with self._undisturbed(survey) as undisturbed:
                same = all(self._same(survey, inputs, count, expected, returning=returning) for count in (0, *ahead))
                return same and undisturbed()
        except (
            Exception,
            SystemExit,
        ):  # somebody's optimizer may not bear to be looked into, copied, or so late a step
            return False

    def _same(self, survey: Survey, inputs: Inputs, ahead: int, expected: list[bytes], *, returning: bool) -> bool:
        """Whether steps from a count so much larger do what is expected; the first time, note what they do."""
        optimizer, param = copied(self._optimizer, self._param)
        counters = survey.counters
        tensors = [_set(optimizer, param, path, self._step + ahead + more) for path, more in counters.items()]
        step = Step(self._problem, optimizer, param, self._drive)
        first = not expected
        x = param.item()
        with Operations([tensor for tensor in tensors if tensor is not None]) as operations:
            for index, (c, step_size) in enumerate(inputs):
                x = step.take(x, c, step_size)
                if first:
                    expected.append(operations.digest())
                elif operations.digest() != expected[index]:
                    return False
        if not returning:
            return True
        after = Survey(optimizer, param, self._step + len(inputs), counters if ahead else None)
        return (after.own, after.counters) == (survey.own, counters)

    @contextlib.contextmanager
    def _undisturbed(self, survey: Survey) -> Iterator[Callable[[], bool]]:
        """Gives a function that tells whether anything outside of copies has changed; what has is put back."""
        with generators_restored() as untouched:

            def undisturbed() -> bool:
                return Survey(self._optimizer, self._param, self._step).outside == survey.outside and untouched()

            try:
                yield undisturbed
            finally:
                if not undisturbed():
                    survey.restore_outside()


def copied(optimizer: Optimizer, param: torch.nn.Parameter) -> tuple[Optimizer, torch.nn.Parameter]:
    """An optimizer and its parameter with all that is theirs, also what a ``state_dict`` leaves out."""
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(param, memo)
    vars(twin).update(copy.deepcopy(vars(param), memo))
    new = object.__new__(type(optimizer))
    memo[id(optimizer)] = new
    vars(new).update({name: copy.deepcopy(value, memo) for name, value in vars(optimizer).items()})
    return new, twin


def _set(optimizer: Optimizer, param: Tensor, path: Path, count: int) -> Tensor | None:
    """Set a number that counts steps; return the tensor that it is, if it is one."""
    holder: Any = vars(optimizer)
    *way, last = (param if key is None else key for key in path)
    for key in way:
        holder = holder[key]
    if not isinstance(holder[last], Tensor):
        holder[last] = type(holder[last])(count)
        return None
    tensor: Tensor = holder[last]
    with torch.no_grad():
        return tensor.fill_(count)
