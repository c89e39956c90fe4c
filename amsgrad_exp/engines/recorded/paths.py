"""The paths that an optimizer's step can take, each from many recordings that bear out its expressions."""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.recorded.recording import (
    NotRecorded,
    Operation,
    Place,
    Recording,
    leaves,
)
from amsgrad_exp.engines.recorded.scalars import ON_ARRAYS
from amsgrad_exp.engines.torch_state import Survey, copied, generators_restored, names_of
from amsgrad_exp.engines.torch_step import sees_gradients_alone, update_of
from amsgrad_exp.optimizers.importing import in_library

# 1 − (1 − β^t) is β^t while that is above ½, and neither is 0 for a while after: so counts in between as well. At
# 2793510720 = 2^6·3^3·5·7·11·13·17·19 and at powers of 10, any `step % k` of a small k is 0; so not beside them.
COUNTS = (
    *(30, 100, 333, 777, 1234, 2500, 5000, 10_000, 30_000, 100_000, 300_000, 999_999, 10**6, 1_000_003, 16_000_000),
    *(7 * 10**7 - 1, 10**9, 2_793_510_718, 2_793_510_719, 2_793_510_720, 2_793_510_721, 10**12, 10**15),
)
LRS = (0.5, 0.731, 0.37, 1e-6, 1.2345678e-4, 0.0123, 1.21, 7.7, 123.4, 0.99)
"""Step sizes at which a step is recorded, as parts of the one that it starts with."""

LEAST, LEAST_LRS, LEAST_STEPS = 6, 4, 2  # recordings of a path, or its numbers would pass for constants
MOST_PATHS = 12
NEAR = 16  # steps that are recorded one after the other
FORBIDDEN = {"time", "datetime", "random", "secrets", "os", "uuid", "socket", "threading"}
"""Modules on which what an optimizer does may depend without being seen."""

_one_at_a_time = threading.RLock()  # the functions of `math` are wrapped meanwhile


@dataclass(frozen=True)
class Path:
    """One sequence of operations that a step can be.

    Attributes:
        operations, dtypes: of a recording.
        scalars: the expressions of its Python numbers.
        reads: the names of the numbers that were read from tensors.
        guards: expressions of comparisons, and how they come out on this path.
        moves: the expressions of what tracked Python numbers become, by their names.
        x, outputs, places: as of `Recording`; places of tracked numbers as well.
        counters: the places of numbers that grow by 1 every step.
        structure: tells one path from another.
    """

    operations: Sequence[Operation]
    dtypes: Mapping[str, torch.dtype]
    scalars: Sequence[str]
    numbers: Sequence[float]
    reads: Sequence[str]
    guards: Sequence[tuple[str, bool]]
    moves: Mapping[str, str]
    x: str
    outputs: Mapping[str, str]
    places: Mapping[str, Place]
    counters: frozenset[Place]
    structure: str


def paths_of(
    optimizer: Optimizer, param: torch.nn.Parameter, gradients: Sequence[float], lr: float, step: int
) -> list[Path]:
    """The paths that the next step of an optimizer can take.

    Nothing changes for the optimizer: copies of it take the steps.

    Args:
        optimizer, param: after ``step`` steps.
        gradients: of the next `NEAR` steps.
        lr: a step size.
        step: t.

    Raises:
        NotRecorded: there is no program that is known to do what the optimizer does.
    """
    with _one_at_a_time, _undisturbed(optimizer, param, step) as functions:
        return _paths(optimizer, param, gradients, lr, step, functions)


@contextlib.contextmanager
def _undisturbed(optimizer: Optimizer, param: torch.nn.Parameter, step: int) -> Iterator[list[types.FunctionType]]:
    """Refuse an optimizer that cannot be seen through, or whose copies change something outside of themselves."""
    survey = Survey(optimizer, param, step)
    if not sees_gradients_alone(optimizer, param):
        raise NotRecorded("it has hooks, or a zero_grad of its own")
    if survey.opaque is not None:
        raise NotRecorded(f"it keeps what cannot be seen through: {survey.opaque}")
    functions = [each for each in survey.functions if isinstance(each, types.FunctionType)]
    for function in functions:
        scope = function.__globals__
        for name in names_of(function.__code__) if not in_library(scope.get("__name__")) else ():
            value = scope.get(name)
            module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if isinstance(value, types.ModuleType | types.BuiltinFunctionType) and module in FORBIDDEN:
                raise NotRecorded(f"it uses the module {module}")
    changed = False
    with generators_restored() as untouched:
        try:
            yield functions
            if not untouched():
                raise NotRecorded("it draws random numbers")
        finally:
            if changed := Survey(optimizer, param, step).outside != survey.outside:
                survey.restore_outside()
    if changed:
        raise NotRecorded("it keeps something outside of itself")


