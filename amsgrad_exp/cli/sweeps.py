"""sweep and boundary."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from amsgrad_exp.spec.grid import Sweep
    from amsgrad_exp.sweeps.store import Results
from amsgrad_exp.cli.options import (
    Dask,
    Export,
    Jobs,
    Out,
    Quiet,
    with_experiment_options,
)
from amsgrad_exp.cli.signals import interruptible


@with_experiment_options()
def sweep(
    experiment: dict[str, Any],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="An axis: a setting or a constant, as start:stop:count, log:…, log1m:… or a list; repeatable.",
        ),
    ] = None,
    optimizer: Annotated[list[str] | None, typer.Option(help="A name, see 'list optimizers'; repeatable.")] = None,
    jobs: Jobs = None,
    dask: Dask = None,
    export: Export = None,
    no_figure: Annotated[bool, typer.Option("--no-figure", help="Write no figure.")] = False,
    out: Out = Path("sweeps"),
    quiet: Quiet = False,
) -> None:
    """Run an experiment over a grid of settings, and draw where the iterates settle."""
    from amsgrad_exp.spec.grid import load_sweep
    from amsgrad_exp.sweeps.run import make_directory
    from amsgrad_exp.sweeps.workers import workers

    loaded = load_sweep(**experiment, grid=grid or [], optimizers=optimizer or [])
    with workers(jobs or -1, dask):
        complete(make_directory(loaded, out), export, figure=not no_figure, quiet=quiet)


@with_experiment_options("config", "problem", "set_", "beta1", "eps")
def boundary(
    experiment: dict[str, Any],
    optimizer: Annotated[str, typer.Option(help="A name, see 'list optimizers'.")] = "adam",
) -> None:
    """Print the β2 at which an optimizer's iterates turn from one end of the interval to the other."""
    from amsgrad_exp.errors import ConfigError, NoSteadyState
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.read import load_experiment
    from amsgrad_exp.theory import LARGEST_BETA2, critical_beta2, destination, drift

    loaded = load_experiment(**experiment, optimizers=[optimizer])
    (settings,) = loaded.optimizers
    beta1, eps = settings.beta1 or 0.0, settings.eps or 0.0
    try:
        critical = critical_beta2(loaded.problem, optimizer, beta1, eps)
        edges = [0.0, *critical, LARGEST_BETA2]
        middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        ends = [
            str(destination(loaded.problem, drift(loaded.problem, optimizer, beta1, beta2, eps))) for beta2 in middles
        ]
    except NoSteadyState as error:
        raise ConfigError(str(error)) from error
    console.boundary(loaded.problem.name, optimizer, beta1, edges, ends)


def complete(directory: Path, export: str | None, *, figure: bool, quiet: bool) -> None:
    """Compute what a sweep lacks; say, draw and track what came out."""
    from amsgrad_exp.output import console, progress
    from amsgrad_exp.records.tracking import Tracker
    from amsgrad_exp.sweeps.run import read_sweep, run_sweep
    from amsgrad_exp.sweeps.store import open_results

    loaded = read_sweep(directory)
    with interruptible() as interruption, progress.cell_progress(shown=not quiet) as update:
        complete = run_sweep(directory, on_cells=update, should_stop=interruption)
    if not complete:
        console.note(f"interrupted: go on with amsgrad-exp resume {shlex.quote(str(directory))}")
        raise typer.Exit(128 + interruption.signal)
    with open_results(directory, loaded) as results:
        counts = results.counts()
        if not quiet:
            console.sweep_table(loaded, results, counts)
        if export:
            results.export_csv(directory / "results.csv")
        files = _draw(loaded, results, directory) if figure else []
    tracker = Tracker(
        directory.parent.parent,
        directory.parent.name,
        ", ".join(loaded.optimizers),
        {**loaded.data, "grid": dict(loaded.grid)},
        run_id=directory.name,
    )
    tracker.save_values({f"{name}.{where}": number for name, by in counts.items() for where, number in by.items()})
    trouble = tracker.close("completed")
    if trouble:
        console.note(trouble)
    if not quiet:
        for path in (directory / "results.sqlite", *([directory / "results.csv"] if export else []), *files):
            console.out.print(path, soft_wrap=True)


def _draw(loaded: Sweep, results: Results, directory: Path) -> list[Path]:
    """The picture of a sweep with one or two axes; none with more."""
    from amsgrad_exp.output.figures import Panel, phase_diagram, profile
    from amsgrad_exp.sweeps.plane import boundary

    mean_x, iterate, regret = (results.column(name) for name in ("mean_x", "iterate", "regret"))
    if len(loaded.axes) == 1:
        ((name, values),) = loaded.axes.items()
        columns = {it: {"regret": regret[i], "mean_x": mean_x[i]} for i, it in enumerate(loaded.optimizers)}
        return profile(directory / "profile", name, values, columns)
    if len(loaded.axes) == 2:
        panels = [Panel(it, mean_x[i], iterate[i], boundary(loaded, it)) for i, it in enumerate(loaded.optimizers)]
        problem = loaded.trial(0).problem
        return phase_diagram(directory / "phase", loaded.axes, panels, problem.low, problem.high)
    return []
