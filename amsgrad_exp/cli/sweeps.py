"""The sweep, gauntlet and boundary commands."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsgrad_exp.cli import options
from amsgrad_exp.cli.report import page_beside
from amsgrad_exp.cli.signals import optimizers_print_to_stderr, watching
from amsgrad_exp.errors import ConfigError, NotAsExpected, RunFailed, nearest
from amsgrad_exp.verdict import Verdict

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from amsgrad_exp.spec.gauntlet import Gauntlet
    from amsgrad_exp.sweeps.sweeping import Swept
    from amsgrad_exp.watch import Watch


@options.with_experiment_options()
def sweep(
    experiment: dict[str, Any],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="A setting, a numeric option of the optimizer or a constant of the problem, and its values: A,B,… or "
            "START:STOP:COUNT, evenly spaced; log:START:STOP:COUNT is even in the logarithm, and "
            "log1m:START:STOP:COUNT in the logarithm of 1 − value. Repeatable.",
        ),
    ] = None,
    optimizer: options.Optimizers = None,
    jobs: options.Jobs = None,
    dask: options.Dask = None,
    export: options.Export = None,
    no_figure: options.NoFigure = False,
    page: options.Report = False,
    out: options.Out = options.SWEEPS,
    quiet: options.Quiet = False,
) -> None:
    """Run an experiment for every combination of given settings and draw where the iterates settle.

    Default: Adam and AMSGrad. Each combination is a cell. Sweeps over one or two settings are drawn.

    Omitted settings are those stated with the problem, else lr 0.01, beta1 0.9, beta2 0.99, eps 1e-16.
    """
    from amsgrad_exp import api
    from amsgrad_exp.spec.sweep import load_sweep

    loaded = load_sweep(**experiment, grid=grid or [], optimizers=optimizer or [])
    compute = functools.partial(api.sweep, loaded, out)
    refuse_failures(complete(compute, jobs, dask, export, figure=not no_figure, page=page, quiet=quiet))


def gauntlet(
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Optimizer: a name, also with options as in amsgrad:dialect=paper, or an import path; repeatable. "
            "Default: all of 'list optimizers'.",
        ),
    ] = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Problem; repeatable. Default: all of 'list problems' except cycle."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="How the step size changes over time; repeatable. Default: constant and inv-sqrt."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="stated|defaults",
            help="stated (stated with the problem) or defaults (the optimizer's own); repeatable. Default: both.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Gauntlet in YAML; other options override it.")] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="N", help="Steps per cell, such as 50_000 or 1e6. Default: 10_000_000.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N", help="Average over N seeds of a random problem. Default: 32.")
    ] = None,
    dtype: options.Dtype = None,
    engine: options.Engine = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PROBLEM:WHERE",
            help="Exit with status 3 unless the iterates of this optimizer on this problem settle at WHERE in "
            f"every cell: {options.WHERE}. Repeatable.",
        ),
    ] = None,
    jobs: options.Jobs = None,
    dask: options.Dask = None,
    export: options.Export = None,
    no_figure: options.NoFigure = False,
    page: options.Report = False,
    out: options.Out = options.SWEEPS,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run many optimizers on all problems and compare the results with what their papers claim.

    A cell is one optimizer on one problem, with one schedule and one choice of settings.
    """
    from amsgrad_exp import api, engines
    from amsgrad_exp.output import console
    from amsgrad_exp.output.words import SHARED
    from amsgrad_exp.spec.gauntlet import Gauntlet
    from amsgrad_exp.spec.read import read_yaml
    from amsgrad_exp.sweeps.against_theory import verdicts

    lists = {"optimizers": optimizer, "problems": problem, "schedules": schedule, "settings": settings}
    given = lists | {"steps": steps, "seeds": seeds, "dtype": dtype, "engine": engine}
    with optimizers_print_to_stderr():
        in_file = read_yaml(config) if config else {}
        loaded = Gauntlet.of(**in_file | {key: value for key, value in given.items() if value})
        between_all = {name: engines.shared_between(loaded.example_of(name)) for name in loaded.optimizers}
    expected = _expectations(expect or [], loaded)
    compute = functools.partial(api.sweep, loaded, out)
    swept = complete(compute, jobs, dask, export, figure=not no_figure, page=page, quiet=quiet or as_json)
    with swept.results() as results:
        matrix = verdicts(loaded, results)
    if as_json:
        sys.stdout.write(json.dumps(matrix.document(between_all), indent=2, allow_nan=False) + "\n")
    for label, between in between_all.items():
        if between and not quiet:
            console.note(f"{label}: {SHARED[between]}")
    wrong = [
        f"{name} on {problem}, {schedule}, {settings}: expected {where}, "
        + (f"but it failed: {cell.row['failure']}" if cell.row["failure"] else f"got {cell.row['iterate']}")
        for (name, problem, schedule, settings), cell in matrix.cells.items()
        if (where := expected.get((name, problem))) and cell.row["iterate"] != where
    ]
    for message in wrong:
        console.error(message)
    if wrong:
        raise typer.Exit(NotAsExpected.status)
    refuse_failures(swept)


