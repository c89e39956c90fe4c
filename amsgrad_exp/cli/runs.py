"""The run and compare commands."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsgrad_exp.cli import options
from amsgrad_exp.cli.signals import Onlooker, optimizers_print_to_stderr, watching
from amsgrad_exp.errors import ConfigError, NoBound, NotAsExpected, nearest
from amsgrad_exp.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from amsgrad_exp.bounds import Bounds
    from amsgrad_exp.errors import RunFailed
    from amsgrad_exp.problems import Problem
    from amsgrad_exp.records.run import Run
    from amsgrad_exp.spec.experiment import Trial


@options.with_experiment_options()
def run(
    experiment: dict[str, Any],
    optimizer: options.Optimizer = None,
    bound: options.Bound = False,
    out: options.Out = options.RUNS,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run one optimizer on one problem and report whether it converges. Default: Adam on the online problem.

    Omitted settings are those stated with the problem, else lr 0.01, beta1 0.9, beta2 0.99, eps 1e-16.
    """
    from amsgrad_exp import api
    from amsgrad_exp.spec.read import load_experiment

    if optimizer is None and experiment["path"] is None:
        optimizer = "adam"
    with optimizers_print_to_stderr():
        loaded = load_experiment(**experiment, optimizers=[] if optimizer is None else [optimizer])
    names = [settings.label or settings.name for settings in loaded.optimizers]
    if optimizer is not None and names.count(optimizer) == 1:  # not those of this optimizer that have another label
        loaded = loaded.model_copy(update={"optimizers": (loaded.optimizers[names.index(optimizer)],)})
        names = [optimizer]
    if len(names) > 1:
        how = "pick one with --optimizer" if len(set(names)) == len(names) else "give them labels to pick one"
        raise ConfigError(f"{experiment['path']} lists {', '.join(names)}: {how}, or use compare")
    if bound:
        refuse_unbounded(dict(zip(names, loaded.trials(), strict=True)))
    with watching(quiet=quiet) as watch:
        with optimizers_print_to_stderr():
            runs = {names[0]: api.run(loaded, out, watch)}
        bounds = bounds_of(_completed(runs), watch, quiet=quiet) if bound else {}
        report(runs, watch, bounds, as_json=as_json, quiet=quiet)
    if bounds:
        _draw("run", runs, loaded.problem, bounds, quiet=quiet or as_json)


@options.with_experiment_options()
def compare(
    experiment: dict[str, Any],
    optimizer: options.Optimizers = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=WHERE",
            help="Exit with status 3 unless the iterates of the optimizer with this label or name settle at "
            f"WHERE: {options.WHERE}. Repeatable.",
        ),
    ] = None,
    bound: options.Bound = False,
    no_figure: options.NoFigure = False,
    page: options.Report = False,
    out: options.Out = options.RUNS,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run several optimizers on one problem and compare them. Default: Adam and AMSGrad.

    Omitted settings are those stated with the problem, else lr 0.01, beta1 0.9, beta2 0.99, eps 1e-16.
    """
    from amsgrad_exp import api
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.labels import labels
    from amsgrad_exp.spec.read import load_experiment

    with optimizers_print_to_stderr():
        loaded = load_experiment(**experiment, optimizers=optimizer or [])
    trials = dict(zip(labels(loaded.trials()), loaded.trials(), strict=True))
    expected = _expectations(expect or [], trials)
    if bound:
        refuse_unbounded(trials)
    with watching(quiet=quiet) as watch:
        with optimizers_print_to_stderr():
            runs = api.compare(loaded, out, watch)
        bounds = bounds_of(_completed(runs), watch, quiet=quiet) if bound else {}
        report(runs, watch, bounds, as_json=as_json, quiet=quiet)
    if runs and not no_figure:
        _draw("compare", runs, loaded.problem, bounds, quiet=quiet or as_json)
    if runs and page:
        path = _page(runs, bounds, watch.failures)
        if not (quiet or as_json):
            console.out.print("report", path, soft_wrap=True)
    if watch.failures:
        raise typer.Exit(1)
    wrong = [
        f"{label}: expected {expected[label]}, got {result.iterate}"
        for label, run in runs.items()
        if label in expected and (result := run.summary.result) and result.iterate != expected[label]
    ]
    for message in wrong:
        console.error(message)
    if wrong:
        raise typer.Exit(NotAsExpected.status)


def _expectations(assignments: Sequence[str], trials: Mapping[str, Trial]) -> dict[str, str]:
    """Where each run of a comparison, named by its label or, if there is only one, its optimizer, should settle."""
    *others, last = Verdict
    expected: dict[str, str] = {}
    for assignment in assignments:
        name, _, where = assignment.rpartition("=")
        if where not in list(Verdict):
            raise typer.BadParameter(f"--expect takes LABEL={', '.join(others)} or {last}, not {assignment!r}")
        matching = [label for label, trial in trials.items() if trial.optimizer.name == name]
        if name in trials:
            matching = [name]
        if not matching:
            raise typer.BadParameter(f"--expect {name}: {name!r} is not in this comparison, {nearest(name, trials)}")
        if len(matching) > 1:
            choices = " or ".join(map(repr, matching))
            raise typer.BadParameter(f"--expect {name}: {name!r} is compared {len(matching)} times: use {choices}")
        if matching[0] in expected:
            raise typer.BadParameter(f"--expect {name} is given twice")
        expected[matching[0]] = where
    return expected


def _completed(runs: Mapping[str, Run]) -> dict[str, Run]:
    return {label: run for label, run in runs.items() if run.summary.status == "completed"}


def _draw(
    command: str, runs: Mapping[str, Run], problem: Problem, bounds: Mapping[str, Bounds], *, quiet: bool
) -> None:
    """Draw the runs next to the directory of the first, and print the files' paths."""
    from amsgrad_exp.charts.traces import regret_and_iterate
    from amsgrad_exp.output import console

    first, traces = next(iter(runs.values())), {label: run.trace for label, run in runs.items()}
    files = regret_and_iterate(first.directory.with_name(f"{command}-{first.run_id}"), traces, problem, bounds)
    if not quiet:
        console.out.print("figure", *files, soft_wrap=True)


