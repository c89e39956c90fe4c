"""Chooses the engine that runs a trial; engines know nothing of files, labml or screens."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.rules import OPTIMIZERS, rule_of
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial
from amsgrad_exp.spec.schedule import schedule_of

if TYPE_CHECKING:
    from amsgrad_exp.engines.batch import Batch
    from amsgrad_exp.engines.compiled import CompiledBatch
    from amsgrad_exp.engines.recorded.program import Program


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Turn a ValueError about an imported optimizer into a ConfigError of one line."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def has_rule(trial: Trial) -> bool:
    """Whether a trial runs with the rule of a registered optimizer, which does not need torch."""
    return trial.engine != "torch" and trial.optimizer.name in OPTIMIZERS and trial.dtype in COMPILED_DTYPES


def flushed(trial: Trial) -> bool:
    """Whether a trial treats subnormal numbers as 0; not if ε = 0, since a root of 0 would then be a divisor."""
    return trial.optimizer.eps != 0


def compiles(trial: Trial) -> bool:
    """Whether compiled code runs a trial; to find out, an imported optimizer is imported and a step recorded."""
    try:
        return has_rule(trial) or alike(trial) is not None
    except ConfigError:
        return False


@config_errors()
def _program_for(trial: Trial) -> Program | str:
    """Return the program of a trial without a rule, or why there is none; the reason is empty on engine torch."""
    if trial.engine == "torch" or trial.optimizer.name in OPTIMIZERS:
        return ""
    from amsgrad_exp.engines.recorded import program_for

    return program_for(trial)


def alike(trial: Trial) -> Hashable | None:
    """Return what trials of one `driver.drive_batch` must have in common; None for a trial that is not compiled.

    The problem's period is part of it only if the runs may repeat themselves. If an imported optimizer cannot be built,
    this function, `build` and `shared_between` raise a ConfigError.
    """
    rule: Hashable
    if has_rule(trial):
        rule = rule_of(trial.optimizer)
        settles = rule.settles
    else:
        program = _program_for(trial)
        if isinstance(program, str):
            return None
        rule, settles = (program.in_batches, program.begin), True
    problem = trial.problem
    repeats = trial.fast_forward and schedule_of(trial).constant and settles
    kind = (problem.loss, problem.slope, (problem.steps_per_period or 0) if repeats else -1)
    return rule, kind, flushed(trial), trial.dtype, trial.schedule, trial.steps, trial.log_every, trial.fast_forward


def batch_of(trials: Sequence[Trial]) -> CompiledBatch:
    """Build a batch, at step 0, of trials of one seed each with equal `alike`."""
    from amsgrad_exp.engines.compiled import CompiledBatch

    if has_rule(trials[0]):
        return CompiledBatch(trials)
    from amsgrad_exp.engines.recorded.recorded_run import RecordedBatch
    from amsgrad_exp.engines.torch_run import TorchRun

    programs = [program for trial in trials if not isinstance(program := _program_for(trial), str)]
    return RecordedBatch(trials, programs, [TorchRun(trial) for trial in trials])


@config_errors()
def build(trial: Trial) -> Batch:
    """Build the batch of a trial's seeds, at step 0."""
    seeds = [trial.model_copy(update={"seed": trial.seed + i, "seeds": 1}) for i in range(trial.seeds)]
    if has_rule(trial):
        from amsgrad_exp.engines.compiled import CompiledBatch

        return CompiledBatch(seeds, stops=True)
    program = _program_for(trial)
    if not isinstance(program, str):
        from amsgrad_exp.engines.recorded.recorded_run import RecordedRun, RecordedSeeds

        return RecordedRun(trial, program) if trial.seeds == 1 else RecordedSeeds(seeds, program)
    if trial.engine == "compiled":
        raise ConfigError(f"optimizer {trial.optimizer.name} cannot be compiled: {program}; use engine torch")
    from amsgrad_exp.engines.batch import OneByOne
    from amsgrad_exp.engines.torch_run import TorchRun

    runs = [TorchRun(each) for each in seeds]
    for run in runs:
        run.driven = replace(run.driven, not_compiled=program or None)
    return runs[0] if trial.seeds == 1 else OneByOne(runs)


@config_errors()
def shared_between(trial: Trial) -> str | None:
    """Return what an optimizer's parameters share, as `torch_step` finds it; None for a registered optimizer."""
    if trial.optimizer.name in OPTIMIZERS:
        return None
    from amsgrad_exp.engines.torch_step import way_of

    return way_of(trial.optimizer, "float64").shared
