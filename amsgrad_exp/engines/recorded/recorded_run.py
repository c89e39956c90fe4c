"""Runs recorded optimizers with compiled code, alone, in batches or at fixed iterates.

A step that the optimizer itself takes is called literal. Compiled code is checked against literal steps, and a single
run has the same bits as the optimizer in torch. At fixed iterates, optimizers without a program are run literally.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines import config_errors
from amsgrad_exp.engines.batch import Driven, Numbers, OneByOne
from amsgrad_exp.engines.compiled import CompiledBatch
from amsgrad_exp.engines.fixed import CompiledFixedIterates, FixedIterates, Floats, Slopes
from amsgrad_exp.engines.loops import not_below
from amsgrad_exp.engines.recorded.kernels import same_bits
from amsgrad_exp.engines.recorded.paths import paths_of
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.recorded.recording import NotRecorded
from amsgrad_exp.engines.torch_run import NEVER, TorchRun
from amsgrad_exp.engines.torch_step import SMALLEST_SLOPE, raised, way_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.optimizers.importing import Drive
from amsgrad_exp.problems import LinearProblem
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

CHECKED = 4  # how many runs of a batch are compared with a literal step after each call of `advance`
CHECKS = 200  # random steps of a single run that are checked
AT_START, PATH_CHANGES = 8, 50  # further checks: at the start and at path changes; `advance` also ends with one
MORE_PATHS = 12  # recordings during a run; if more are needed, the rest of the run is literal
TRIED = 24  # steps that are taken twice to find out whether an optimizer is deterministic
BETWEEN = 64  # literal steps before a failed recording is tried again; this doubles each time


class RecordedBatch(CompiledBatch):
    """Runs of one program, or of programs that differ only in their constants.

    The runs in ``literal``, which start at step 0, take the first steps and check later ones. The batch then uses IEEE
    square roots instead of torch's, and results differ from torch's by rounding. Without ``literal``, it has torch's
    bits, and the caller must take the first steps and check later ones. If the program has guards, ``taken`` is the
    number of steps that each run took in the last call of `advance` before a step that the program does not know.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        programs: Sequence[Program],
        literal: Sequence[TorchRun] = (),
        *,
        stops: bool = False,
    ) -> None:
        self._programs = list(programs)
        self._lead = lead = programs[0]
        hypers = [[t.optimizer.lr, *p.constants] for t, p in zip(trials, programs, strict=True)]
        kept = "float64" if lead.wide else trials[0].dtype
        super().__init__(trials, (lead.in_batches if literal else lead.rule, hypers, kept), stops=stops)
        self._flushed = False
        if not literal and not isinstance(trials[0].problem, LinearProblem):
            self._slope = not_below(SMALLEST_SLOPE, self._slope)  # autograd rounds smaller gradients differently
        if lead.wide_coefficients:
            self._coefficient_dtype = np.dtype(np.float64)
        self._carry = np.zeros((len(lead.carry), self._constants.shape[1]))
        self.driven = Driven(program=lead.digest, kernels=lead.kernels)
        self._head: Trace | None = None  # the first steps, until `advance` returns them
        self._lost = np.zeros(len(trials), bool)
        self._literal = literal
        self._numbers = np.random.default_rng(0)
        if literal:
            self._take_first_steps()

    def _take_first_steps(self) -> None:
        begin = self._lead.begin
        columns = np.full((3, begin, len(self)), np.nan)
        for run, (engine, program) in enumerate(zip(self._literal, self._programs, strict=True)):
            trace = engine.advance(begin, 1)
            columns[:, : len(trace), run] = trace.loss[:, 0], trace.x[:, 0], trace.regret[:, 0]
            try:
                self.put(run, *engine.read(program), engine.totals)
            except KeyError:  # the optimizer has not yet built its whole state
                self._lost[run] = True
            self._lost[run] |= engine.failure is not None
        self.step, self._head = begin, Trace(np.arange(begin), *columns)

    def put(self, run: int, state: Any, carry: Any, totals: Any) -> None:
        """Set one run to a program's state, carried numbers and totals."""
        self._put(run, state, carry, totals)
        self._lost[run] = False

    def keep(self, runs: NDArray[np.int64]) -> Self:
        kept = super().keep(runs)
        kept._programs = [self._programs[run] for run in runs]
        kept._lost = self._lost[runs]
        kept._head = None if self._head is None else self._head.runs(runs)
        kept._literal = [self._literal[run] for run in runs] if self._literal else ()
        return kept

    def load(self, saved: bytes) -> None:
        super().load(saved)
        if self.step > self._lead.begin:
            self._head = None

    def advance(self, stop: int, log_every: int) -> Trace:
        trace, head, self._head = super().advance(stop, log_every), self._head, None
        if self._lead.guarded:
            self._lost |= self._state[-2, : len(self)] == 0
            self.taken = self._state[-1, : len(self)].astype(int)
            self._state[-1] = 0
        if self._literal and not self._lost.all():
            for run in self._numbers.choice(np.flatnonzero(~self._lost), CHECKED).tolist():
                self._check(run, self._literal[run])
        if head is None:
            return trace
        return Trace.concatenate([head.rows(np.flatnonzero((head.step + 1) % log_every == 0)), trace])

    def _check(self, run: int, engine: TorchRun) -> None:
        """Compare a run's next step with a literal step; if they differ, all runs of the batch are lost."""
        program, trial = self._programs[run], self._trials[run]
        state, carry = self._state[:, run].astype(float), self._carry[:, run]
        if not np.isfinite(state[0]):
            return
        engine.write(program, state, carry, self.step)
        ((c, _),) = engine.inputs(self.step, self.step + 1)
        number, scale = self._dtype.type, float(self.schedule.scales(self.step, self.step + 1)[0])
        gradient = trial.problem.slope(number(state[0]), *c)
        (x, *rest), after = program.step(state, carry, gradient, scale, trial.optimizer.lr, number)
        if not isinstance(trial.problem, LinearProblem) and abs(gradient) < SMALLEST_SLOPE:
            return
        low, high = map(number, trial.problem.interval)
        expected = [*program.named([min(max(x, float(low)), float(high)), *rest]), *after]
        engine.advance(self.step + 1, 1)
        if engine.failure is not None or (program.guarded and rest[-2] == 0):
            return
        self._lost |= not _agree(engine, program, expected)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """The runs whose program does not know a step, or took a step differently from the optimizer."""
        return self._lost

    @property
    def carry(self) -> NDArray[np.float64]:
        """A copy of the numbers that each run's coefficients carry, of shape (carried, runs)."""
        return self._carry[:, : len(self)].copy()

    def coefficients(self, stop: int) -> Numbers:
        """Return one run's coefficients at the steps step ≤ t < stop, (coefficients, steps), without advancing it."""
        before = self._carry
        _, varied = self._corrected(self.schedule.scales(self.step, stop))
        self._carry = before
        return varied

    def _varying(self) -> bool:
        return True

    @property
    def saturated(self) -> NDArray[np.bool_]:
        steps = self.chunk_steps // len(self._kinds)
        every = zip(self._programs, self._hypers[0].tolist(), self._carry.T, strict=False)
        return np.array([program.repeats(lr, carry, steps) for program, lr, carry in every], bool)