def _page(runs: Mapping[str, Run], bounds: Mapping[str, Bounds], failures: Mapping[str, RunFailed]) -> Path:
    """Write the page of a comparison next to its figure; the arguments are by label."""
    from amsgrad_exp.report.page import write
    from amsgrad_exp.report.run_page import page

    first = next(iter(runs.values()))
    path = first.directory.with_name(f"compare-{first.run_id}.html")
    known = {runs[label].run_id: those for label, those in bounds.items()}
    missing = [f"{label} is missing because it failed: {failure}" for label, failure in failures.items()]
    write(page(list(runs.values()), known, missing), path)
    return path


def bounds_of(runs: Mapping[str, Run], watch: Onlooker, *, quiet: bool) -> dict[str, Bounds]:
    """The bounds of the runs by label; prints why a run has no bound or a theorem does not apply to it.

    Raises NoBound if no run has a bound, RunFailed if a bound is not finite, and typer.Exit if the user asks to stop.
    """
    from amsgrad_exp import api
    from amsgrad_exp.output import console

    watch.exits = True
    known: dict[str, Bounds] = {}
    unbounded = refuse_unbounded({label: run.trial for label, run in runs.items()})
    for label, run in runs.items():
        if label in unbounded:
            if not quiet:
                console.note(f"{label}: {unbounded[label]}")
            continue
        known[label] = api.bound(run, watch)
        if known[label].reason and not quiet:
            console.note(f"{label}: no published bound: {known[label].reason}")
    return known


def refuse_unbounded(trials: Mapping[str, Trial]) -> dict[str, NoBound]:
    """The reasons why trials have no bound, by label; the first is raised if no trial has one."""
    from amsgrad_exp.bounds import refuse

    reasons: dict[str, NoBound] = {}
    for label, trial in trials.items():
        try:
            refuse(trial)
        except NoBound as reason:
            reasons[label] = reason
    if trials and len(reasons) == len(trials):
        raise next(iter(reasons.values()))
    return reasons


def report(
    runs: Mapping[str, Run], watch: Onlooker, bounds: Mapping[str, Bounds] | None = None, *, as_json: bool, quiet: bool
) -> None:
    """Print the results; exit if a run was interrupted."""
    from amsgrad_exp.output import console

    interrupted = [run for run in runs.values() if run.summary.status == "interrupted"]
    completed = _completed(runs)
    if as_json and not interrupted:
        described = [
            ({} if label == run.summary.optimizer else {"label": label})
            | run.document()
            | ({"bound": bounds[label].document()} if bounds and label in bounds else {})
            for label, run in completed.items()
        ]
        sys.stdout.write(json.dumps({"schema": 1, "runs": described}, indent=2, allow_nan=False) + "\n")
    elif completed and not (quiet or as_json):
        if len(runs) > 1:
            console.comparison(completed)
        else:
            for label, run in completed.items():
                console.run_table(run, label)
        if bounds:
            console.bounds_table(bounds)
    for run in interrupted:
        if run.summary.unsaved is None:
            console.note(f"interrupted: continue with amsgrad-exp resume {shlex.quote(str(run.directory))}")
        else:
            console.note(f"interrupted: {run.directory} cannot be resumed")
    if watch.signal:
        raise typer.Exit(128 + watch.signal)
