"""The commands that test an optimizer: attack, identify and probes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from amsgrad_exp.cli import options
from amsgrad_exp.cli.report import page_beside
from amsgrad_exp.cli.signals import optimizers_print_to_stderr, watching
from amsgrad_exp.errors import NotAsExpected

SURVIVES = "survives"
Rule = "NAME[:OPTION=VALUE,…]"
COLOURS = {"matches": "green", "departs": "yellow"}


def _survives(expect: str | None) -> str | None:
    if expect not in (None, SURVIVES):
        raise typer.BadParameter(f"must be {SURVIVES!r}, not {expect!r}")
    return expect


@options.with_experiment_options("lr", "beta1", "beta2", "eps", "option", "shape")
def attack(
    experiment: dict[str, Any],
    optimizer: Annotated[str, typer.Option(metavar="NAME", help=f"Optimizer: {options.LISTED}.")],
    seconds: Annotated[
        float | None,
        options.number_option(
            "Stop searching after this many seconds. Default: when all problems have been tried.", 0.1
        ),
    ] = None,
    problems: Annotated[
        int | None,
        options.number_option(
            "Try N problems, the same N each time. Default: a fixed set (docs/attack.md).", 1, whole=True
        ),
    ] = None,
    max_period: Annotated[
        int, options.number_option("Longest period of a problem, in steps.", 2, 100_000, whole=True)
    ] = 4096,
    seed: Annotated[int, options.number_option("Seed of the random problems.", 0, whole=True)] = 0,
    jobs: options.Jobs = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar=SURVIVES,
            callback=_survives,
            help="Exit with status 3 unless the search finished without any counterexample, even an unconfirmed one.",
        ),
    ] = None,
    no_figure: options.NoFigure = False,
    page: options.Report = False,
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Directory for the attacks.")] = options.ATTACKS,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Search for a problem on which an optimizer goes to the worst point.

    Problems are periodic linear losses on [−1, 1]. Omitted settings take the optimizer's own defaults.
    """
    from rich.text import Text

    from amsgrad_exp import api
    from amsgrad_exp.attacks.attack_record import FOLDER
    from amsgrad_exp.attacks.search import Limits
    from amsgrad_exp.charts.traces import counterexample
    from amsgrad_exp.output import console, words

    limits = Limits(seconds, problems, max_period, seed)
    settings = {name: experiment[name] for name in ("settings", "options")}
    with watching(quiet=quiet) as watch, optimizers_print_to_stderr():
        result = api.attack(optimizer, out=out, limits=limits, jobs=jobs, watch=watch, **settings)
    files = [] if no_figure else counterexample(result.directory / FOLDER, result)
    pages = [page_beside("attack", result.directory)] if page else []
    if as_json:
        sys.stdout.write(json.dumps(result.document(), indent=2, allow_nan=False) + "\n")
    elif not quiet:
        colour = {"fails": "red", "survives": "green"}.get(result.outcome, "yellow")
        facts = {name: Text(words, colour if name == "verdict" else "") for name, words in result.facts().items()}
        tied = {"shared": Text(words.SHARED[result.shared_between], "yellow")} if result.shared_between else {}
        console.facts({"optimizer": Text(optimizer), **facts, **tied})
        if result.counterexample:
            config = shlex.quote(result.counterexample.config)
            console.out.print("repeat amsgrad-exp run --config", config, soft_wrap=True)
        else:
            console.out.print("stored in", result.directory, soft_wrap=True)
        for name, paths in (("figure", files), ("report", pages)):
            if paths:
                console.out.print(name, *paths, soft_wrap=True)
    if watch.signal:
        console.note(f"interrupted: the results so far are in {result.directory}")
        raise typer.Exit(128 + watch.signal)
    if expect and (why := result.why_not_surviving()):
        raise NotAsExpected(f"{optimizer}: expected to survive, but {why}")


@options.with_experiment_options("lr", "beta1", "beta2", "eps", "option")
def identify(
    experiment: dict[str, Any],
    optimizer: options.Optimizer = None,
    iterates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of 'probes' in which your own iterates are filled in; instead of --optimizer."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar=Rule, help="Compare with this rule only, or with one form of it: adam:dialect=paper."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(metavar=Rule, help="Exit with status 3 unless the optimizer follows this rule.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find out which published rule an optimizer follows, and where it departs from it.

    The optimizer may also be an optax function, such as optax.adam. Omitted settings are those of the probes.
    """
    from rich.text import Text

    from amsgrad_exp import api
    from amsgrad_exp.output import console

    chosen = {name: experiment[name] for name in ("settings", "options")}
    with optimizers_print_to_stderr():
        found = api.identify(optimizer, iterates=iterates, like=like, **chosen)
        expected = found
        if expect not in (None, like):
            expected = api.identify(optimizer, iterates=iterates, like=expect, **chosen)
    if as_json:
        sys.stdout.write(json.dumps(found.document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif not quiet:
        console.facts({name: Text(words, COLOURS.get(name, "")) for name, words in found.facts().items()})
    if expect and not expected.matches:
        why = f"it matches {found.facts()['matches']}" if found.matches else f"it departs from it: {expected.departs}"
        raise NotAsExpected(f"{found.optimizer}: expected to match {expect}, but {why}")


@options.with_experiment_options("lr", "beta1", "beta2", "eps", "option")
def probes(
    experiment: dict[str, Any],
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Fill in this optimizer's iterates, as test vectors for another implementation."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write. Default: standard output.")
    ] = None,
) -> None:
    """Write as CSV the inputs with which 'identify' tests an optimizer: gradients, settings and starting points.

    Run your own implementation on them, fill in its iterates, and pass the file to 'identify --iterates'.
    """
    from amsgrad_exp.identification.answer import probes_of
    from amsgrad_exp.records.files import write_atomically

    if out is not None:
        options.require_writable("--out", out)
    with optimizers_print_to_stderr():
        text = probes_of(optimizer, experiment["settings"], experiment["options"])
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
