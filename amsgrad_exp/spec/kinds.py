"""A sweep or a gauntlet from its YAML: a grid makes one, problems the other."""

from __future__ import annotations

from pathlib import Path

from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.grid import load_sweep, read_grid
from amsgrad_exp.spec.read import read_yaml


def read_cells(path: Path) -> Cells:
    """What a file describes, not checked: nothing that it names is imported.

    Raises:
        ConfigError: it has the form of neither.
    """
    data = read_yaml(path)
    return Gauntlet(data).complete() if "problems" in data else read_grid(path)


def load_cells(path: Path) -> Cells:
    """What a file describes, completed and checked.

    Raises:
        ConfigError: there can be no such thing.
    """
    data = read_yaml(path)
    return Gauntlet.of(**data) if "problems" in data else load_sweep(path)
