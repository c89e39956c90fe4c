"""The report command, and the pages that other commands write next to their results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amsgrad_exp.cli.options import Bound, places, require_writable
from amsgrad_exp.cli.runs import bounds_of
from amsgrad_exp.cli.signals import Onlooker, watching
from amsgrad_exp.errors import ConfigError

if TYPE_CHECKING:
    from amsgrad_exp.records.files import Record
    from amsgrad_exp.report.page import Page


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

    path = _place(out)
    with watching(quiet=False) as watch:
        records = dict.fromkeys(find(reference, places()) for reference in references or ["last"])
        page = _page_of(list(records), watch if bound else None)
    path.parent.mkdir(exist_ok=True)
    write(page, path.resolve())
    console.out.print("report", path, soft_wrap=True)
    if open_it:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            console.note(f"no browser was found to open {path}")


def _place(out: str) -> Path:
    """The file to which a page is written; a ConfigError if none can be written there."""
    named, is_directory = Path(out), out.endswith(os.sep)
    path = named / "report.html" if is_directory or named.is_dir() else named
    require_writable("--out", named if is_directory and not named.exists() else path)
    return path


def _page_of(records: Sequence[Record], bounded: Onlooker | None = None) -> Page:
    """The page of several runs, with their bounds if a watch is given, or of one sweep, gauntlet or attack."""
    from amsgrad_exp.records.run import read_run
    from amsgrad_exp.report import attack_page, cell_pages, run_page

    kind, directories = records[0].kind, [record.directory for record in records]
    if len(records) > 1 and {record.kind for record in records} != {"run"}:
        named = " and ".join(directory.name[:8] for directory in directories)
        raise ConfigError(f"a page shows runs, or one sweep, gauntlet or attack, not {named}")
    if kind == "run":
        runs = [read_run(directory) for directory in directories]
        by_id = {run.run_id: run for run in runs}
        return run_page.page(runs, bounds_of(by_id, bounded, quiet=False) if bounded else None)
    if bounded:
        raise ConfigError(f"--bound is for runs, and this is a{'n' * (kind == 'attack')} {kind}")
    return cell_pages.page(directories[0]) if kind == "sweep" else attack_page.page(directories[0])


def page_beside(kind: str, directory: Path) -> Path:
    """Write the page of a record of this kind into its directory and return its path."""
    from amsgrad_exp.records.files import Record
    from amsgrad_exp.report.page import write

    path = directory / "report.html"
    write(_page_of([Record(kind, directory)]), path)
    return path
