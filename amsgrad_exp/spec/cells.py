"""What a sweep and a gauntlet have in common: numbered cells, each of them a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.spec.experiment import Trial


class Cells(Protocol):
    """Trials that are computed in blocks, and kept a row each."""

    @property
    def name(self) -> str:
        """Of the experiment, and of the folder its rows go to."""

    @property
    def optimizers(self) -> tuple[str, ...]:
        """What its optimizers are called."""

    @property
    def columns(self) -> Mapping[str, str]:
        """What tells the cells of an optimizer apart, and the SQL type of each."""

    @property
    def averaged(self) -> bool:
        """Whether a cell may be a mean over seeds, and so has halfwidths."""

    def together(self, trial: Trial) -> bool:
        """Whether a cell of the torch engine is advanced with others where it can be, and then not fast-forwarded."""

    @property
    def keeps_points(self) -> bool:
        """Whether some points of each cell are kept beside its row, for its curve."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What is run, for labml to keep."""

    @property
    def shape(self) -> tuple[int, ...]:
        """In how many ways each of optimizer and columns varies; cells are numbered in C order."""

    def __len__(self) -> int: ...

    def values(self, cell: int) -> tuple[str, Mapping[str, Any]]:
        """The optimizer of a cell, and its value in each column."""

    def trial(self, cell: int) -> Trial:
        """The trial of one cell.

        Raises:
            ConfigError: there can be no such trial.
        """

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The cells still to do, in blocks that are worth computing together."""

    def to_yaml(self) -> str:
        """As YAML that `load_cells` reads back."""
