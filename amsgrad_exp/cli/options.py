"""Defines the options that several commands share."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.verdict import Verdict

RUNS = Path("logs")
SWEEPS = Path("sweeps")
ATTACKS = Path("attacks")


def places(out: Path | None = None) -> dict[str, Path]:
    """The directory to search for each kind of record."""
    return {"run": out or RUNS, "sweep": out or SWEEPS, "attack": out or ATTACKS}


def require_writable(option: str, path: Path) -> None:
    """Reject a file's path, given by an option, at which no file can be written."""
    if not path.name:
        raise ConfigError(f"{option} takes a file, not {str(path)!r}")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no directory {path.parent}")
    if path.exists() and not path.is_file():
        what = "a directory, not a file" if path.is_dir() else "neither a file nor a directory"
        raise ConfigError(f"{option} {path} is {what}")


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


LISTED = "a name from 'list optimizers', or an import path such as torch.optim.Adam"
WHERE = (
    f"{Verdict.OPTIMUM}, {Verdict.WORST} (the other end of the interval), {Verdict.BETWEEN}, or "
    f"{Verdict.AWAY} (farther from the optimum than at the start)"
)

Optimizer = Annotated[str | None, typer.Option(metavar="NAME", help=f"Optimizer: {LISTED}.")]
Optimizers = Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"Optimizer: {LISTED}; repeatable.")]
Out = Annotated[Path, typer.Option("--out", file_okay=False, help="Directory in which records are stored.")]
Searched = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Directory of the records: the --out of the command that wrote them. Default: that command's default.",
    ),
]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="RECORD",
        help="A directory, an id (see 'list runs' and 'list sweeps') or the beginning of an id, or 'last' for the "
        "newest run, sweep or gauntlet.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Jobs = Annotated[int | None, number_option("Number of threads. Default: one per core.", 1, 1024, whole=True)]
Dask = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Compute the cells on the workers of this Dask scheduler.")
]
Export = Annotated[
    str | None, typer.Option(metavar="csv", callback=_csv, help="Also write results.csv, with a row for each cell.")
]
NoFigure = Annotated[bool, typer.Option("--no-figure", help="Draw no figure.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Report = Annotated[bool, typer.Option("--report", help="Also write the results as an HTML page, in a single file.")]
Bound = Annotated[
    bool,
    typer.Option(
        "--bound",
        help="Also compute an upper bound on the regret from the run's own steps, and the growth of the bound's terms.",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE",
        help="compiled (fast), torch (a plain PyTorch loop), or auto (compiled if possible). Default: auto.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="DTYPE",
        help="Precision of the optimizer: float32 or float64; on the torch engine also bfloat16 or float16. "
        "Default: float32.",
    ),
]


def _text(help_text: str, metavar: str | None = None) -> Any:
    return Annotated[str | None, typer.Option(help=help_text, metavar=metavar)]


# The options that `run`, `compare` and `sweep` share; the default of each is None.
EXPERIMENT: dict[str, Any] = {
    "config": Annotated[Path | None, typer.Option(help="Experiment in YAML; other options override it.")],
    "problem": _text("Problem, see 'list problems'. Default: online.", "NAME"),
    "set_": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Constant of the problem, see 'list problems'; repeatable."),
    ],
    "steps": _text("Number of steps T, such as 50_000 or 1e6. Default: 10_000_000.", "N"),
    "lr": Annotated[float | None, number_option("Step size α.")],
    "beta1": Annotated[float | None, number_option("β1, the decay rate of the first moment.")],
    "beta2": Annotated[float | None, number_option("β2, the decay rate of the second moment.")],
    "eps": Annotated[float | None, number_option("ε, which is added to the root of the second moment.")],
    "option": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another setting of the optimizer, see 'list optimizers'; repeatable."),
    ],
    "shape": _text(
        "Shape of the parameter x that an imported optimizer updates: 1 is a vector and 1x1 a matrix, both with one "
        "number. Default: the first that works.",
        "1|1x1",
    ),
    "schedule": _text(
        "How the step size changes over time, see 'list schedules'. Default: the problem's own, else constant.",
        "NAME",
    ),
    "engine": Engine,
    "dtype": Dtype,
    "log_every": _text("Record x and the regret every N steps. Default: T / 10,000, at least 1.", "N"),
    "seed": _text("Seed of a random problem. Default: 0.", "N"),
    "seeds": _text("Average over N seeds of a random problem. Default: 1.", "N"),
    "no_fast_forward": Annotated[
        bool | None,
        typer.Option("--no-fast-forward", help="Simulate every step, even if the run repeats itself exactly."),
    ],
}


def experiment_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the values of some options of `EXPERIMENT` into arguments of `load_experiment`."""
    from amsgrad_exp.numbers import assigned

    settings = {name: given.get(name) for name in ("lr", "beta1", "beta2", "eps", "shape")}
    overrides = ("problem", "steps", "schedule", "engine", "dtype", "log_every", "seed", "seeds")
    return {
        "path": given.get("config"),
        "settings": {name: value for name, value in settings.items() if value is not None},
        "options": assigned(given.get("option") or [], "--option"),
        "constants": assigned(given.get("set_") or [], "--set"),
        **{name: given.get(name) for name in overrides},
        "fast_forward": False if given.get("no_fast_forward") else None,
    }


def with_experiment_options(*only: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the shared options, or only the named ones, to a command.

    The command receives the result of `experiment_options` as its first argument. Typer sees the command's other
    parameters, followed by the shared ones.
    """

    names = only or tuple(EXPERIMENT)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(experiment_options({name: values.pop(name) for name in names}), **values)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [parameter.replace(kind=kind) for parameter in own]
        parameters += [inspect.Parameter(name, kind, default=None, annotation=EXPERIMENT[name]) for name in names]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
