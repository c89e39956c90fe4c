"""The command line: parse, call, print."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import json
import logging
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsgrad_exp.errors import Refusal
from amsgrad_exp.verdict import Verdict

if TYPE_CHECKING:
    from amsgrad_exp.records.recorder import Recorded
    from amsgrad_exp.spec.experiment import Trial
    from amsgrad_exp.spec.grid import Sweep
    from amsgrad_exp.sweeps.store import Results

app = typer.Typer(
    help="Does an optimizer converge where it provably should? The experiment of Reddi, Kale and Kumar (2018).",
    epilog="Exit status: 0 done, 1 failed, 2 wrong input, 3 not as expected, 4 not verified, 130 or 143 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INVALID, UNEXPECTED, NOT_VERIFIED = 2, 3, 4


def _csv(export: str | None) -> str | None:
    if export not in (None, "csv"):
        raise typer.BadParameter(f"--export takes csv, not {export!r}")
    return export


Out = Annotated[Path, typer.Option("--out", help="Where runs are kept.")]
Reference = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's directory, its id or the beginning of it, or 'last'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Threads of a sweep; all cores by default.")]
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Compute a sweep on this Dask scheduler.")]
Export = Annotated[
    str | None, typer.Option(metavar="csv", callback=_csv, help="Write a sweep's rows as results.csv, too.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def experiment_options(
    config: Annotated[Path | None, typer.Option(help="Experiment in YAML; options override it.")] = None,
    problem: Annotated[str | None, typer.Option(help="Problem, see 'list problems'.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Constant of the problem.")
    ] = None,
    steps: Annotated[str | None, typer.Option(metavar="N", help="Steps: 10_000_000 or 1e7.")] = None,
    lr: Annotated[float | None, typer.Option(help="Step size α.")] = None,
    beta1: Annotated[float | None, typer.Option(help="Decay rate of the first moment.")] = None,
    beta2: Annotated[float | None, typer.Option(help="Decay rate of the second moment.")] = None,
    eps: Annotated[float | None, typer.Option(help="Added to the root of the second moment.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Step-size schedule, see 'list schedules'.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, compiled or torch.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    log_every: Annotated[str | None, typer.Option(metavar="N", help="Log a point every N steps.")] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Seed of a random problem.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Mean over so many seeds of a random problem.")] = None,
    no_fast_forward: Annotated[bool, typer.Option("--no-fast-forward", help="Simulate every step.")] = False,
) -> dict[str, Any]:
    """The options that `run` and `compare` share, as arguments of `load_experiment`."""
    constants = {}
    for assignment in set_ or []:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"--set takes NAME=VALUE, not {assignment!r}")
        constants[name] = value
    settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
    return {
        "path": config,
        "settings": {name: value for name, value in settings.items() if value is not None},
        "constants": constants,
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


def with_experiment_options(command: Callable[..., None], only: Sequence[str] = ()) -> Callable[..., None]:
    """Add the shared options, or only some, to a command, which gets what they come to as ``experiment``."""
    known = inspect.signature(experiment_options, eval_str=True).parameters
    shared = {name: known[name] for name in only or known}
    own = {
        name: it for name, it in inspect.signature(command, eval_str=True).parameters.items() if name != "experiment"
    }

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in shared}
        command(experiment_options(**given), **values)

    parameters = [it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in (*own.values(), *shared.values())]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {it.name: it.annotation for it in parameters}
    return run


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        import importlib.metadata

        typer.echo(f"amsgrad-exp {importlib.metadata.version('amsgrad-exp')}")
        raise typer.Exit


@app.command()
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
        recorded = _record(trials[0], out, interruption, quiet=quiet)
        _report({recorded.run.summary.optimizer: recorded}, interruption, as_json=as_json, quiet=quiet)


@app.command()
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
        recorded, failed = {}, False
        for label, trial in trials.items():
            if interruption.signal:
                console.note(f"not started: {label}")
                continue
            try:
                recorded[label] = _record(trial, out, interruption, quiet=quiet)
            except RunFailed as failure:
                console.error(f"{label}: {failure}")
                failed = True
        _report(recorded, interruption, as_json=as_json, quiet=quiet)
    runs = {label: each.run for label, each in recorded.items()}
    if runs and not no_figure:
        from amsgrad_exp.output.figures import regret_and_iterate

        traces = {label: each.trace for label, each in recorded.items()}
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
        raise typer.Exit(UNEXPECTED)


@app.command()
@with_experiment_options
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
        _sweep(make_directory(loaded, out), export, figure=not no_figure, quiet=quiet)


@app.command()
@functools.partial(with_experiment_options, only=("config", "problem", "set_", "beta1", "eps"))
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


@app.command()
def resume(
    reference: Reference,
    jobs: Jobs = None,
    dask: Dask = None,
    export: Export = None,
    out: Out = Path("logs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted run or sweep, to the same result as if it had never been interrupted."""
    from amsgrad_exp.output import progress
    from amsgrad_exp.records import recorder
    from amsgrad_exp.records import run as runs

    directory = runs.find_directory(reference, out)
    if (directory / "sweep.yaml").is_file():
        from amsgrad_exp.sweeps.workers import workers

        if as_json:
            raise typer.BadParameter("--json is for runs, and this is a sweep: take --export csv")
        with workers(jobs or -1, dask):
            _sweep(directory, export, figure=True, quiet=quiet)
        return
    if jobs or dask or export:
        raise typer.BadParameter("--jobs, --dask and --export are for sweeps, and this is a run")
    found = runs.read_run(directory)
    with (
        interruptible() as interruption,
        progress.progress(found.summary.optimizer, found.summary.steps, shown=not quiet) as update,
        optimizers_print_to_stderr(),
    ):
        recorded = recorder.resume(found, update, interruption)
    _report({recorded.run.summary.optimizer: recorded}, interruption, as_json=as_json, quiet=quiet)


