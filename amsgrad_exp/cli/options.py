"""Defines the options that several commands share."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from amsgrad_exp.numbers import assigned

RUNS = Path("logs")
SWEEPS = Path("sweeps")
ATTACKS = Path("attacks")


def places(out: Path | None = None) -> dict[str, Path]:
    """The directory to search for each kind of record."""
    return {"run": out or RUNS, "sweep": out or SWEEPS, "attack": out or ATTACKS}


def _csv(export: str | None) -> str | None:
    if export not in (None, "csv"):
        raise typer.BadParameter(f"--export takes csv, not {export!r}")
    return export


def number_option(help_text: str, low: float = -math.inf, high: float = math.inf, *, whole: bool = False) -> Any:
    """An option that takes a number between ``low`` and ``high``, written as in YAML."""

    def read(given: Any) -> Any:
        from amsgrad_exp.numbers import number, whole_number

        try:
            read_as = number(given) if isinstance(given, str) else given
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        value: Any = whole_number(read_as) if whole else float(read_as)
        if whole and not isinstance(value, int):
            raise typer.BadParameter(f"a whole number is needed, not {given!r}")
        if not low <= value <= high:
            bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
            raise typer.BadParameter(f"it must be {bounds}, not {given}")
        return value

    return typer.Option(help=help_text, parser=read, metavar="N" if whole else "NUMBER")


Out = Annotated[Path, typer.Option("--out", help="Directory for the records.")]
OutOfKind = Annotated[Path | None, typer.Option("--out", help="Directory of the records. Default: logs or sweeps.")]
Reference = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's directory, its id or the beginning of the id, or 'last'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Jobs = Annotated[int | None, number_option("Number of threads. Default: one per core.", 1, 1024, whole=True)]
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Compute a sweep on this Dask scheduler.")]
Export = Annotated[
    str | None, typer.Option(metavar="csv", callback=_csv, help="Also write a sweep's rows to results.csv.")
]
NoFigure = Annotated[bool, typer.Option("--no-figure", help="Write no figure.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def experiment_options(
    config: Annotated[Path | None, typer.Option(help="Experiment in YAML; options override it.")] = None,
    problem: Annotated[str | None, typer.Option(help="Problem, see 'list problems'.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Constant of the problem; repeatable.")
    ] = None,
    steps: Annotated[str | None, typer.Option(metavar="N", help="Number of steps, such as 10_000_000 or 1e7.")] = None,
    lr: Annotated[float | None, number_option("Step size α.")] = None,
    beta1: Annotated[float | None, number_option("Decay rate of the first moment.")] = None,
    beta2: Annotated[float | None, number_option("Decay rate of the second moment.")] = None,
    eps: Annotated[float | None, number_option("ε, added to the root of the second moment.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An optimizer's own setting, such as n=10; repeatable."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="1|1x1", help="Shape of an imported optimizer's parameter. Default: whichever works."),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Step-size schedule, see 'list schedules'.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, compiled or torch.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16.")] = None,
    log_every: Annotated[str | None, typer.Option(metavar="N", help="Log a point every N steps.")] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Seed of a random problem.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Average over N seeds of a random problem.")] = None,
    no_fast_forward: Annotated[bool, typer.Option("--no-fast-forward", help="Simulate every step.")] = False,
) -> dict[str, Any]:
    """Turn the options that `run`, `compare` and `sweep` share into arguments of `load_experiment`."""
    settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "shape": shape}
    return {
        "path": config,
        "settings": {name: value for name, value in settings.items() if value is not None},
        "options": assigned(option or [], "--option"),
        "constants": assigned(set_ or [], "--set"),
        "problem": problem,
        "steps": steps,
        "schedule": schedule,
        "engine": engine,
        "dtype": dtype,
        "log_every": log_every,
        "seed": seed,
        "seeds": seeds,
        "fast_forward": False if no_fast_forward else None,
    }


def with_experiment_options(*only: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the shared options, or only the named ones, to a command.

    The command receives the result of `experiment_options` as its first argument. Typer sees the command's other
    parameters, followed by the shared ones.
    """
    known = inspect.signature(experiment_options, eval_str=True).parameters
    shared = [known[name] for name in only or known]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def run(**values: Any) -> None:
            chosen = {option.name: values.pop(option.name) for option in shared}
            command(experiment_options(**chosen), **values)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
