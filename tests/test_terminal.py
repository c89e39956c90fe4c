"""What a terminal shows while something runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest


def on_a_terminal(arguments: list[str], tmp_path: Path, columns: int = 80, shown_after: float = 0.0) -> str:
    """Everything a command writes to a terminal of so many columns, with a bar after so many seconds of a run."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    program = (
        f"from amsgrad_exp import cli\nfrom amsgrad_exp.output import progress\n"
        f"progress.RUN_SHOWN_AFTER = {shown_after}\ncli.main()\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=child, stderr=child, env=env)
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0, seen
    os.close(parent)
    return seen.decode()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_progress_shows_on_a_terminal(columns: int, tmp_path: Path) -> None:
    (tmp_path / "labelled.yaml").write_text("problem: stochastic\noptimizers: [{name: adam, label: 'mine [/b]'}]\n")
    seen = on_a_terminal("run --config labelled.yaml --steps 2e6".split(), tmp_path, columns)
    bar, table = seen.split("optimizer", 1)
    assert "mine [/b]" in table
    assert "mine" in bar
    assert columns == 40 or ("mine [/b]" in bar and "steps/s" in bar and "R(T)/T" in bar)


def test_a_short_run_shows_no_progress(tmp_path: Path) -> None:
    assert "steps/s" not in on_a_terminal(["run", "--steps", "1000"], tmp_path, shown_after=60)


def test_a_sweep_shows_its_progress_from_the_start(tmp_path: Path) -> None:
    seen = on_a_terminal("sweep --grid lr=0.1,0.2 --steps 1000 --no-figure".split(), tmp_path)
    assert "0/4 cells" in seen