@app.command()
def verify(
    reference: Reference,
    engine: Annotated[str | None, typer.Option(help="Run it again on this engine: compiled or torch.")] = None,
    out: Out = Path("logs"),
    quiet: Quiet = False,
) -> None:
    """Run a recorded experiment again and compare every logged point; exit with 4 where they differ."""
    from amsgrad_exp.errors import Damaged
    from amsgrad_exp.output import console, progress
    from amsgrad_exp.records import run as runs
    from amsgrad_exp.records import verify as verifying

    try:
        found = runs.find_run(reference, out)
        with (
            progress.progress(f"verifying {found.summary.optimizer}", found.summary.steps, shown=not quiet) as update,
            optimizers_print_to_stderr(),
        ):
            verification = verifying.verify(found, engine, update)
    except Damaged as error:
        raise typer.Exit(_fail(str(error), NOT_VERIFIED)) from error
    if verification.first_step is not None:
        console.error(console.describe(verification))
        raise typer.Exit(NOT_VERIFIED)
    if not quiet:
        console.out.print(console.describe(verification), soft_wrap=True)


@app.command()
def show(reference: Reference, out: Out = Path("logs")) -> None:
    """Show one run: its settings, its result and its average regret as a plot in the terminal."""
    from amsgrad_exp.output import console
    from amsgrad_exp.records import run as runs

    found = runs.find_run(reference, out)
    trace = found.read_trace()
    console.run_table(found)
    console.out.print()
    console.out.print(found.trial.to_yaml().rstrip(), markup=False, style="dim")
    console.out.print()
    console.plot(trace)


@app.command()
def plot(
    references: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, as for show.")],
    figure: Annotated[Path, typer.Option(help="Where the figure goes, without its suffix.")] = Path("figure"),
    out: Out = Path("logs"),
) -> None:
    """Draw recorded runs as one figure, PNG and SVG."""
    from amsgrad_exp.errors import ConfigError
    from amsgrad_exp.output import console
    from amsgrad_exp.output.figures import regret_and_iterate
    from amsgrad_exp.records import run as runs

    if not figure.name:
        raise typer.BadParameter(f"--figure takes a file's name, not {str(figure)!r}")
    found = [runs.find_run(reference, out) for reference in references]
    problems = [it.trial.problem for it in found]
    if len({(problem.optimum, problem.low, problem.high) for problem in problems}) > 1:
        raise ConfigError("these runs are of problems with different optima or intervals: draw them apart")
    names = [it.summary.optimizer for it in found]
    labels = [
        name if names.count(name) == 1 else f"{name} {it.run_id[:8]}" for name, it in zip(names, found, strict=True)
    ]
    traces = {label: it.read_trace() for label, it in zip(labels, found, strict=True)}
    for label, trace in traces.items():
        if not len(trace):
            raise ConfigError(f"{label} has no logged points yet: there is nothing to draw")
    console.out.print("figure", *regret_and_iterate(figure, traces, found[0].trial.problem), soft_wrap=True)