def _agree(run: TorchRun, program: Program, expected: Sequence[float]) -> bool:
    """Whether an optimizer and its program hold the same numbers, bit for bit."""
    try:
        state, carry = run.read(program)
    except KeyError:
        return False
    return same_bits(np.array([*program.named(state), *carry]), np.array(expected, np.float64))


class RecordedRun(TorchRun):
    """A single run that a program advances; the optimizer repeats some of the steps and must get the same numbers.

    If the numbers differ, or the step's path is unknown and cannot be recorded, the run goes on literally from the last
    state that was checked.
    """

    chunk_steps = 65_536

    def __init__(self, trial: Trial, program: Program) -> None:
        super().__init__(trial)
        self._recordings = self._changes = 0
        self._resume_at, self._wait = program.begin, BETWEEN
        self._use(program)
        spread = np.random.default_rng(trial.seed).integers(program.begin, max(trial.steps, program.begin + 1), CHECKS)
        self._checks = np.unique([*range(program.begin, program.begin + AT_START), *spread.tolist(), NEVER])

    def _use(self, program: Program) -> None:
        self._program = self._repeating = program
        self._batch = RecordedBatch([self._trial], [program])
        self.driven = replace(self.driven, engine="compiled", program=program.digest, kernels=program.kernels)

    def _give_up(self, why: str) -> None:
        self._resume_at = NEVER
        self.driven = replace(self.driven, engine="torch", not_compiled=f"{why} at step {self.step}")

    def advance(self, stop: int, log_every: int) -> Trace:
        pieces = [Trace.empty((0, 1))]
        while self.step < stop and self.failure is None:
            if self.step < self._resume_at:
                pieces.append(super().advance(min(stop, self._resume_at), log_every))
            else:
                pieces.append(self._checked_steps(stop, log_every))
        return Trace.concatenate(pieces)

    def _checked_steps(self, stop: int, log_every: int) -> Trace:
        """Take steps with the program, and then one that the optimizer takes as well; do not pass ``stop``."""
        program, batch, begin, totals = self._program, self._batch, self.step, self._totals.copy()
        try:
            state, carry = self.read(program)
        except KeyError:  # the optimizer does not keep everything that it kept when it was recorded
            return self._look_for_paths()

        def taken(end: int, log_every: int = log_every) -> Trace:
            """Take the steps from ``begin`` up to, not including, ``end`` with the program."""
            batch.put(0, state, carry, totals)
            batch.step = begin
            return batch.advance(end, log_every) if end > begin else Trace.empty((0, 1))

        end = min(stop - 1, int(self._checks[np.searchsorted(self._checks, begin)]))
        taken(begin)
        trace = taken(self._until_a_change(end))
        if batch.lost[0] and batch.taken[0]:
            trace = taken(begin + int(batch.taken[0]) - 1)
        if not np.isfinite(batch.x):
            known = int(np.isfinite(taken(batch.step, 1).x).sum()) - 1  # the optimizer takes the failing step
            trace = taken(begin + known)
            if known < BETWEEN:
                self._resume_at, self._wait = begin + known + self._wait, 2 * self._wait
        if batch.lost[0]:
            return self._look_for_paths()
        self._stand(batch, 0)
        batch.advance(self.step + 1, 1)
        if batch.lost[0] and self.step == begin:
            return self._look_for_paths()
        expected = *program.named(batch.state[:, 0]), *batch.carry[:, 0]
        literal = super().advance(self.step + 1, log_every)
        comparable = not batch.lost[0] and np.isfinite(batch.x) and self.failure is None
        if comparable and not _agree(self, program, expected):
            self.write(program, state, carry, begin)
            self._totals = totals
            self._give_up("its program came to something else")
            return Trace.empty((0, 1))
        return Trace.concatenate([trace, literal])

    def _until_a_change(self, end: int) -> int:
        """Return the last step, up to ``end``, before the path changes independently of gradients."""
        masks = self._program.masks
        if masks < 2 or self._changes >= PATH_CHANGES or end - self.step < 2:
            return end
        taken = self._batch.coefficients(end)[-masks:]
        changed = np.flatnonzero(np.any(np.diff(taken, axis=1) != 0, axis=0))
        if not len(changed):
            return end
        self._changes += 1
        return self.step + int(changed[0])

    def _look_for_paths(self) -> Trace:
        """Record the paths that the next step may take; if that is impossible, take some steps literally first."""
        self._recordings += 1
        ((_, lr),) = self.inputs(self.step, self.step + 1)
        try:
            if self._recordings > MORE_PATHS:
                raise NotRecorded("its steps take ever new paths")
            self._use(self._program.with_paths(paths_of(self._optimizer, self._param, self.gradients(), lr, self.step)))
        except NotRecorded as reason:
            if reason.for_good:
                self._give_up(str(reason))
            else:
                self._resume_at, self._wait = self.step + self._wait, 2 * self._wait
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
            self._give_up(f"recording a step raised {type(error).__name__}")
        return Trace.empty((0, 1))

    def load(self, saved: bytes) -> None:
        super().load(saved)
        if self.driven.not_compiled is not None:
            self._resume_at = NEVER
            self.driven = replace(self.driven, engine="torch")

    def stand(self, batch: RecordedBatch, run: int) -> None:
        """Bring this run from step 0 to the state of a run of a batch."""
        super().advance(self._program.begin, NEVER)
        self._stand(batch, run)

    def _stand(self, batch: RecordedBatch, run: int) -> None:
        self.write(self._program, batch.state[:, run], batch.carry[:, run], batch.step)
        self._totals = batch.totals[:, [run]]


