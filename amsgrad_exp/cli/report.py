"""The report command, and the pages that other commands write next to their results."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated

import typer

from amsgrad_exp.cli.options import Bound, places, require_writable
from amsgrad_exp.cli.runs import bounds_of
from amsgrad_exp.cli.signals import watching


def report(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECORD...",
            help="Runs, or one sweep, gauntlet or attack: a directory, an id or the beginning of an id. "
            "Default: 'last', the newest record of any kind.",
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", help="File to write, or a directory for it; a directory that ends in / is created.")
    ] = "report.html",
    bound: Bound = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write an HTML page, in a single file, about runs, a sweep, a gauntlet or an attack."""
    from amsgrad_exp.output import console
    from amsgrad_exp.records.files import find
    from amsgrad_exp.report.page import write
    from amsgrad_exp.report.page_of import page_of

    path = _place(out)
    with watching(quiet=False) as watch:
        known = functools.partial(bounds_of, watch=watch, quiet=False) if bound else None
        records = dict.fromkeys(find(reference, places()) for reference in references or ["last"])
        page = page_of(list(records), known)
    path.parent.mkdir(exist_ok=True)
    write(page, path.resolve())
    console.out.print("report", path, soft_wrap=True)
    if open_it:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            console.note(f"no browser was found to open {path}")


def _place(out: str) -> Path:
    """The file to which a page is written.

    Raises:
        ConfigError: no file can be written there.
    """
    named, is_directory = Path(out), out.endswith(os.sep)
    path = named / "report.html" if is_directory or named.is_dir() else named
    require_writable("--out", named if is_directory and not named.exists() else path)
    return path


def page_beside(kind: str, directory: Path) -> Path:
    """Write the page of a record of this kind into its directory and return its path."""
    from amsgrad_exp.records.files import Record
    from amsgrad_exp.report.page import write
    from amsgrad_exp.report.page_of import page_of

    path = directory / "report.html"
    write(page_of([Record(kind, directory)]), path)
    return path