KINDS = ("problems", "optimizers", "schedules", "runs")


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS), autocompletion=lambda: KINDS)],
    out: Out = Path("logs"),
) -> None:
    """List problems, optimizers, schedules or the runs that are there."""
    from amsgrad_exp.engines import OPTIMIZERS
    from amsgrad_exp.output import console
    from amsgrad_exp.problems import PROBLEMS
    from amsgrad_exp.records import run as runs
    from amsgrad_exp.rules import RULES
    from amsgrad_exp.schedules import SCHEDULES
    from amsgrad_exp.spec.explain import nearest

    if kind not in KINDS:
        raise typer.BadParameter(f"there is no list of {kind!r}, {nearest(kind, KINDS)}")
    if kind == "runs":
        found = runs.list_runs(out, console.note)
        if not found:
            console.note(f"no runs under {out}")
        else:
            console.run_listing(found)
        return
    if kind == "optimizers":
        entries = {
            name: f"{path} ({'compiled, torch' if name in RULES else 'torch'})" for name, path in OPTIMIZERS.items()
        }
        entries["import.path"] = "any torch.optim.Optimizer class, such as torch.optim.NAdam (torch)"
    else:
        registry = PROBLEMS if kind == "problems" else SCHEDULES
        entries = {name: (inspect.getdoc(it) or "").splitlines()[0] for name, it in registry.items()}
    console.listing(kind, entries)


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


def optimizers_print_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Keep what somebody's optimizer prints out of our own output."""
    return contextlib.redirect_stdout(sys.stderr)


class Interruption:
    """Whether, and by which signal, the user asked to stop."""

    signal: int = 0

    def __call__(self) -> bool:
        return bool(self.signal)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a request to stop; the second one ends the process at once."""
    interruption = Interruption()

    def request(number: int, frame: FrameType | None) -> None:
        interruption.signal = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, request) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _record(trial: Trial, out: Path, interruption: Interruption, *, quiet: bool) -> Recorded:
    from amsgrad_exp.output import progress
    from amsgrad_exp.records.recorder import record

    with progress.progress(trial.optimizer.name, trial.steps, shown=not quiet) as update, optimizers_print_to_stderr():
        return record(trial, out, update, interruption)


def _report(recorded: dict[str, Recorded], interruption: Interruption, *, as_json: bool, quiet: bool) -> None:
    """Say what came out and what went wrong on the way; exit where a run was interrupted."""
    from amsgrad_exp.output import console

    for trouble in dict.fromkeys(each.trouble for each in recorded.values() if each.trouble):
        console.note(trouble)
    runs = [each.run for each in recorded.values()]
    interrupted = [it for it in runs if it.summary.status == "interrupted"]
    completed = {label: it.run for label, it in recorded.items() if it.run.summary.status == "completed"}
    if as_json and not interrupted:
        document = {"schema": 1, "runs": [it.document() for it in completed.values()]}
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    elif completed and not (quiet or as_json):
        if len(runs) == 1:
            console.run_table(runs[0])
        else:
            console.comparison(completed)
    for it in interrupted:
        console.note(f"interrupted: go on with amsgrad-exp resume {shlex.quote(str(it.directory))}")
    if interruption.signal:
        raise typer.Exit(128 + interruption.signal)


def _sweep(directory: Path, export: str | None, *, figure: bool, quiet: bool) -> None:
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


def main() -> None:
    """Run the command line; every error is one line on stderr and a documented exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a home directory that cannot be written
    with contextlib.suppress(OSError):
        sys.path.append(str(Path.cwd()))  # where a user's own optimizer may be
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        status = _fail(error.format_message(), error.exit_code) if error.format_message() else error.exit_code
    except MemoryError as error:
        status = _fail(f"out of memory: {error}" if str(error) else "out of memory", 1)
    except (typer.Abort, KeyboardInterrupt):
        status = 128 + signal.SIGINT
    except OSError as error:
        status = _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 1)
    except Refusal as error:
        status = _fail(str(error), error.status)
    sys.exit(status)


def _fail(message: str, status: int) -> int:
    from amsgrad_exp.output import console

    console.error(message)
    return status
