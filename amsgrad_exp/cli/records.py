"""The commands for recorded runs: resume, verify, show, plot and list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from amsgrad_exp.cli import sweeps
from amsgrad_exp.cli.bounds import Bound, bounds_of
from amsgrad_exp.cli.options import RUNS, SWEEPS, Dask, Export, Jobs, Json, Out, OutOfKind, Quiet, Reference
from amsgrad_exp.cli.runs import report
from amsgrad_exp.cli.signals import optimizers_print_to_stderr, watching
from amsgrad_exp.errors import NoSuchRun, NotVerified


def resume(
    reference: Reference,
    jobs: Jobs = None,
    dask: Dask = None,
    export: Export = None,
    out: OutOfKind = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Resume an interrupted run or sweep; the result is the same as without the interruption."""
    from amsgrad_exp.records import recorder
    from amsgrad_exp.records import run as runs
    from amsgrad_exp.spec.labels import labels

    if directory := sweeps.directory_of(reference, out):
        if as_json:
            raise typer.BadParameter("--json is for runs, and this is a sweep: use --export csv")
        sweeps.resume(directory, jobs, dask, export, quiet=quiet)
        return
    if jobs or dask or export:
        raise typer.BadParameter("--jobs, --dask and --export are for sweeps, and this is a run")
    run = runs.find_run(reference, out or RUNS)
    (label,) = labels([run.trial])
    with watching(quiet=quiet) as watch, optimizers_print_to_stderr():
        run = recorder.resume(run, watch)
    report({label: run}, watch, as_json=as_json, quiet=quiet)


def verify(
    reference: Reference,
    engine: Annotated[str | None, typer.Option(help="Engine for the new run: compiled or torch.")] = None,
    every_cell: Annotated[
        bool, typer.Option("--all", help="Compute all cells of a sweep again, not a sample.")
    ] = False,
    out: OutOfKind = None,
    quiet: Quiet = False,
) -> None:
    """Run a recorded experiment again and compare every logged point; exit with status 4 if one differs.

    For a sweep, check every row and compute a sample of the cells again.
    """
    from amsgrad_exp.errors import Damaged
    from amsgrad_exp.output import console
    from amsgrad_exp.records import run as runs
    from amsgrad_exp.records import verify as verifying

    if directory := sweeps.directory_of(reference, out):
        if engine:
            raise typer.BadParameter("--engine is for runs, and this is a sweep")
        sweeps.verify(directory, every_cell=every_cell, quiet=quiet)
        return
    if every_cell:
        raise typer.BadParameter("--all is for sweeps, and this is a run")
    try:
        run = runs.find_run(reference, out or RUNS)
        with watching(quiet=quiet) as watch, optimizers_print_to_stderr():
            watch.exits = True
            verification = verifying.verify(run, engine, watch)
    except Damaged as error:
        raise NotVerified(str(error)) from error
    if verification.first_step is not None:
        raise NotVerified(console.describe(verification))
    if not quiet:
        console.out.print(console.describe(verification), soft_wrap=True)


def _reject_sweeps(references: Sequence[str]) -> None:
    """Reject a sweep or a gauntlet, which `show` and `plot` cannot show.

    Raises:
        NoSuchRun: one of the references names one.
    """
    for reference in references:
        if sweeps.directory_of(reference, None):
            raise NoSuchRun(f"{reference} is a sweep, not a run: amsgrad-exp report {reference} shows it")


def show(reference: Reference, out: Out = Path("logs")) -> None:
    """Show the settings and the result of a run, and plot its average regret in the terminal."""
    from amsgrad_exp.output import console
    from amsgrad_exp.records import run as runs

    _reject_sweeps([reference])
    run = runs.find_run(reference, out)
    trace = run.trace
    console.run_table(run)
    console.out.print()
    console.out.print(run.trial.to_yaml().rstrip(), markup=False, style="dim")
    console.out.print()
    console.plot(trace)


def plot(
    references: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, as for show.")],
    figure: Annotated[Path, typer.Option(help="The figure's path, without suffix.")] = Path("figure"),
    bound: Bound = False,
    out: Out = Path("logs"),
) -> None:
    """Draw recorded runs in one figure, as PNG and SVG."""
    from amsgrad_exp.charts.traces import regret_and_iterate
    from amsgrad_exp.errors import ConfigError
    from amsgrad_exp.output import console
    from amsgrad_exp.output.bounds import bounds_table
    from amsgrad_exp.records import run as runs
    from amsgrad_exp.spec.labels import labels

    _reject_sweeps(references)
    if not figure.name:
        raise typer.BadParameter(f"--figure takes a file's name, not {str(figure)!r}")
    figure = figure.with_suffix("") if figure.suffix.lower() in (".png", ".svg") else figure
    drawn = list({run.directory: run for run in (runs.find_run(reference, out) for reference in references)}.values())
    problems = [run.trial.problem for run in drawn]
    if len({(problem.optimum, problem.interval) for problem in problems}) > 1:
        raise ConfigError("these runs have problems with different optima or intervals: draw them separately")
    try:
        names = labels([run.trial for run in drawn], [run.run_id[:8] for run in drawn])
    except ValueError as error:
        raise ConfigError(f"these runs cannot be distinguished: {error}") from error
    traces = {name: run.trace for name, run in zip(names, drawn, strict=True)}
    for label, trace in traces.items():
        if not len(trace):
            raise ConfigError(f"{label} has no logged points yet: there is nothing to draw")
    if not bound:
        console.out.print("figure", *regret_and_iterate(figure, traces, problems[0]), soft_wrap=True)
        return
    with watching(quiet=False) as watch:
        bounds = bounds_of(dict(zip(names, drawn, strict=True)), watch, quiet=False)
    bounds_table(bounds)
    console.out.print("figure", *regret_and_iterate(figure, traces, problems[0], bounds), soft_wrap=True)


KINDS = ("problems", "optimizers", "schedules", "runs", "sweeps")


def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS), autocompletion=lambda: KINDS)],
    out: OutOfKind = None,
) -> None:
    """List the available problems, optimizers or schedules, or the recorded runs or sweeps."""
    from amsgrad_exp.errors import nearest
    from amsgrad_exp.output import console
    from amsgrad_exp.output.catalogue import choices
    from amsgrad_exp.records import run as runs

    if kind not in KINDS:
        raise typer.BadParameter(f"there is no list of {kind!r}, {nearest(kind, KINDS)}")
    if kind == "sweeps":
        sweeps.list_sweeps(out or SWEEPS)
        return
    if kind == "runs":
        unreadable: list[str] = []
        if recorded := runs.list_runs(out or RUNS, unreadable.append):
            console.run_listing(recorded)
        for reason in unreadable or ([] if recorded else [f"no runs under {out or RUNS}"]):
            console.note(reason)
        return
    console.listing(*choices(kind))
