"""`HeldLanes` of imported optimizers: in a compiled loop, or, of those that have no program, literally one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.compiled_held import CompiledHeldLanes
from amsgrad_exp.engines.held import Floats, HeldLanes, Slopes
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.torch_step import raised
from amsgrad_exp.engines.torch_trial import drive_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.optimizers.importing import import_optimizer
from amsgrad_exp.rules import Rule, arguments_of
from amsgrad_exp.rules.settings import OptimizerSettings

TRIED = 24  # steps that are taken twice


class _Held:
    """One optimizer on one problem; after every step x is put back where it was."""

    def __init__(self, settings: OptimizerSettings, held: float) -> None:
        imported, arguments = import_optimizer(settings.name), arguments_of(settings)
        lr = settings.lr
        self._drive = drive_of(imported, lr=lr, arguments=arguments, dtype="float64", shape=settings.shape)
        self._held = torch.full(self._drive.shape, held, dtype=torch.float64)
        self.param = torch.nn.Parameter(self._held.clone())
        self.optimizer: Optimizer = imported.make(self._drive.arrange([[self.param]]), lr=lr, arguments=arguments)

    def move(self, slope: float, step: int) -> float:
        """x_t − x_{t+1}.

        Raises:
            RunFailed: the optimizer raised.
        """
        try:
            self._drive.step(self.optimizer, [self.param], lambda: (slope * self.param).sum())
        except (Exception, SystemExit) as error:  # somebody's optimizer may raise anything
            raise RunFailed(raised(error, step)) from error
        with torch.no_grad():
            move = float(self._held.sum() - self.param.sum())
            self.param.copy_(self._held)
        return move


class LiteralHeldLanes(HeldLanes):
    """`HeldLanes` of an imported optimizer, one run at a time.

    Args:
        settings: of the optimizer.
        sequences, held: as of `HeldLanes`.
    """

    def __init__(self, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats) -> None:
        super().__init__(sequences, held)
        self._sequences = sequences
        self._runs = [_Held(settings, each) for each in self._held.tolist()]

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[Floats, Floats]:
        sums = np.zeros((2, len(self)))
        for lane, moves in enumerate(self._moves(stop)):
            counted = moves[max(0, begin[lane] - self.step) : max(0, end[lane] - self.step)]
            sums[:, lane] = counted.sum(), np.abs(counted).sum()
        if not np.isfinite(sums).all(axis=0).any():
            raise RunFailed(f"x became infinite or NaN by step {stop - 1} on every problem")
        self.step = stop
        return sums[0], sums[1]

    def _moves(self, stop: int) -> Iterator[Floats]:
        for run, slopes in zip(self._runs, self._sequences, strict=True):
            yield np.array([run.move(float(slopes[t % len(slopes)]), t) for t in range(self.step, stop)])


class RecordedHeldLanes(CompiledHeldLanes):
    """`HeldLanes` of an imported optimizer that has a program; its first steps are taken literally.

    A run that comes to a step which the program does not know moves by NaN from there on.

    Args:
        program: of the optimizer in float64.
        settings, sequences, held: as of `CompiledHeldLanes`.
    """

    def __init__(
        self, program: Program, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats
    ) -> None:
        self._program = program
        super().__init__(settings, sequences, held)

    def _start(
        self, settings: OptimizerSettings, sequences: Sequence[Slopes]
    ) -> tuple[Rule, Sequence[float], Sequence[float], Floats]:
        program, known = self._program, dict[tuple[float, ...], list[float]]()
        states, carry = [], [0.0] * len(program.carry)
        for slopes, held in zip(sequences, self._held.tolist(), strict=True):
            first = tuple(float(slopes[t % len(slopes)]) for t in range(program.begin))
            if (held, *first) not in known:
                run = _Held(settings, held)
                for t, slope in enumerate(first):
                    run.move(slope, t)
                state, carry = program.read(run.optimizer, run.param)
                known[held, *first] = state[1:]
            states.append(known[held, *first])
        self.step = program.begin
        return program.in_batches, [settings.lr, *program.constants], carry, np.array(states).T

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[Floats, Floats]:
        if stop <= self.step:
            return np.zeros(len(self)), np.zeros(len(self))
        moved, travelled = super().advance(stop, begin, end)
        if self._program.guarded:
            lost = self._state[-2, : len(self)] == 0
            moved[lost] = travelled[lost] = np.nan
        return moved, travelled


def require_deterministic(settings: OptimizerSettings) -> None:
    """Take a few steps of an imported optimizer twice.

    Raises:
        ConfigError: it cannot be built, takes no step, or does not come to the same twice.
        RunFailed: the optimizer raised an exception, or x was never finite.
    """
    steps = np.full(1, TRIED)
    try:
        lanes = [LiteralHeldLanes(settings, [(3, -1, -1)], np.ones(1)) for _ in range(2)]
        one, other = (np.array(each.advance(TRIED, 0 * steps, steps)) for each in lanes)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if not np.array_equal(one, other):
        raise ConfigError(
            f"optimizer {settings.name} is not deterministic: it is random, or keeps something outside its own state"
        )
