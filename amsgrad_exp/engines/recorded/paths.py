"""Finds the paths that an optimizer's step can take, and checks each path's expressions on many recordings."""

from __future__ import annotations

import dis
import functools
import itertools
import math
import re
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.code import names
from amsgrad_exp.engines.recorded.followed import CAUGHT
from amsgrad_exp.engines.recorded.kernels import (
    CASTS,
    CONDITIONS,
    KINDS,
    OF_INTEGERS,
    ON_ARRAYS,
    candidates,
    expression,
    rounding,
)
from amsgrad_exp.engines.recorded.recording import NotRecorded, Operation, Place, Recording, leaves
from amsgrad_exp.engines.torch_state import Survey, copied, generators_restored
from amsgrad_exp.engines.torch_step import sees_gradients_alone, update_of
from amsgrad_exp.optimizers.importing import in_library

# Step counts at which a step is recorded. Counts of medium size are needed because 1 − (1 − β^t) equals β^t while that
# is above ½, and both stay above 0 for a while after that. `step % k` is 0 for any small k at powers of 10 and at
# 2793510720 = 2^6·3^3·5·7·11·13·17·19, but not at their neighbours.
COUNTS = (
    *(30, 100, 333, 777, 1234, 2500, 5000, 10_000, 30_000, 100_000, 300_000, 999_999, 10**6, 1_000_003, 16_000_000),
    *(7 * 10**7 - 1, 10**9, 2_793_510_718, 2_793_510_719, 2_793_510_720, 2_793_510_721, 10**12, 10**15),
)
LRS = (0.5, 0.731, 0.37, 1e-6, 1.2345678e-4, 0.0123, 1.21, 7.7, 123.4, 0.99)
"""Step sizes at which a step is recorded, as factors of the initial one."""

# The least numbers of recordings, step sizes and steps of a path; with fewer, a changing number may look constant.
LEAST, LEAST_LRS, LEAST_STEPS = 6, 4, 2
MOST_PATHS = 12
NEAR = 16  # how many consecutive steps are recorded
POISONS = (math.nan, 1e300, -1e300, 0.37, 0.0)
FORBIDDEN = {"time", "datetime", "random", "secrets", "os", "uuid", "socket", "threading"}
"""Modules through which an optimizer may depend on things that a recording does not show."""

NAME = re.compile(r"\b(?:[vscpi]\d+|[xg]|lr)\b")
_OF_FOREACH = {"tensors": "self", "tensors1": "end", "weights": "weight", "scalars": "scalar"}
_SCALAR = {"clamp_min": "min", "clamp_max": "max", "pow": "exponent", "lerp": "weight"}
_SCALAR |= {"addcmul": "value", "addcdiv": "value"}

_answers: dict[str, tuple[str | None, bytes]] = {}  # the results of trials, by a description of each trial

_one_at_a_time = threading.RLock()  # needed because the functions of `math` are wrapped during a recording


