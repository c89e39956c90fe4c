"""Reads a sweep or a gauntlet from YAML: the key ``problems`` marks a gauntlet."""

from __future__ import annotations

from pathlib import Path

from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.grid import load_sweep, read_grid
from amsgrad_exp.spec.read import read_yaml


def read_cells(path: Path) -> Cells:
    """Read a sweep or a gauntlet without checking it, so that nothing that it names is imported.

    Raises:
        ConfigError: the file is malformed.
    """
    data = read_yaml(path)
    return Gauntlet(data).complete() if "problems" in data else read_grid(path)


def load_cells(path: Path) -> Cells:
    """Read, complete and check a sweep or a gauntlet.

    Raises:
        ConfigError: it is invalid.
    """
    data = read_yaml(path)
    return Gauntlet.of(**data) if "problems" in data else load_sweep(path)
