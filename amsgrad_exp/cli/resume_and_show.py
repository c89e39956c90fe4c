"""The commands for recorded runs: resume, verify, show, plot and list."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amsgrad_exp.cli import options, sweeps
from amsgrad_exp.cli.runs import bounds_of, report
from amsgrad_exp.cli.signals import Onlooker, optimizers_print_to_stderr, watching
from amsgrad_exp.errors import Damaged, NotVerified

if TYPE_CHECKING:
    from amsgrad_exp.records.run import Run


def resume(
    reference: options.Reference,
    jobs: options.Jobs = None,
    dask: options.Dask = None,
    export: options.Export = None,
    out: options.Searched = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Continue an interrupted run, sweep or gauntlet; the result is the same as without the interruption.

    --jobs, --dask and --export are for sweeps and gauntlets, --json is for runs.
    """
    from amsgrad_exp.records import recorder
    from amsgrad_exp.records.files import find
    from amsgrad_exp.records.run import read_run
    from amsgrad_exp.spec.labels import labels

    record = find(reference, options.places(out), ("run", "sweep"))
    if record.kind == "sweep":
        if as_json:
            raise typer.BadParameter("--json is for runs, and this is a sweep: use --export csv")
        from amsgrad_exp.sweeps import sweeping

        compute = functools.partial(sweeping.resume, record.directory)
        sweeps.refuse_failures(sweeps.complete(compute, jobs, dask, export, figure=True, quiet=quiet))
        return
    if jobs or dask or export:
        raise typer.BadParameter("--jobs, --dask and --export are for sweeps, and this is a run")
    run = read_run(record.directory)
    (label,) = labels([run.trial])
    with watching(quiet=quiet) as watch, optimizers_print_to_stderr():
        run = recorder.resume(run, watch)
    report({label: run}, watch, as_json=as_json, quiet=quiet)


def verify(
    reference: options.Reference,
    engine: Annotated[
        str | None, typer.Option(help="Engine for a run: compiled or torch. Default: the one that was used.")
    ] = None,
    every_cell: Annotated[
        bool, typer.Option("--all", help="Compute all cells of a sweep or gauntlet again, not a sample.")
    ] = False,
    out: options.Searched = None,
    quiet: options.Quiet = False,
) -> None:
    """Compute a recorded run again and compare every logged point; exit with status 4 if one differs.

    For a sweep or gauntlet, check all stored rows and compute a sample of the cells again.
    """
    from amsgrad_exp.output import console, words
    from amsgrad_exp.output.progress import Bar
    from amsgrad_exp.records import verify_run
    from amsgrad_exp.records.files import find
    from amsgrad_exp.records.run import read_run

    record = find(reference, options.places(out), ("run", "sweep"))
    if record.kind == "sweep" and engine:
        raise typer.BadParameter("--engine is for runs, and this is a sweep")
    if record.kind == "run" and every_cell:
        raise typer.BadParameter("--all is for sweeps, and this is a run")
    try:
        if record.kind == "sweep":
            from amsgrad_exp.output import sweep_tables
            from amsgrad_exp.sweeps import sweeping
            from amsgrad_exp.sweeps.workers import workers

            with workers() as executor, Bar() as bar:  # Ctrl-C ends it at once
                watch = Onlooker(None if quiet else bar)
                cells = sweeping.verify(record.directory, executor, watch, every_cell=every_cell)
            said = sweep_tables.verified(cells)
        else:
            run = read_run(record.directory)
            with watching(quiet=quiet) as watch, optimizers_print_to_stderr():
                watch.exits = True
                points = verify_run.verify(run, engine, watch)
            said = words.verified(points)
            if points.first_step is not None:
                raise NotVerified(said)
    except Damaged as error:
        raise NotVerified(str(error)) from error
    if not quiet:
        console.out.print(said, soft_wrap=True)


NAMES = "A directory, an id (see 'list runs') or the beginning of an id, or 'last' for the newest run."
RunReference = Annotated[str, typer.Argument(metavar="RUN", help=NAMES)]


def _runs(references: Sequence[str], out: Path | None) -> list[Run]:
    from amsgrad_exp.records.files import find
    from amsgrad_exp.records.run import read_run

    found = dict.fromkeys(
        find(reference, options.places() | {"run": out or options.RUNS}, ["run"]) for reference in references
    )
    return [read_run(record.directory) for record in found]


def show(reference: RunReference, out: options.Searched = None) -> None:
    """Show the result and the settings of a run, and plot its average regret in the terminal."""
    from amsgrad_exp.output import console

    (run,) = _runs([reference], out)
    trace = run.trace
    console.run_table(run)
    console.out.print()
    console.out.print(run.trial.to_yaml().rstrip(), markup=False, style="dim")
    console.out.print()
    console.plot(trace)


def plot(
    references: Annotated[list[str], typer.Argument(metavar="RUN...", help=NAMES)],
    figure: Annotated[
        Path, typer.Option(help="Path of the figure without its extension; PNG and SVG are written.")
    ] = Path("figure"),
    bound: options.Bound = False,
    out: options.Searched = None,
) -> None:
    """Draw recorded runs in one figure, as PNG and SVG."""
    from amsgrad_exp.charts.traces import regret_and_iterate
    from amsgrad_exp.errors import ConfigError
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.labels import labels

    figure = figure.with_suffix("") if figure.suffix.lower() in (".png", ".svg") else figure
    options.require_writable("--figure", figure if not figure.name else figure.with_name(f"{figure.name}.png"))
    runs = _runs(references, out)
    problems = [run.trial.problem for run in runs]
    if len({(problem.optimum, problem.interval) for problem in problems}) > 1:
        raise ConfigError("these runs have problems with different optima or intervals: draw them separately")
    try:
        names = labels([run.trial for run in runs], [run.run_id[:8] for run in runs])
    except ValueError as error:
        raise ConfigError(f"these runs cannot be distinguished: {error}") from error
    labelled = dict(zip(names, runs, strict=True))
    for label, run in labelled.items():
        if not len(run.trace):
            raise ConfigError(f"{label} has no logged points yet: there is nothing to draw")
    bounds = {}
    if bound:
        with watching(quiet=False) as watch:
            bounds = bounds_of(labelled, watch, quiet=False)
        console.bounds_table(bounds)
    traces = {label: run.trace for label, run in labelled.items()}
    console.out.print("figure", *regret_and_iterate(figure, traces, problems[0], bounds), soft_wrap=True)


KINDS = ("problems", "optimizers", "schedules", "runs", "sweeps", "attacks")


def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS), autocompletion=lambda: KINDS)],
    out: options.Searched = None,
) -> None:
    """List what is available (problems, optimizers, schedules) or recorded (runs, sweeps and gauntlets, attacks)."""
    from amsgrad_exp.errors import nearest
    from amsgrad_exp.output import catalogue, console

    if kind not in KINDS:
        raise typer.BadParameter(f"there is no list of {kind!r}, {nearest(kind, KINDS)}")
    if (record := kind.removesuffix("s")) not in options.places():
        console.listing(*catalogue.choices(kind))
        return
    titles, rows, unreadable = catalogue.recorded(record, options.places(out)[record])
    if rows:
        console.record_listing(titles, rows)
    for reason in unreadable or ([] if rows else [f"no {kind} under {options.places(out)[record]}"]):
        console.note(reason)
