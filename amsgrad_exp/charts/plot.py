"""A chart and the tables of numbers that charts show."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Specification = dict[str, Any]


@dataclass(frozen=True)
class Plot:
    """A chart of panels, whose data are tables that are handed over with it.

    Attributes:
        name: a word, unique on a page.
        title: above it on a page.
        specification: Vega-Lite, whose data are named after the tables.
        alternative: what it shows, in words.
        columns: how many of its panels stand side by side where there is room.
        legend: an entry for each line: its ``number``, ``label``, ``colour`` and ``dashes``. A page hides and shows
            these lines.
        key: what the other marks mean, each with the properties of its line; for files only.
        zoomed: whether a page has sliders that zoom it.
    """

    name: str
    title: str
    specification: Mapping[str, Any]
    alternative: str
    columns: int
    legend: Sequence[Mapping[str, str]] = ()
    key: Sequence[tuple[str, Mapping[str, Any]]] = ()
    zoomed: bool = False


def as_csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and rows, numbers in digits that read back to the same bits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def named_data(name: str, numeric: Iterable[str]) -> Specification:
    """The data of a table, with the columns that are numbers."""
    return {"name": name, "format": {"type": "csv", "parse": dict.fromkeys(sorted(numeric), "number")}}


def inline_data(rows: Sequence[Mapping[str, Any]]) -> Specification:
    """Data that stand in the specification."""
    return {"values": list(rows)}
