"""The gauntlet command."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amsgrad_exp.cli import sweeps
from amsgrad_exp.cli.options import SWEEPS, Dask, Export, Jobs, Json, NoFigure, Out, Quiet
from amsgrad_exp.cli.report import Report
from amsgrad_exp.cli.signals import optimizers_print_to_stderr
from amsgrad_exp.errors import NotAsExpected
from amsgrad_exp.verdict import Verdict

if TYPE_CHECKING:
    from amsgrad_exp.spec.gauntlet import Gauntlet
    from amsgrad_exp.sweeps.matrix import Matrix


def gauntlet(
    optimizer: Annotated[
        list[str] | None,
        typer.Option(help="Name, as amsgrad or amsgrad:dialect=paper, or import path; repeatable. Default: all."),
    ] = None,
    problem: Annotated[list[str] | None, typer.Option(help="Problem; repeatable. Default: all.")] = None,
    schedule: Annotated[
        list[str] | None, typer.Option(help="Schedule; repeatable. Default: constant and inv-sqrt.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option(help="stated (with the problem) or defaults (of the optimizer). Default: both.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Gauntlet in YAML; options override it.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="N", help="Steps per cell, such as 10_000_000 or 1e7.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Seeds per cell of a random problem.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, compiled or torch.")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PROBLEM:WHERE",
            help="Exit with status 3 unless all cells of this optimizer and problem settle there; "
            f"WHERE is {', '.join(Verdict)}. Repeatable.",
        ),
    ] = None,
    jobs: Jobs = None,
    dask: Dask = None,
    export: Export = None,
    no_figure: NoFigure = False,
    page: Report = False,
    out: Out = SWEEPS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run optimizers on all problems and show where each converges, next to what its paper claims."""
    from amsgrad_exp import api
    from amsgrad_exp.output import console
    from amsgrad_exp.spec.gauntlet import load_gauntlet
    from amsgrad_exp.sweeps.matrix import verdicts
    from amsgrad_exp.sweeps.workers import workers

    lists = {"optimizers": optimizer, "problems": problem, "schedules": schedule, "settings": settings}
    shared = {"steps": steps, "seeds": seeds, "dtype": dtype, "engine": engine}
    with optimizers_print_to_stderr():
        loaded = load_gauntlet(config, **{key: given or None for key, given in lists.items()}, **shared)
        shared_between = loaded.shared_between()
    expected = _expectations(expect or [], loaded)
    with workers(jobs, dask) as executor:
        compute = functools.partial(api.sweep, loaded, out, executor)
        swept = sweeps.complete(compute, export, figure=not no_figure, page=page, quiet=quiet or as_json)
    with swept.results() as results:
        matrix = verdicts(loaded, results)
    if as_json:
        sys.stdout.write(json.dumps(matrix.document(shared_between), indent=2, allow_nan=False) + "\n")
    for label, between in shared_between.items():
        if between and not quiet:
            console.note(f"{label}: {console.SHARED[between]}")
    wrong = _unmet(expected, matrix)
    for message in wrong:
        console.error(message)
    if wrong:
        raise typer.Exit(NotAsExpected.status)
    sweeps.refuse_failures(swept)


def _expectations(assignments: Sequence[str], loaded: Gauntlet) -> dict[tuple[str, str], str]:
    """Where each optimizer is expected to settle on a problem."""
    from amsgrad_exp.spec.explain import nearest

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


def _unmet(expected: dict[tuple[str, str], str], matrix: Matrix) -> list[str]:
    """A line for each cell that did not settle where expected."""
    return [
        f"{optimizer} on {problem}, {schedule}, {settings}: expected {where}, "
        + (f"but it failed: {cell.row['failure']}" if cell.row["failure"] else f"got {cell.row['iterate']}")
        for (optimizer, problem, schedule, settings), cell in matrix.cells.items()
        if (where := expected.get((optimizer, problem))) and cell.row["iterate"] != where
    ]
