"""The identify and probes commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from amsgrad_exp.cli.options import Json, Optimizer, Quiet, with_experiment_options
from amsgrad_exp.cli.signals import optimizers_print_to_stderr
from amsgrad_exp.errors import NotAsExpected

Rule = "NAME[:OPTION=VALUE,…]"
COLOURS = {"matches": "green", "departs": "yellow"}


@with_experiment_options("lr", "beta1", "beta2", "eps", "option")
def identify(
    experiment: dict[str, Any],
    optimizer: Optimizer = None,
    iterates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead of an optimizer: a file of 'probes' in which you filled in the x of your own."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar=Rule, help="Compare with this rule only; with options, with this form only."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(metavar=Rule, help="Exit with status 3 unless the optimizer follows this rule.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find out which published rule an optimizer follows, and where it differs from the rule."""
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
        raise NotAsExpected(f"{found.optimizer}: expected to match {expect}, but departs from it: {expected.departs}")


@with_experiment_options("lr", "beta1", "beta2", "eps", "option")
def probes(
    experiment: dict[str, Any],
    optimizer: Annotated[
        str | None, typer.Option(help="Fill in the x of this optimizer, to test another implementation with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write. Default: standard output.")
    ] = None,
) -> None:
    """Write the inputs with which 'identify' tests an optimizer as CSV: gradients, settings and starting points.

    Run your own implementation on them, fill in its x, and pass the file to 'identify --iterates'.
    """
    from amsgrad_exp.identification.answer import probes_of
    from amsgrad_exp.records.files import write_atomically

    with optimizers_print_to_stderr():
        text = probes_of(optimizer, experiment["settings"], experiment["options"])
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