class Path:
    """One sequence of operations that a step can take, with an expression for each number in it.

    In expressions, x, g, lr, s0, … and p0, … are inputs, c0, … Python numbers, i0, … numbers read from tensors, and
    v0, … results of operations. Each expression must hold in all recordings of the group.
    """

    def __init__(self, group: Sequence[Recording], counters: frozenset[Place]) -> None:
        self.recording = recording = group[0]
        self.counters = counters  # the places of numbers that grow by 1 every step
        self.guards = list(dict.fromkeys(recording.guards))
        self.after = {**recording.outputs, **recording.moves}  # the expressions of what is kept, after the step
        self.texts = {f"i{k}": f"f64({name})" for k, (name, _) in enumerate(recording.reads)}
        scope = {name: np.array([each.before[name] for each in group]) for name in recording.before}
        for i, same in enumerate(zip(*(each.scalars for each in group), strict=True)):
            texts = dict.fromkeys(text for text in same[0].texts if _holds(text, scope, [each.value for each in same]))
            if len(texts) != 1:
                known = "may be one or another that was always equal" if texts else "changes in a way that is not known"
                raise NotRecorded(f"a number {known}", for_good=False)
            (self.texts[f"c{i}"],) = texts
        for place, name in recording.names.items():
            if name in recording.moves and not _holds(recording.moves[name], scope, [r.moved[name] for r in group]):
                raise NotRecorded(f"its {place[-1]} changes in a way that is not known", for_good=False)
        self.kinds = dict.fromkeys(self.texts, "d") | {n: KINDS[dtype] for n, dtype in recording.dtypes.items()}
        self.answers: dict[str, bytes] = {}  # digests of the results of torch's kernels, by what was tried
        for operation in recording.operations:
            self.texts[operation.out] = self._expression(operation)

    def _expression(self, operation: Operation) -> str:
        kind_out, name = KINDS[operation.out_dtype], operation.name
        arguments: dict[str, tuple[str, Any]] = {}
        fixed, changing = {"alpha": 1} | operation.defaults, set[str]()
        for key, way, what in operation.parts:
            key = _OF_FOREACH.get(key, key)
            key = _SCALAR.get(name, "other") if key == "scalar" else key
            arguments[key] = ("several", None) if key in arguments else (way, what)
            if way == "s" and NAME.search(self.texts[f"c{operation.numbers[what]}"]):
                changing.add(key)
                fixed.pop(key, None)
            elif way != "t":
                fixed[key] = operation.values[what] if way == "s" else what
        if name in ("zero", "fill", "copy"):
            way, what = arguments.get("value" if name == "fill" else "src", ("=", "0"))
            names = {"t": operation.inputs, "s": [f"c{i}" for i in operation.numbers]}
            return CASTS[kind_out].format(names[way][what] if way in names else what)
        found = candidates(name, fixed)
        if found is None or (kind_out == "i" and name not in OF_INTEGERS):
            raise NotRecorded(f"it calls {name}{' of integers' if found else ''}")
        wanted, templates = found
        given = {key: ("1", value) for key, value in fixed.items() if value is not None} | arguments
        operands = [given[key] for key in wanted if given.get(key, ("=", None)) != ("=", None)]
        if not {way for way, _ in operands} <= set("ts1") or not changing <= set(wanted):
            raise NotRecorded(f"it calls {name} with arguments that change, or are not numbers")
        if name in ("addmm", "baddbmm"):  # these treat a factor of 0 or 1 as a special case
            operands = [("=", what) if way == "s" else (way, what) for way, what in operands]
        condition = name in CONDITIONS
        kind = self._computed_in(operation, operands[condition:], kind_out)
        shown = [what for way, what in arguments.values() if way == "s" and (way, what) not in operands]
        shown = [operation.values[each] for each in shown]
        like = operation.parts, operation.defaults, operation.dtypes, operation.shapes, kind, kind_out
        key = repr((str(operation.func), operands, templates, shown, *like))
        try:
            if key not in _answers:
                _answers[key] = rounding(operation, operands, templates, (kind, kind_out), condition)
        except (RuntimeError, ArithmeticError, IndexError) as error:
            raise NotRecorded(f"{name} cannot be tried: {error}") from error
        template, self.answers[key] = _answers[key]
        if template is None:
            raise NotRecorded(f"torch's kernel of {name} rounds in a way that is not known")
        texts = [self._operand(operation, each, kind, as_it_is=condition and i == 0) for i, each in enumerate(operands)]
        text = expression(template, texts, kind)
        return text if kind_out in (kind, "b") else CASTS[kind_out].format(text)

    def _operand(self, operation: Operation, operand: tuple[str, Any], kind: str, *, as_it_is: bool) -> str:
        way, what = operand
        cast = CASTS["b" if as_it_is else "f" if kind == "h" else kind]
        if way != "t":
            return cast.format(f"c{operation.numbers[what]}" if way in "s=" else repr(what))
        source = operation.inputs[what]
        held = self.kinds[source]
        fits = as_it_is or held == kind or (kind == "f" and held == "h")
        return source if fits and source[0] != "c" else cast.format(source)

    def _computed_in(self, operation: Operation, operands: Sequence[tuple[str, Any]], kind_out: str) -> str:
        """Return the kind in which an operation computes; tensors with dimensions take precedence, as in torch."""
        tensors = [what for way, what in operands if way == "t"]
        if not tensors:
            return kind_out
        like = [torch.zeros(operation.shapes[j], dtype=operation.dtypes[j]) for j in tensors]
        kind = KINDS[functools.reduce(torch.add, like).dtype]
        if kind in "ib" and kind_out in "fdh":
            return kind_out
        if kind == "i" and any(way in "s=" and operation.values[what] % 1 for way, what in operands):
            return "f"
        return ("i" if kind_out in "ib" else kind_out) if kind == "b" and len(tensors) < len(operands) else kind


def _holds(text: str, scope: Mapping[str, Any], values: Sequence[float]) -> bool:
    """Whether an expression has the given values, one for each recording."""
    try:
        with np.errstate(all="ignore"):
            got = np.broadcast_to(np.asarray(eval(text, ON_ARRAYS, dict(scope)), np.float64), len(values))
    except (ArithmeticError, NameError, TypeError, ValueError):
        return False
    return np.array_equal(got, values, equal_nan=True)


def paths_of(
    optimizer: Optimizer, param: torch.nn.Parameter, gradients: Sequence[float], lr: float, step: int
) -> list[Path]:
    """Return the paths that an optimizer's next step can take after ``step`` steps; the optimizer is not changed.

    ``gradients`` are those of the next `NEAR` steps. `NotRecorded` is raised if no program is known to do what the
    optimizer does.
    """
    with _one_at_a_time:
        survey = Survey(optimizer, param, step)
        if not sees_gradients_alone(optimizer, param):
            raise NotRecorded("it has hooks, or a zero_grad of its own")
        if survey.opaque is not None:
            raise NotRecorded(f"it keeps what cannot be seen through: {survey.opaque}")
        functions = [each for each in survey.functions if isinstance(each, types.FunctionType)]
        for function in functions:
            scope = function.__globals__
            if not in_library(scope.get("__name__")):
                for module in FORBIDDEN.intersection(_modules(function.__code__, scope)):
                    raise NotRecorded(f"it uses the module {module}")
        with generators_restored() as untouched:
            try:
                paths = _paths(optimizer, param, gradients, lr, step, functions)
                if not untouched():
                    raise NotRecorded("it draws random numbers")
            finally:
                if changed := Survey(optimizer, param, step).outside != survey.outside:
                    survey.restore_outside()
        if changed:
            raise NotRecorded("it keeps something outside of itself")
        return paths


