"""Registers the commands and turns their errors into exit statuses."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from amsgrad_exp.cli import attack_and_identify, report, resume_and_show, runs, sweeps
from amsgrad_exp.errors import Refusal
from amsgrad_exp.process import ensure_home

app = typer.Typer(
    help="Test whether optimizers converge where they provably should, on the problems of Reddi, Kale and Kumar (2018) "
    "and others.",
    epilog="Exit status: 0 success, 1 failure, 2 invalid input, 3 --expect not met, 4 verify found a difference, "
    "130 or 143 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": runs.run,
    "compare": runs.compare,
    "sweep": sweeps.sweep,
    "gauntlet": sweeps.gauntlet,
    "attack": attack_and_identify.attack,
    "identify": attack_and_identify.identify,
    "probes": attack_and_identify.probes,
    "boundary": sweeps.boundary,
    "resume": resume_and_show.resume,
    "verify": resume_and_show.verify,
    "show": resume_and_show.show,
    "plot": resume_and_show.plot,
    "report": report.report,
    "list": resume_and_show.list_,
}


class _Command(typer.core.TyperCommand):
    """A command that rejects an option that is given twice, or an empty value, instead of ignoring one.

    Its help shows no type for options that take no value.
    """

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        for option in self.params:
            if isinstance(option, typer.core.TyperOption) and option.is_flag:
                option.metavar = ""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in (param for param in self.params if isinstance(param, typer.core.TyperOption)):
            name = option.opts[0]
            if order.count(option) > 1 and not (option.multiple or option.is_flag):
                raise typer.BadParameter(f"{name} is given {order.count(option)} times")
            values = given.get(option.name)
            if "" in (values if isinstance(values, list) else [values]):
                raise typer.BadParameter(f"{name} needs a value, not ''")
        return super().parse_args(ctx, args)


for name, command in COMMANDS.items():
    app.command(name, cls=_Command)(command)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        import importlib.metadata

        typer.echo(f"amsgrad-exp {importlib.metadata.version('amsgrad-exp')}")
        raise typer.Exit


def run() -> int:
    """Run the command line and return its exit status; every error is printed as one line on stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the process started
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open until the process ends
        getattr(sys, name).reconfigure(errors="replace")
    ensure_home()
    with contextlib.suppress(OSError):
        sys.path.append(str(Path.cwd()))  # for the user's own optimizers
    try:
        status: int = app(standalone_mode=False)
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
    return status


def _fail(message: str, status: int) -> int:
    from amsgrad_exp.output import console

    console.error(message)
    return status
