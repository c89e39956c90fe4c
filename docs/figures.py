"""Draw the README's figures: ``make figures``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from amsgrad_exp.config import load_experiment
from amsgrad_exp.figures import regret_and_iterate
from amsgrad_exp.runs import record

HERE = Path(__file__).parent


def main() -> None:
    """Run each shipped comparison and draw it beside this file."""
    for name in ("online", "online-decay"):
        experiment = load_experiment(HERE.parent / "configs" / f"{name}.yaml")
        with tempfile.TemporaryDirectory() as folder:
            traces = {
                settings.name: record(experiment.only(settings.name), Path(folder)).trace
                for settings in experiment.optimizers
            }
        _, svg = regret_and_iterate(HERE / name, traces, experiment.problem)
        svg.unlink()


main()
