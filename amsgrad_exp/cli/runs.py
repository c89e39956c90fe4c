"""run and compare."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsgrad_exp.errors import NotAsExpected
from amsgrad_exp.verdict import Verdict

if TYPE_CHECKING:
    from amsgrad_exp.records.recorder import OnNote
    from amsgrad_exp.records.run import Run
    from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.cli.options import (
    Json,
    Out,
    Quiet,
    with_experiment_options,
)
from amsgrad_exp.cli.signals import Interruption, interruptible, optimizers_print_to_stderr


@with_experiment_options
def run(
    experiment: dict[str, Any],
    optimizer: Annotated[str | None, typer.Option(help="A name, see 'list optimizers', or an import path.")] = None,
    out: Out = Path("logs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run one optimizer on one problem and say whether it converges."""
    from amsgrad_exp.errors import ConfigError
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.labels import labels
    from amsgrad_exp.spec.read import load_experiment

    if optimizer is None and experiment["path"] is None:
        optimizer = "adam"
    with optimizers_print_to_stderr():
        loaded = load_experiment(**experiment, optimizers=[optimizer] if optimizer else [])
    trials = loaded.trials()
    if len(trials) > 1:
        names = ", ".join(labels(trials))
        raise ConfigError(f"{experiment['path']} lists {names}: pick one with --optimizer, or use compare")
    with interruptible() as interruption:
        recorded = _record(trials[0], out, interruption, console.note, quiet=quiet)
        report({recorded.summary.optimizer: recorded}, interruption, as_json=as_json, quiet=quiet)


@with_experiment_options
def compare(
    experiment: dict[str, Any],
    optimizer: Annotated[
        list[str] | None, typer.Option(help="A name, see 'list optimizers', or an import path; repeatable.")
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WHERE", help="Exit with 3 unless NAME settles at optimum, worst or between."),
    ] = None,
    no_figure: Annotated[bool, typer.Option("--no-figure", help="Write no figure.")] = False,
    out: Out = Path("logs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run several optimizers on one problem, side by side; Adam and AMSGrad by default."""
    from amsgrad_exp import engines
    from amsgrad_exp.errors import RunFailed
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.labels import labels
    from amsgrad_exp.spec.read import load_experiment

    with optimizers_print_to_stderr():
        loaded = load_experiment(**experiment, optimizers=optimizer or [])
        trials = dict(zip(labels(loaded.trials()), loaded.trials(), strict=True))
        for trial in trials.values():
            engines.build(trial)  # what cannot be built is refused before anything is run
    expected = _expectations(expect or [], list(trials))
    with interruptible() as interruption:
        runs, failed = {}, False
        note_once = functools.cache(console.note)  # a dead labml server is mentioned once, not by each run
        for label, trial in trials.items():
            if interruption.signal:
                console.note(f"not started: {label}")
                continue
            try:
                runs[label] = _record(trial, out, interruption, note_once, quiet=quiet)
            except RunFailed as failure:
                console.error(f"{label}: {failure}")
                failed = True
        report(runs, interruption, as_json=as_json, quiet=quiet)
    if runs and not no_figure:
        from amsgrad_exp.output.figures import regret_and_iterate

        traces = {label: run.trace for label, run in runs.items()}
        first = next(iter(runs.values()))
        path = first.directory.with_name(f"compare-{first.run_id}")
        files = regret_and_iterate(path, traces, loaded.problem)
        if not (quiet or as_json):
            console.out.print("figure", *files, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
    results = {label: it.summary.result for label, it in runs.items() if it.summary.result is not None}
    wrong = {label: it.iterate for label, it in results.items() if expected.get(label, it.iterate) != it.iterate}
    for label, iterate in wrong.items():
        console.error(f"{label}: expected {expected[label]}, came to {iterate}")
    if wrong:
        raise typer.Exit(NotAsExpected.status)


def _expectations(expect: list[str], names: list[str]) -> dict[str, str]:
    from amsgrad_exp.spec.explain import nearest

    expected = {}
    for assignment in expect:
        name, _, where = assignment.rpartition("=")
        if where not in list(Verdict):
            raise typer.BadParameter(f"--expect takes NAME=optimum, worst or between, not {assignment!r}")
        if name not in names:
            raise typer.BadParameter(f"--expect {assignment}: {name!r} is not compared, {nearest(name, names)}")
        if name in expected:
            raise typer.BadParameter(f"--expect {name} is given twice")
        expected[name] = where
    return expected


def _record(trial: Trial, out: Path, interruption: Interruption, on_note: OnNote, *, quiet: bool) -> Run:
    from amsgrad_exp.output import progress
    from amsgrad_exp.records.recorder import record

    with progress.progress(trial.optimizer.name, trial.steps, shown=not quiet) as update, optimizers_print_to_stderr():
        return record(trial, out, update, interruption, on_note)


def report(runs: dict[str, Run], interruption: Interruption, *, as_json: bool, quiet: bool) -> None:
    """Say what came out; exit where a run was interrupted."""
    from amsgrad_exp.output import console

    interrupted = [run for run in runs.values() if run.summary.status == "interrupted"]
    completed = {label: run for label, run in runs.items() if run.summary.status == "completed"}
    if as_json and not interrupted:
        document = {"schema": 1, "runs": [run.document() for run in completed.values()]}
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    elif completed and not (quiet or as_json):
        if len(runs) == 1:
            console.run_table(*runs.values())
        else:
            console.comparison(completed)
    for run in interrupted:
        console.note(f"interrupted: go on with amsgrad-exp resume {shlex.quote(str(run.directory))}")
    if interruption.signal:
        raise typer.Exit(128 + interruption.signal)
