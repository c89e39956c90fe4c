"""Bounds on the regret, as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.output.console import out

FASTEST = 0.75  # power of T of a term whose part of R(T)/T still vanishes: the verdict's, √T with a margin


def bounds_table(bounds: Mapping[str, Bounds]) -> None:
    """The bound on R(T)/T of each optimizer and its terms, with the power of T that those of R(T) grow like."""
    out.print("bound on R(T)/T = end + distance + moves, and how its terms times T grow")
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
    """A term's part of R(T)/T, and its growth: in red where it is of a higher order than √T."""
    if growth is None:
        return Text(f"{average:.2g}")
    return Text.assemble(f"{average:.2g} ", (f"~T^{growth:.2f}", "red" if growth > FASTEST else "green"))
