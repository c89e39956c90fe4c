"""Draw the README's figures: ``make figures``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMPARISONS = ("online", "online-decay", "stochastic")
SWEEPS = ("phase-online", "phase-theorem1", "lr-online")


def main() -> None:
    """Run each shipped configuration by its command and keep its picture beside this file."""
    with tempfile.TemporaryDirectory() as out:
        for command, names in (("compare", COMPARISONS), ("sweep", SWEEPS)):
            for name in names:
                config = HERE.parent / "configs" / f"{name}.yaml"
                arguments = [command, "--config", str(config), "--out", out, "--quiet"]
                subprocess.run([sys.executable, "-m", "amsgrad_exp", *arguments], check=True)
                (picture,) = (path for path in Path(out, name).rglob("*.png"))
                (HERE / f"{name}.png").write_bytes(picture.read_bytes())


main()
