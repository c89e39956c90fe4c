"""Measures the updates of an imported optimizer at a fixed iterate, with its compiled program if it has one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines import config_errors
from amsgrad_exp.engines.fixed import CompiledFixedIterates, FixedIterates, Floats, Slopes
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.torch_step import raised, way_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.optimizers.importing import Drive
from amsgrad_exp.rules.settings import OptimizerSettings

TRIED = 24  # steps that are taken twice


def _updates(drive: Drive, optimizer: Optimizer, param: torch.nn.Parameter, slopes: Slopes) -> Iterator[float]:
    """Take one step after the other and yield x_t − x_{t+1}; the iterate is reset after every step."""
    held = param.detach().clone()
    for step, slope in enumerate(itertools.cycle(map(float, slopes))):

        def loss(slope: float = slope) -> torch.Tensor:
            return (slope * param).sum()

        try:
            drive.step(optimizer, [param], loss)
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
            raise RunFailed(raised(error, step)) from error
        with torch.no_grad():
            update = float(held.sum() - param.sum())
            param.copy_(held)
        yield update


class LiteralFixedIterates(FixedIterates):
    """Runs of an imported optimizer, one at a time, by its own steps; the arguments are as in `compiled_fixed`."""

    steps_at_once = 16

    def __init__(self, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats) -> None:
        way, each = way_of(settings, "float64"), zip(sequences, held.tolist(), strict=True)
        self._runs = [_updates(way.drive, *way.new(x), slopes) for slopes, x in each]

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
        sums = np.zeros((2, len(self._runs)))
        for number, run in enumerate(self._runs):
            updates = np.array(list(itertools.islice(run, stop - self.step)))
            counted = updates[max(0, begin[number] - self.step) : max(0, end[number] - self.step)]
            sums[:, number] = counted.sum(), np.abs(counted).sum()
        if not np.isfinite(sums).all(axis=0).any():
            raise RunFailed(f"x became infinite or NaN by step {stop - 1} on every problem")
        self.step = stop
        return sums


def recorded_fixed(
    program: Program, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats
) -> FixedIterates:
    """Make runs of an imported optimizer that has a float64 program; the optimizer itself takes the first steps."""
    known, states, carry = dict[tuple[float, ...], list[float]](), [], [0.0] * len(program.carry)
    way, begin = way_of(settings, "float64"), program.begin
    for slopes, x in zip(sequences, held.tolist(), strict=True):
        first = x, *itertools.islice(itertools.cycle(slopes), begin)
        if first not in known:
            optimizer, param = way.new(x)
            for _ in itertools.islice(_updates(way.drive, optimizer, param, slopes), begin):
                pass
            try:
                (_, *known[first]), carry = program.read(optimizer, param)
            except KeyError:  # something that the program treats as constant has changed
                known[first] = [math.nan] * len(program.rule.state)
        states.append(known[first])
    hyper = [settings.lr, *program.constants]
    state, guarded = np.array(states).T, program.guarded
    return CompiledFixedIterates(program.in_batches, hyper, carry, state, sequences, held, step=begin, guarded=guarded)


def require_deterministic(settings: OptimizerSettings) -> None:
    """Take a few steps of an imported optimizer twice, and require equal results.

    Raises:
        ConfigError: the optimizer cannot be built, takes no step, or its results differ.
        RunFailed: the optimizer raised an exception, or x was never finite.
    """
    steps = np.full(1, TRIED)
    with config_errors():
        twice = (LiteralFixedIterates(settings, [(3, -1, -1)], np.ones(1)) for _ in range(2))
        one, other = (each.advance(TRIED, 0 * steps, steps) for each in twice)
    if not np.array_equal(one, other):
        raise ConfigError(
            f"optimizer {settings.name} is not deterministic: it is random, or keeps something outside its own state"
        )