def _paths(
    optimizer: Optimizer,
    param: torch.nn.Parameter,
    gradients: Sequence[float],
    lr: float,
    step: int,
    functions: Sequence[types.FunctionType],
) -> list[Path]:
    counters = _counters(optimizer, param, gradients, lr)
    moving: list[Place] = []
    while True:
        record = functools.partial(Recording, moving=moving, functions=functions)
        twin, p = copied(optimizer, param)
        base = record(twin, p, gradients[0], lr)
        at, recordings = [step], [base]
        for i, g in enumerate(gradients[:NEAR]):
            tries = [(g, lr * 0.61), (0.7, lr * 1.21), (-3.0, lr * 0.37), *([(g, lr)] if i else [])]
            if i == 0:
                tries += [(g * a, lr * b) for a in (1, 0.999, 1.01) for b in (0.999, 1.002, 0.97)]
            recordings += [record(twin, p, *each) for each in tries]
            at += [step + i] * len(tries)
            literal_step(twin, p, g, lr)
        found = {place for each in recordings for place in each.changed} - set(moving)
        if not found:
            break
        moving = sorted({*moving, *found}, key=str)
    recordings += [record(optimizer, param, gradients[0], lr * part) for part in LRS]
    at += [step] * len(LRS)
    for count in COUNTS:
        if count > step:
            counts = {place: count + more - step for place, more in counters.items()}
            recordings.append(record(optimizer, param, gradients[0], lr, counts=counts))
            at.append(count)
    groups: dict[str, list[Recording]] = {}
    seen: dict[str, set[int]] = {}
    for each, count in zip(recordings, at, strict=True):
        groups.setdefault(each.structure, []).append(each)
        seen.setdefault(each.structure, set()).add(count)
    leads = [group[0] for group in groups.values()]
    for i, one in enumerate(leads):
        for other in leads[:i]:
            _parted_by_a_guard(one, other, for_good=step > 2000)
    known = [
        group for structure, group in groups.items()
        if len(group) >= LEAST and len({each.lr for each in group}) >= LEAST_LRS and len(seen[structure]) >= LEAST_STEPS
    ]  # fmt: skip
    if groups[base.structure] not in known:
        raise NotRecorded("it takes a path too rarely to know its numbers", for_good=False)
    if len(known) > MOST_PATHS:
        raise NotRecorded(f"its steps take more than {MOST_PATHS} paths")
    return [_path(group, moving, frozenset(counters)) for group in known]


def literal_step(optimizer: Optimizer, param: torch.nn.Parameter, gradient: float, lr: float) -> None:
    """Take a step, and clamp."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    param.grad = torch.full_like(param, gradient)
    with torch.no_grad():
        update_of(optimizer)()
        param.clamp_(-1, 1)


def _counters(
    optimizer: Optimizer, param: torch.nn.Parameter, gradients: Sequence[float], lr: float
) -> dict[Place, float]:
    """The places of numbers that grow by exactly 1 a step, and what they are now."""
    twin, p = copied(optimizer, param)
    seen = []
    for i in range(4):
        seen.append({place: leaf.read() for place, leaf in leaves(twin, p).items()})
        literal_step(twin, p, gradients[i], lr)
    return {
        place: first for place, first in seen[0].items() if place[-1] != "lr" and first == first // 1
        and all(each.get(place) == first + i for i, each in enumerate(seen))
    }  # fmt: skip


def _parted_by_a_guard(one: Recording, other: Recording, *, for_good: bool) -> None:
    """Check that where two recordings begin to differ a comparison came out otherwise."""
    pairs = zip(one.structure.split("\n"), other.structure.split("\n"), strict=False)
    a, b = next(((a, b) for a, b in pairs if a != b), ("", ""))
    if not (a.startswith("guard") and a.rpartition(" ")[0] == b.rpartition(" ")[0]):
        raise NotRecorded(
            "it does other operations at some steps, and no comparison of numbers says when", for_good=for_good
        )


def _path(group: Sequence[Recording], moving: Sequence[Place], counters: frozenset[Place]) -> Path:
    """A path from its recordings.

    Raises:
        NotRecorded: one of its numbers has no expression that holds in all of them.
    """
    base = group[0]
    scope = {name: np.array([each.before[name] for each in group]) for name in base.before}

    def right(text: str, values: Sequence[float]) -> bool:
        try:
            with np.errstate(all="ignore"):
                got = np.broadcast_to(np.asarray(eval(text, ON_ARRAYS, scope), np.float64), len(values))
        except (ArithmeticError, NameError, TypeError, ValueError):
            return False
        return np.array_equal(got, values, equal_nan=True)

    scalars = []
    for i, value in enumerate(base.scalars):
        values = [each.scalars[i] for each in group]
        texts = [repr(value), *base.made.get(value, ())]
        texts += [
            f"f64(f32({text}))" for held, made in base.made.items() if float(np.float32(held)) == value for text in made
        ]  # of a number in a float32 tensor
        text = next((each for each in texts if right(each, values)), None)
        if text is None:
            raise NotRecorded("a number changes in a way that is not known", for_good=False)
        scalars.append(text)
    for place in moving:
        if not right(base.moved_texts[place], [each.moved[place] for each in group]):
            raise NotRecorded(f"its {place[-1]} changes in a way that is not known", for_good=False)
    return Path(
        operations=base.operations,
        dtypes=base.dtypes,
        scalars=scalars,
        numbers=base.scalars,
        reads=[name for name, _ in base.reads],
        guards=list(dict.fromkeys(base.guards)),
        moves={f"p{j}": base.moved_texts[place] for j, place in enumerate(moving)},
        x=base.x,
        outputs=base.outputs,
        places={**base.places, **{f"p{j}": place for j, place in enumerate(moving)}},
        counters=counters,
        structure=base.structure,
    )