def _modules(code: types.CodeType, scope: Mapping[str, object]) -> Iterator[str]:
    """Yield the names of the modules that a function's code imports or uses something from."""
    for line in dis.get_instructions(code):
        if line.opname == "IMPORT_NAME":
            yield str(line.argval)
        elif isinstance(line.argval, types.CodeType):
            yield from _modules(line.argval, scope)
    for value in (scope[name] for name in code.co_names if name in scope):
        yield value.__name__ if isinstance(value, types.ModuleType) else str(getattr(value, "__module__", None))


def literal_step(optimizer: Optimizer, param: torch.nn.Parameter, gradient: float, lr: float) -> None:
    """Let the optimizer take a step, and clamp the parameter."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    param.grad = torch.full_like(param, gradient)
    with torch.no_grad():
        update_of(optimizer)()
        param.clamp_(-1, 1)


def _paths(
    optimizer: Optimizer,
    param: torch.nn.Parameter,
    gradients: Sequence[float],
    lr: float,
    step: int,
    functions: Sequence[types.FunctionType],
) -> list[Path]:
    counters, poisons = _counters(optimizer, param, gradients, lr), itertools.cycle(POISONS)
    own = [each.__code__ for each in functions if not in_library(each.__module__)]
    catching = any(not CAUGHT.isdisjoint(names(code)) for code in own)
    moving: list[Place] = []
    while True:
        record = functools.partial(Recording, moving=moving, functions=functions, catching=catching, poisons=poisons)
        twin, p = copied(optimizer, param)
        recordings: list[tuple[int, Recording]] = []
        for i, g in enumerate(gradients[:NEAR]):
            tries = [(g, lr), (g, lr * 0.61), (0.7, lr * 1.21), (-3.0, lr * 0.37)]
            if i == 0:
                tries += [(g * a, lr * b) for a in (1, 0.999, 1.01) for b in (0.999, 1.002, 0.97)]
            recordings += [(step + i, record(twin, p, *each)) for each in tries]
            literal_step(twin, p, g, lr)
        found = {place for _, each in recordings for place in each.changed} - set(moving)
        if not found:
            break
        moving = sorted({*moving, *found}, key=str)
    recordings += [(step, record(optimizer, param, gradients[0], lr * part)) for part in LRS]
    for count in COUNTS:
        if count > step:
            twin, p = copied(optimizer, param)
            here = leaves(twin, p)
            for place, more in counters.items():
                here[place].put(count + more - step)
            recordings.append((count, record(twin, p, gradients[0], lr)))
    groups: dict[str, list[tuple[int, Recording]]] = {}
    for at, each in recordings:
        groups.setdefault(each.structure, []).append((at, each))
    for one, other in itertools.combinations(groups, 2):
        _require_parting_guard(one, other, for_good=step > 2000)
    known = [
        [each for _, each in group] for group in groups.values()
        if len(group) >= LEAST and len({each.lr for _, each in group}) >= LEAST_LRS
        and len({at for at, _ in group}) >= LEAST_STEPS
    ]  # fmt: skip
    if recordings[0][1].structure not in {group[0].structure for group in known}:
        raise NotRecorded("it takes a path too rarely to know its numbers", for_good=False)
    if len(known) > MOST_PATHS:
        raise NotRecorded(f"its steps take more than {MOST_PATHS} paths")
    return [Path(group, frozenset(counters)) for group in known]


def _counters(
    optimizer: Optimizer, param: torch.nn.Parameter, gradients: Sequence[float], lr: float
) -> dict[Place, float]:
    """Return the places and present values of the numbers that grow by exactly 1 at each step."""
    twin, p = copied(optimizer, param)
    seen = []
    for i in range(4):
        seen.append({place: leaf.read() for place, leaf in leaves(twin, p).items()})
        literal_step(twin, p, gradients[i], lr)
    return {
        place: first for place, first in seen[0].items() if place[-1] != "lr" and first == first // 1
        and all(each.get(place) == first + i for i, each in enumerate(seen))
    }  # fmt: skip


def _require_parting_guard(one: str, other: str, *, for_good: bool) -> None:
    """Check that the first difference between two recordings is the result of a comparison."""
    pairs = zip(one.split("\n"), other.split("\n"), strict=False)
    a, b = next(((a, b) for a, b in pairs if a != b), ("", ""))
    if not (a.startswith("guard") and a.rpartition(" ")[0] == b.rpartition(" ")[0]):
        raise NotRecorded(
            "it does other operations at some steps, and no comparison of numbers says when", for_good=for_good
        )
