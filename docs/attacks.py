"""Write the table of docs/attack.md: the smallest counterexample of every optimizer. ``make attacks``.

With names as arguments, their lines alone are made anew.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from amsgrad_exp.api import attack
from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.rules import OPTIMIZERS

PAGE = Path(__file__).parent / "attack.md"
BEGIN, END = "<!-- written by make attacks -->\n", "<!-- end -->\n"
HEAD = (
    "| optimizer | settings | smallest counterexample confirmed | R(T)/T, α/√t | limit of R(T)/T, constant α "
    "| tried | fails | unsettled |\n|---|---|---|---:|---:|---:|---:|---:|\n"
)


def line(result: Attack) -> str:
    """A row of the table."""
    defaults = OPTIMIZERS[result.optimizer].defaults
    at = ", ".join(f"{name} {value:g}" for name, value in defaults.items() if name != "lr") or "–"
    example = result.counterexample
    cells = ["none found", "", ""]
    if example is not None:
        words = example.words.rsplit(", x*", 1)[0]
        limit = "" if example.limit_regret is None else f"{example.limit_regret:.4g}"
        cells = [words, f"{example.regret:.3g}", limit] if example.confirmed else [f"not confirmed: {words}", "", ""]
    numbers = [f"{number:,}" for number in (result.problems, result.falls, result.unsettled)]
    return "| " + " | ".join([f"`{result.optimizer}`", at, *cells, *numbers]) + " |\n"


def main(names: list[str]) -> None:
    """Attack the optimizers and update their lines in the page one by one."""
    for name in names or OPTIMIZERS:
        with tempfile.TemporaryDirectory() as out:
            new = line(attack(name, out))
        before, table, after = re.split(f"{BEGIN}|{END}", PAGE.read_text())
        rows = {re.findall("`(.+?)`", row)[0]: row for row in table.splitlines(keepends=True) if row.startswith("| `")}
        rows[name] = new
        ordered = "".join(rows[name] for name in OPTIMIZERS if name in rows)
        PAGE.write_text(before + BEGIN + HEAD + ordered + END + after)


main(sys.argv[1:])
