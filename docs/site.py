"""Build ``docs/site/``, pages of experiments with an index, for any static host: ``make site``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

from amsgrad_exp.report.page import Page, write

HERE = Path(__file__).parent
SITE = HERE / "site"
CONFIGS = HERE.parent / "configs"
COMPARISONS = ("online", "online-decay", "stochastic", "theorem1", "adopt-toy-k50", "adashift-online")
SWEEPS = ("phase-online", "phase-theorem1", "lr-online")
ATTACKED = ("adam", "rmsprop", "amsgrad")


def main() -> None:
    """Run the commands and collect their pages."""
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir()
    sections = {
        "Comparisons": [made(name, "compare", "--config", str(CONFIGS / f"{name}.yaml")) for name in COMPARISONS],
        "Planes of settings": [made(name, "sweep", "--config", str(CONFIGS / f"{name}.yaml")) for name in SWEEPS],
        "The gauntlet": [made("gauntlet", "gauntlet")],
        "Attacks": [made(f"attack-{name}", "attack", "--optimizer", name) for name in ATTACKED],
    }
    lead = "Does an optimizer converge where it provably should? Pages that amsgrad-exp wrote about its experiments."
    content = {"sections": sections}
    write(Page("index.html", "amsgrad-exp", lead, (), {}, content), SITE / "index.html")


def made(name: str, *command: str) -> dict[str, str]:
    """Run a command with ``--report``, store its page under this name, and return its entry in the index."""
    with tempfile.TemporaryDirectory() as out:
        arguments = [*command, "--report", "--no-figure", "--quiet", "--out", out]
        subprocess.run([sys.executable, "-m", "amsgrad_exp", *arguments], check=True)
        (page,) = Path(out).rglob("*.html")
        html = page.read_text()
        (SITE / f"{name}.html").write_text(html)
    title, lead = (unescape(re.findall(tag, html)[0]) for tag in (r"<h1>(.*?)</h1>", r'<p class="lead">(.*?)</p>'))
    return {"href": f"{name}.html", "name": name, "title": title, "lead": lead}


main()
