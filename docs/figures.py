"""Draw the README's figures: ``make figures``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PICTURES = {
    **{name: ["compare", name] for name in ("online", "online-decay", "stochastic")},
    "bound-online-decay": ["compare", "online-decay", "--bound"],
    **{name: ["sweep", name] for name in ("phase-online", "phase-theorem1", "lr-online")},
}
"""The command, the configuration and further options of each figure."""


def main() -> None:
    """Run each shipped configuration with its command and store its figure next to this file."""
    for picture, (command, name, *options) in PICTURES.items():
        with tempfile.TemporaryDirectory() as out:
            config = HERE.parent / "configs" / f"{name}.yaml"
            arguments = [command, "--config", str(config), "--out", out, "--quiet", *options]
            subprocess.run([sys.executable, "-m", "amsgrad_exp", *arguments], check=True)
            (drawn,) = Path(out, name).rglob("*.png")
            (HERE / f"{picture}.png").write_bytes(drawn.read_bytes())


main()
