"""A page, and how it becomes one HTML file."""

from __future__ import annotations

import csv
import importlib
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amsgrad_exp.errors import RunError
from amsgrad_exp.records.files import write_atomically

NEEDED = ("altair", "contourpy", "jinja2", "vl_convert")  # of the extra "report"
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # Unicode's explicit marks of direction
LONGEST = 60  # characters of a name in a heading, a legend or a table


@dataclass(frozen=True)
class Plot:
    """A figure of the page.

    Attributes:
        name: of the figure, a word, unique on the page.
        title: above it.
        specification: Vega-Lite, whose data are named as the page's tables are.
        alternative: what it shows, in words.
        columns: how many of its panels stand side by side where there is room.
        legend: an entry for each line that can be hidden.
        zoomed: whether sliders zoom it.
    """

    name: str
    title: str
    specification: Mapping[str, Any]
    alternative: str
    columns: int
    legend: Sequence[Mapping[str, str]] = ()
    zoomed: bool = False


@dataclass(frozen=True)
class Page:
    """What a page says.

    Attributes:
        template: of `templates`, which the rest is for.
        title: its heading.
        lead: a line below the heading.
        plots: its figures.
        tables: CSV by name, of the plots and to be downloaded.
        content: what else the template shows.
    """

    template: str
    title: str
    lead: str
    plots: Sequence[Plot]
    tables: Mapping[str, str]
    content: Mapping[str, Any] = field(default_factory=dict)


def require() -> None:
    """Refuse early where what a page is made with is not installed.

    Raises:
        RunError: it is not; the message says what to install.
    """
    try:
        for module in NEEDED:
            importlib.import_module(module)
    except ImportError as error:
        raise RunError(f"a report needs {error.name}: pip install 'amsgrad-exp[report]'") from error


def write(page: Page, path: Path) -> None:
    """Write a page as a whole or not at all.

    Raises:
        RunError: what it is made with is not installed.
        OSError: it cannot be written.
    """
    require()
    write_atomically(path, render(page).encode())


def render(page: Page) -> str:
    """The page as HTML: scripts, styles and data inside, and a policy that forbids fetching anything."""
    import importlib.metadata

    import jinja2
    import vl_convert

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("amsgrad_exp.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "rounded": format}
    data = {
        "plots": {plot.name: {"specification": plot.specification, "columns": plot.columns} for plot in page.plots},
        "tables": page.tables,
    }
    return environment.get_template(page.template).render(
        page=page,
        plots={plot.name: plot for plot in page.plots},
        data=data,
        library=vl_convert.javascript_bundle(),  # type: ignore[call-arg]
        version=importlib.metadata.version("amsgrad-exp"),
        **page.content,
    )


def short(text: str, longest: int = LONGEST) -> str:
    """A name in one line, cut where it is too long for one, without marks that would turn the text after it around."""
    line = " ".join("".join(mark for mark in text if unicodedata.bidirectional(mark) not in TURNING).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def number(value: object) -> str:
    """A value in all of its digits; whole numbers with their thousands apart."""
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else str(value)


def as_csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and rows, numbers in digits that read back to the same bits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
