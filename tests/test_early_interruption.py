"""Ctrl-C before a command has begun: real processes, real signals, and never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# What comes before the first of them is Python's own start, which nobody can mind.
MOMENTS = ["the first", "typer", "amsgrad_exp.cli.options", "numpy", "pydantic", "amsgrad_exp.engines"]


@pytest.mark.parametrize("module", MOMENTS)
@pytest.mark.parametrize("entry", ["module", "console script"])
def test_ctrl_c_while_modules_are_imported_is_status_130_and_silent(module: str, entry: str, tmp_path: Path) -> None:
    """Python says on stderr what it imports, as soon as it has: that is when the signal is sent."""
    script = ["-m", "amsgrad_exp"] if entry == "module" else ["-c", "from amsgrad_exp.cli import main; main()"]
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *script, "run", "--problem", "stochastic", "--steps", "1e9"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    imported: list[str] = []
    while "amsgrad_exp.cli" not in imported[:-1] or module not in ("the first", imported[-1]):
        line = process.stderr.readline()
        assert line.startswith("import time:"), (imported, line)
        imported.append(line.split("|")[-1].strip())
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert [line for line in stderr.splitlines() if not line.startswith("import time:")] == []
    assert list(tmp_path.iterdir()) == []