class RecordedSeeds(OneByOne):
    """Several seeds in one batch; they continue one by one as soon as the program fails for one of them."""

    def __init__(self, seeds: Sequence[Trial], program: Program) -> None:
        self._seeds, self._program = seeds, program
        literal = [TorchRun(each) for each in seeds]
        batch = RecordedBatch(seeds, [program] * len(seeds), literal, stops=True)
        super().__init__([batch])
        if batch.lost.any():
            self._part(batch)

    def advance(self, stop: int, log_every: int) -> Trace:
        batch = self.runs[0]
        if not isinstance(batch, RecordedBatch):
            return super().advance(stop, log_every)
        before = batch.snapshot()
        trace = super().advance(stop, log_every)
        if batch.lost.any():
            batch.restore(before)
            self._part(batch)
            trace = super().advance(stop, log_every)
        return trace

    def _part(self, batch: RecordedBatch) -> None:
        """Continue one by one, because the program fails for a seed."""
        runs = self._alone()
        if batch.step > self._program.begin:
            for number, run in enumerate(runs):
                run.stand(batch, number)
        self._go_on_with(runs)

    def _alone(self) -> list[RecordedRun]:
        return [RecordedRun(each, self._program) for each in self._seeds]

    def save(self) -> bytes:
        return super().save() if len(self.runs) > 1 else self.runs[0].save()

    def load(self, saved: bytes) -> None:
        if '"step"' not in json.loads(saved)[0]:  # it was saved after the seeds were separated
            self._go_on_with(self._alone())
        if len(self.runs) > 1:
            super().load(saved)
        else:
            self.runs[0].load(saved)
            self.step = self.runs[0].step


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
