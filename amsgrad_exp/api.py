"""Offers the commands as Python functions, which `amsgrad_exp` exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from amsgrad_exp import engines
from amsgrad_exp.attacks import attacking
from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.attacks.search import Limits
from amsgrad_exp.bounds import Bounds, bounds_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.process import alone
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.run import Run
from amsgrad_exp.spec.experiment import Experiment
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.sweeps.sweeping import sweep as sweep
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.identification.answer import Answer


def run(experiment: Experiment, out: Path | str = "logs", watch: Watch = UNWATCHED) -> Run:
    """Run an experiment with one optimizer and record it under ``out``, as ``amsgrad-exp run`` does.

    Returns:
        The run: ``run.trace`` has the logged points as arrays, ``run.result`` the result.

    Raises:
        ConfigError: there are several optimizers, or the experiment is invalid.
        RunFailed: the optimizer failed during the run; the steps before the failure are recorded.
        RunError, OSError: the run could not be recorded.
    """
    if len(experiment.optimizers) > 1:
        raise ConfigError(f"run takes one optimizer, not {len(experiment.optimizers)}: use compare")
    (trial,) = experiment.trials()
    return record(trial, Path(out), watch, labels([trial])[0])


@alone()
def compare(experiment: Experiment, out: Path | str = "logs", watch: Watch = UNWATCHED) -> dict[str, Run]:
    """Run every optimizer of an experiment, as ``amsgrad-exp compare`` does.

    Returns:
        The runs by label, in order, except those that failed or were not started.

    Raises:
        As `run`, but any number of optimizers is allowed.
    """
    trials = experiment.trials()
    for trial in trials:
        engines.build(trial)  # reject an invalid optimizer before anything is run
    runs: dict[str, Run] = {}
    for label, trial in zip(labels(trials), trials, strict=True):
        if watch.should_stop():
            watch.note(f"not started: {label}")
            continue
        try:
            runs[label] = record(trial, Path(out), watch, label)
        except RunFailed as failure:
            watch.failed(label, failure)
    return runs


def bound(run: Run, watch: Watch = UNWATCHED) -> Bounds:
    """Upper bounds on a run's regret at its logged points, as ``--bound`` shows them; every step is simulated.

    If the run was interrupted, the bounds end with its last logged point.

    Raises:
        NoBound: no bound is known; the message says why.
        RunFailed: the bound is not finite.
    """
    ended = run.summary.result is not None or not len(run.trace)
    return bounds_of(run.trial, run.trial.steps if ended else int(run.trace.step[-1]) + 1, watch)


@alone()
def attack(
    optimizer: str,
    out: Path | str = "attacks",
    *,
    settings: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    jobs: int | None = None,
    watch: Watch = UNWATCHED,
) -> Attack:
    """Search for a problem on which an optimizer goes to the worst point, as ``amsgrad-exp attack`` does.

    Args:
        optimizer: a registered name or an import path.
        out: a directory, created if missing.
        settings: values of lr, beta1, beta2 and eps that differ from the optimizer's defaults.
        options: values of its other settings that differ from their defaults, each written as in YAML.
        limits: limits of the search; by default it ends when a fixed set of problems is tried.
        jobs: the number of threads; None for one per core.
        watch: progress callbacks.

    Returns:
        The outcome: ``attack.counterexample`` is a problem, confirmed by recorded runs, or None.

    Raises:
        ConfigError: there is no such optimizer or setting, or the optimizer cannot be attacked.
        RunFailed: the optimizer raised an exception, or x was finite on no problem.
        RunError, OSError: the outcome could not be stored.
    """
    attacked = attacking.target(optimizer, settings, options)
    with workers(jobs) as executor:
        return attacking.attack(attacked, limits or Limits(), Path(out), executor, watch)


@alone()
def identify(
    optimizer: str | None = None,
    *,
    iterates: Path | str | None = None,
    settings: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
    like: str | None = None,
) -> Answer:
    """Name the published rule that an optimizer follows, as ``amsgrad-exp identify`` does.

    Args:
        optimizer: a registered name or an import path; None if ``iterates`` is given.
        iterates: a file that ``amsgrad-exp probes`` wrote, with the iterates of an implementation filled in.
        settings: lr, beta1, beta2 and eps, to replace the probes' own values.
        options: the optimizer's own settings, each written as in YAML.
        like: the rule to compare with, ``NAME`` in any form or ``NAME:OPTION=VALUE,…``; by default any rule.

    Returns:
        The answer: ``answer.matches``, ``answer.closest`` and ``answer.departures``, a tuple of codes.

    Raises:
        ConfigError: there is no such optimizer, rule or setting, the optimizer is not deterministic, or the file is not
            filled in.
        RunFailed: the optimizer raised an exception, or x was never finite.
    """
    from amsgrad_exp.identification.answer import of_iterates, of_optimizer
    from amsgrad_exp.identification.known_forms import rule_named

    rule = None if like is None else rule_named(like)
    if (optimizer is None) == (iterates is None):
        raise ConfigError("give either --optimizer or --iterates")
    if iterates is not None:
        return of_iterates(Path(iterates), settings or {}, options or {}, rule)
    assert optimizer is not None
    return of_optimizer(optimizer, settings or {}, options or {}, rule)
