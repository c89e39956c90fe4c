"""Measures the updates of an imported optimizer at a fixed iterate, with its compiled program if it has one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from amsgrad_exp.engines.fixed import CompiledFixedIterates, FixedIterates, Floats, Slopes
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.torch_step import raised
from amsgrad_exp.engines.torch_trial import way_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.rules.settings import OptimizerSettings

TRIED = 24  # steps that are taken twice


class _Run:
    """One optimizer whose iterate is reset after every step."""

    def __init__(self, settings: OptimizerSettings, slopes: Slopes, held: float) -> None:
        self._way, self._slopes = way_of(settings, "float64"), slopes
        self.optimizer, self.param = self._way.new(held)
        self._held = self.param.detach().clone()

    def update(self, step: int) -> float:
        """Take a step and return x_t − x_{t+1}."""
        slope = float(self._slopes[step % len(self._slopes)])
        try:
            self._way.drive.step(self.optimizer, [self.param], lambda: (slope * self.param).sum())
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
            raise RunFailed(raised(error, step)) from error
        with torch.no_grad():
            update = float(self._held.sum() - self.param.sum())
            self.param.copy_(self._held)
        return update


class LiteralFixedIterates(FixedIterates):
    """Runs of an imported optimizer, one at a time, by its own steps; the arguments are as in `compiled_fixed`."""

    steps_at_once = 16

    def __init__(self, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats) -> None:
        self._runs = [_Run(settings, *each) for each in zip(sequences, held.tolist(), strict=True)]

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
        sums = np.zeros((2, len(self._runs)))
        for number, run in enumerate(self._runs):
            updates = np.array([run.update(t) for t in range(self.step, stop)])
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
    for slopes, x in zip(sequences, held.tolist(), strict=True):
        first = x, *(float(slopes[t % len(slopes)]) for t in range(program.begin))
        if first not in known:
            run = _Run(settings, slopes, x)
            for t in range(program.begin):
                run.update(t)
            try:
                (_, *known[first]), carry = program.read(run.optimizer, run.param)
            except KeyError:  # something that the program treats as constant has changed
                known[first] = [math.nan] * len(program.rule.state)
        states.append(known[first])
    hyper = [settings.lr, *program.constants]
    begin, guarded = program.begin, program.guarded
    return CompiledFixedIterates(
        program.in_batches, hyper, carry, np.array(states).T, sequences, held, step=begin, guarded=guarded
    )


def require_deterministic(settings: OptimizerSettings) -> None:
    """Take a few steps of an imported optimizer twice, and require equal results.

    Raises:
        ConfigError: the optimizer cannot be built, takes no step, or its results differ.
        RunFailed: the optimizer raised an exception, or x was never finite.
    """
    steps = np.full(1, TRIED)
    try:
        twice = (LiteralFixedIterates(settings, [(3, -1, -1)], np.ones(1)) for _ in range(2))
        one, other = (each.advance(TRIED, 0 * steps, steps) for each in twice)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if not np.array_equal(one, other):
        raise ConfigError(
            f"optimizer {settings.name} is not deterministic: it is random, or keeps something outside its own state"
        )
