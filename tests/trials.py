"""Makes trials and engines for tests from problem and schedule objects, and takes a rule's steps in plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import drive
from amsgrad_exp.engines.summarize import Result, summarize
from amsgrad_exp.problems import Problem
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, rule_of
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.schedules import SCHEDULES, Schedule
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.spec.schedule import constants_of, schedule_of
from amsgrad_exp.trace import Trace

SEVERAL = ("adabound", "adam", "adamw", "adashift", "amsgrad", "signsgd")
"""One optimizer of each kind: whose coefficients never settle, that uses x, with a large state, with none, …"""


class Step(NamedTuple):
    """A step of a rule: its coefficients, the gradient, the update, and the state and x after it."""

    c: tuple[Any, ...]
    g: Any
    move: Any
    state: tuple[Any, ...]
    x: Any


def in_python(trial: Trial, steps: int, number: Any = float) -> Iterator[Step]:
    """Take the steps of a trial's rule in plain Python, with numbers of one type."""
    rule, exact = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    h = rule.hyper(*map(number, exact))
    low, high = map(number, trial.problem.interval)
    scales = schedule_of(trial).scales(0, steps).tolist()
    x, state, carry = number(trial.problem.start), tuple(map(number, rule.state.values())), rule.carry
    for t, (column, scale) in enumerate(zip(trial.problem.coefficients(0, steps, trial.seed).T, scales, strict=True)):
        scale, c, carry = rule.coefficients(t, scale, exact, *carry)
        c, g = tuple(map(number, c)), trial.problem.slope(x, *map(number, column))
        seen = (x,) if rule.uses_iterate else ()
        move, state = rule.update(g, h.lr * number(scale), c, h, *seen, *state)
        x = min(max(x - move, low), high)
        yield Step(c, g, move, state, x)


def make_trial(optimizer: str, problem: Problem, schedule: Schedule, **changed: Any) -> Trial:
    """Make a trial of 10⁷ steps; keywords are ``betas``, ``eps`` and other settings, or keys of the trial.

    A registered optimizer gets only those of β1, β2 and ε that it takes.
    """
    beta1, beta2 = changed.pop("betas", (0.9, 0.99))
    common: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "eps": changed.pop("eps", 1e-16)}
    own: dict[str, Any] = {name: changed.pop(name) for name in ("optimized_update", "options") if name in changed}
    if optimizer in OPTIMIZERS:
        known = OPTIMIZERS[optimizer]
        takes = known.rule(known.options(**own.get("options", {}))).settings
        common = {name: value for name, value in common.items() if name in takes}
    entry: dict[str, Any] = {"name": optimizer, "lr": schedule.lr, **common, **own}
    settings = {"problem": problem, "schedule": _written(schedule), "optimizers": [entry], **changed}
    (trial,) = resolve(settings).trials()
    return trial


def finished(trial: Trial) -> tuple[Trace, Result]:
    """Run a trial alone; return all logged points and the result."""
    chunks = list(drive(build(trial), trial.steps, trial.log_every, fast_forward=trial.fast_forward))
    trace = Trace.concatenate([chunk.trace for chunk in chunks])
    return trace, summarize(trial.problem, trace, chunks[-1], schedule=schedule_of(trial))


def make_engine(kind: str, optimizer: str, problem: Problem, schedule: Schedule, **changed: Any) -> Batch:
    """Make the engine of such a trial; ``kind`` is "compiled" or "torch"."""
    return build(make_trial(optimizer, problem, schedule, engine=kind, **changed))


def literal(path: str, problem: Problem, schedule: Schedule, dtype: str = "float64", **arguments: Any) -> Batch:
    """Make a run of an imported optimizer on the torch engine, with only these arguments."""
    from amsgrad_exp.engines.torch_run import TorchRun

    settings = OptimizerSettings(name=path, lr=schedule.lr).model_copy(update={"options": arguments})
    given: dict[str, Any] = {"optimizer": settings, "problem": problem, "schedule": _written(schedule), "dtype": dtype}
    return TorchRun(Trial(**given, steps=10**6, log_every=1))


def _written(schedule: Schedule) -> dict[str, Any]:
    (kind,) = (name for name, kind in SCHEDULES.items() if isinstance(schedule, kind))
    return {"name": kind} | {field.name: getattr(schedule, field.name) for field in constants_of(kind)}