def _expectations(assignments: Sequence[str], loaded: Gauntlet) -> dict[tuple[str, str], str]:
    expected: dict[tuple[str, str], str] = {}
    for assignment in assignments:
        name, _, what = assignment.rpartition("=")
        problem, _, where = what.partition(":")
        if where not in list(Verdict) or not name:
            raise typer.BadParameter(
                f"--expect takes NAME=PROBLEM:WHERE with WHERE one of {', '.join(Verdict)}, not {assignment!r}"
            )
        for kind, said, known in (("optimizer", name, loaded.optimizers), ("problem", problem, loaded.problems)):
            if said not in known:
                raise typer.BadParameter(
                    f"--expect {assignment}: no {kind} {said!r} in this gauntlet, {nearest(said, known)}"
                )
        if expected.setdefault((name, problem), where) != where:
            raise typer.BadParameter(f"--expect {name}={problem} is given twice")
    return expected


def complete(
    compute: Callable[[Executor, Watch], Swept],
    jobs: int | None,
    dask: str | None,
    export: str | None,
    *,
    figure: bool,
    quiet: bool,
    page: bool = False,
) -> Swept:
    """Compute a sweep or a gauntlet, or its missing cells; print, export and draw the results, and write the page."""
    from amsgrad_exp.output import console
    from amsgrad_exp.output.sweep_tables import draw, show
    from amsgrad_exp.sweeps.workers import workers

    # Workers are waited for before Ctrl-C is watched for, so that it ends the wait at once.
    with workers(jobs, dask) as executor, watching(quiet=quiet) as watch, optimizers_print_to_stderr():
        swept = compute(executor, watch)
    if not swept.complete:
        console.note(f"interrupted: continue with amsgrad-exp resume {shlex.quote(str(swept.directory))}")
        raise typer.Exit(128 + watch.signal)
    files = [swept.directory / "results.sqlite"]
    with swept.results() as results:
        if not quiet:
            show(swept, results)
            for optimizer, (failed, cells, reason) in results.failures().items():
                console.note(f"{optimizer}: {failed:,} of {cells:,} cells failed, the first because {reason}")
        if export:
            files.append(swept.directory / "results.csv")
            results.export_csv(files[-1])
    if figure:
        files += draw(swept)
    if page:
        files.append(page_beside("sweep", swept.directory))
    for path in files if not quiet else ():
        console.out.print(path, soft_wrap=True)
    return swept


def refuse_failures(swept: Swept) -> None:
    """Raise RunFailed if every cell of an optimizer failed."""
    with swept.results() as results:
        for optimizer, (failed, cells, reason) in results.failures().items():
            if failed == cells:
                raise RunFailed(f"{optimizer}: every cell failed, the first because {reason}")


@options.with_experiment_options("config", "problem", "set_", "beta1", "eps", "option")
def boundary(
    experiment: dict[str, Any],
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="Optimizer: a name from 'list optimizers'.")] = "adam",
) -> None:
    """Compute for which values of β2 an optimizer goes to the optimum, and for which to the worst point.

    Nothing is run: theory gives the result for small constant step sizes, on periodic problems with an interval.
    """
    from amsgrad_exp.output import console
    from amsgrad_exp.rules import OPTIMIZERS
    from amsgrad_exp.spec.read import load_experiment
    from amsgrad_exp.theory import regions

    loaded = load_experiment(**experiment, optimizers=[optimizer])
    (settings,) = loaded.optimizers
    if settings.name not in OPTIMIZERS:
        raise ConfigError(f"boundary is for optimizers of 'list optimizers', not for {settings.name}")
    beta1, eps = settings.beta1 or 0.0, settings.eps or 0.0
    known = regions(loaded.problem, settings.name, beta1, eps, settings.options)
    given = [f"{name} = {value}" for name, value in settings.options.items() if name in experiment["options"]]
    name = f"{settings.name} with {', '.join(given)}" if given else settings.name
    console.boundary(loaded.problem.name, name, beta1, known)
