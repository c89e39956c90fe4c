"""Describes a page and renders it as one HTML file."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amsgrad_exp.charts.panels import Plot
from amsgrad_exp.records.files import write_atomically

VEGA_LITE = "https://vega.github.io/schema/vega-lite/v6.json"  # by which the page's library knows it; not fetched
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # Unicode's explicit direction marks
LONGEST = 60  # characters of a name in a heading, a legend or a table


@dataclass(frozen=True)
class Page:
    """The content of a page."""

    template: str  # the name of a file in ``templates``
    title: str  # the heading
    lead: str  # a line below the heading
    plots: Sequence[Plot]
    tables: Mapping[str, str]  # CSV by name, for the plots and for download
    content: Mapping[str, Any] = field(default_factory=dict)  # the template's other variables


def write(page: Page, path: Path) -> None:
    """Write a page atomically."""
    write_atomically(path, render(page).encode())


def render(page: Page) -> str:
    """The page as HTML with its scripts, styles and data inline, and a policy that forbids fetching anything."""
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
        "plots": {
            plot.name: {"specification": {"$schema": VEGA_LITE, **plot.specification}, "columns": plot.columns}
            for plot in page.plots
        },
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
    """A name on one line, shortened if necessary, without marks that change the direction of the text after it."""
    line = " ".join("".join(mark for mark in text if unicodedata.bidirectional(mark) not in TURNING).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def number(value: object) -> str:
    """A value with all its digits; integers with thousands separators."""
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else str(value)
