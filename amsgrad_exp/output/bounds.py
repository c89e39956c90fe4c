"""Prints the regret bounds as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.output.console import out

FASTEST = 0.75  # a larger power of T is shown in red: 0.5, √T, plus the verdict's margin of 0.25


def bounds_table(bounds: Mapping[str, Bounds]) -> None:
    """Print each optimizer's bound on R(T)/T and its terms, with the powers of T at which the terms of R(T) grow."""
    out.print("bound on R(T)/T = end + distance + moves; ~T^p: the term times T grows like T^p")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("optimizer", overflow="fold")
    for title in ("bound", "end", "distance", "moves", "published"):
        table.add_column(title, justify="right")
    for label, known in bounds.items():
        steps, growth = int(known.trajectory.step[-1]) + 1, known.trajectory.growth()
        table.add_row(
            Text(label),
            f"{known.trajectory.total[-1] / steps:.4g}",
            *(_term(float(term[-1]) / steps, growth.get(name)) for name, term in known.trajectory.terms.items()),
            f"{known.published.total[-1] / steps:.4g}" if known.published else "–",
        )
    out.print(table)


def _term(average: float, growth: float | None) -> Text:
    """A term divided by T, and the growth of the term: red if it is of a higher order than √T."""
    if growth is None:
        return Text(f"{average:.2g}")
    return Text.assemble(f"{average:.2g} ", (f"~T^{growth:.2f}", "red" if growth > FASTEST else "green"))
