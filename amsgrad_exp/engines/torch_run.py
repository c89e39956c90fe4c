"""Runs any `torch.optim.Optimizer` with the loop of the reference experiment, without compiled code."""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.batch import Batch, Driven
from amsgrad_exp.engines.compiled import CompiledBatch
from amsgrad_exp.engines.torch_state import SCALARS, Survey, Unsaveable, decoded, encoded, generators_restored, unheard
from amsgrad_exp.engines.torch_step import Step, number_of, raised, way_of
from amsgrad_exp.optimizers import AdaptiveOptimizer
from amsgrad_exp.optimizers.importing import said, written
from amsgrad_exp.problems.problem import Floats
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.engines.recorded.program import Program

NEVER = 2**63 - 1
AHEAD = 24  # how many gradients are computed in advance for a recording


class TorchRun(Batch):
    """A single run of an optimizer on one parameter with one element; `torch_step.Step` takes its steps.

    The constructor raises a ValueError if the optimizer cannot be imported or built, or takes no step.
    """

    chunk_steps = 1024

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.problem, schedule_of(trial))
        self._trial, self._number = trial, number_of(trial.dtype)
        self._way = way_of(trial.optimizer, trial.dtype)
        torch.manual_seed(trial.seed)
        drive = self._way.drive
        self.driven = Driven("torch", written(drive.shape), drive.parameters, drive.closure, drive.graph)
        self._checked: set[bool] = set()  # whether a saved state was checked at step 0 (False) and later (True)
        self._optimizer, self._param = self._way.new(self.problem.start)

    def __len__(self) -> int:
        return 1

    @property
    def xs(self) -> Floats:
        return np.array([self._param.item()])

    @property
    def states(self) -> list[bytes]:
        survey = Survey(self._optimizer, self._param, self.step)
        return [survey.own + survey.outside]

    @property
    def saturated(self) -> NDArray[np.bool_]:
        # Version 0.1.0 used this condition, and its records must repeat from the same step on. It also needs no trial.
        betas = [beta for beta in self._optimizer.defaults.get("betas") or () if isinstance(beta, int | float)]
        return self.repeats(1) if all(1 - beta**self.step == 1 for beta in betas) else np.zeros(1, bool)

    @functools.cached_property
    def _twin(self) -> CompiledBatch:
        """The rule of a registered optimizer."""
        dtype = self._trial.dtype if self._trial.dtype in COMPILED_DTYPES else "float32"
        return CompiledBatch([self._trial.model_copy(update={"dtype": dtype})])

    @functools.cached_property
    def _repeating(self) -> Program | None:
        """The program of an imported optimizer."""
        from amsgrad_exp.engines.recorded.paths import paths_of
        from amsgrad_exp.engines.recorded.program import Program

        with contextlib.suppress(Exception, SystemExit):  # an imported optimizer may raise anything
            paths = paths_of(self._optimizer, self._param, self.gradients(), self.schedule.lr, self.step)
            return Program(paths, self.step)
        return None

    def repeats(self, steps: int) -> NDArray[np.bool_]:
        """Ask the rule of a registered optimizer, or else the recorded program; False if there is no program."""
        if self._trial.optimizer.name in OPTIMIZERS:
            self._twin.advance(self.step, NEVER)
            return self._twin.saturated
        if self._repeating is None:
            return np.zeros(1, bool)
        try:
            _, carry = self.read(self._repeating)
        except KeyError:  # something that the program treats as constant changed in the optimizer
            return np.zeros(1, bool)
        return np.array([self._repeating.repeats(self.schedule.lr, carry, steps)])

    def gradients(self) -> list[float]:
        """Return the gradients of the next steps, computed with x fixed."""
        x = self._number(self._param.item())
        return [float(self.problem.slope(x, *c)) for c, _ in self.inputs(self.step, self.step + AHEAD)]

    def read(self, program: Program) -> tuple[list[float], list[float]]:
        """Read the state that a program needs from the optimizer, as `Program.read` returns it."""
        return program.read(self._optimizer, self._param)

    def write(self, program: Program, state: Any, carry: Any, step: int) -> None:
        """Set the optimizer to a program's state and step; the totals stay unchanged."""
        program.write(self._optimizer, self._param, state, carry)
        self.step = step

    def inputs(self, start: int, stop: int) -> list[tuple[tuple[Any, ...], float]]:
        """Return the problem's coefficients and the step size at each step start ≤ t < stop."""
        coefficients = self.problem.coefficients(start, stop, self._trial.seed).astype(self._number)
        step_sizes = self.schedule.step_sizes(start, stop).tolist()
        return list(zip(zip(*coefficients, strict=True), step_sizes, strict=True))

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, stop: int, log_every: int) -> Trace:
        start, xs, x = self.step, list[float](), self._param.item()  # not `self.x`, since the mean of −0 is 0
        inputs = self.inputs(start, stop)
        step = Step(self.problem, self._optimizer, self._param, self._way.drive)
        for c, step_size in inputs:
            xs.append(x)
            try:
                x = step.take(x, c, step_size)
            except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
                self.failure = raised(error, self.step)
                break
            self.step += 1
            if not math.isfinite(x):
                self.failure = f"x became {x} at step {self.step - 1}"
                break
        # f_t(x_t) − f_t(x*) in the dtype of `number_of`, with the same bits as on tensors.
        loss_of, optimum = self.problem.loss, self._number(self.problem.optimum)
        taken = zip(map(self._number, xs), inputs, strict=False)
        losses = np.array([loss_of(x, *c) - loss_of(optimum, *c) for x, (c, _) in taken], np.float64)
        total_regrets, x_sums = np.cumsum([self._totals[0, 0], *losses]), np.cumsum([self._totals[1, 0], *xs])
        self._totals = np.array([[total_regrets[-1]], [x_sums[-1]]])
        steps = logged_steps(start, start + len(xs), log_every)
        rows = steps - start
        columns = losses[rows], np.array(xs)[rows], total_regrets[rows + 1] / (steps + 1)
        return Trace(steps, *(column[:, None] for column in columns))

    def save(self) -> bytes:
        """Save the optimizer's ``state_dict()``, and the numbers and strings among its attributes.

        In the first call, and in the first call after step 0, they are loaded into a new optimizer and compared.
        """
        total_regret, x_sum = self._totals[:, 0].tolist()
        fields: dict[str, Any] = {"total_regret": total_regret, "x_sum": x_sum, "generator": torch.get_rng_state()}
        if self.driven.not_compiled is not None:
            fields["not_compiled"] = self.driven.not_compiled
        attributes = {name: value for name, value in vars(self._optimizer).items() if type(value) in SCALARS}
        own = {"step": self.step, "param": self._param.detach(), "attributes": attributes}
        buffer = io.BytesIO()
        try:
            torch.save({**fields, **own, "optimizer": encoded(self._optimizer.state_dict())}, buffer)
        except Unsaveable:
            raise
        except Exception as error:  # an imported optimizer's state_dict may do anything
            raise ValueError(f"its state_dict cannot be saved: {said(error)}") from error
        if (self.step > 0) not in self._checked:
            with generators_restored(), unheard():
                twin = self._way.new(self.problem.start)
                _load(*twin, buffer.getvalue())
            if self.step > 0 and Survey(self._optimizer, self._param, self.step).own != Survey(*twin, self.step).own:
                raise ValueError("it keeps something outside its state_dict")
            self._checked.add(self.step > 0)
        return buffer.getvalue()

    def load(self, saved: bytes) -> None:
        fields = _load(self._optimizer, self._param, saved)
        try:
            torch.set_rng_state(fields["generator"])
            self.step, self._totals = fields["step"], np.array([[fields["total_regret"]], [fields["x_sum"]]])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"it is not the state of such an engine ({type(error).__name__})") from error
        self.driven = replace(self.driven, not_compiled=fields.get("not_compiled", self.driven.not_compiled))


def _load(optimizer: Optimizer, param: torch.nn.Parameter, saved: bytes) -> Mapping[str, Any]:
    """Restore an optimizer and its parameter from what `TorchRun.save` returned; return all that was saved."""
    try:
        fields: dict[str, Any] = torch.load(io.BytesIO(saved), weights_only=True)
        state, of_param = decoded(fields["optimizer"]), fields["optimizer"].get("state", {}).get(0)
        if of_param is not None and type(optimizer).load_state_dict is Optimizer.load_state_dict:
            state["state"][0] = of_param  # load_state_dict casts values, but only in plain containers
        optimizer.load_state_dict(state)
        if of_param is not None and not isinstance(optimizer, AdaptiveOptimizer):  # AdaptiveOptimizers cast nothing
            optimizer.state[param] = decoded(of_param)
        vars(optimizer).update(fields.get("attributes", {}))
        with torch.no_grad():
            param.copy_(fields["param"])
    except Exception as error:  # a damaged file or an imported load_state_dict may raise anything
        problem = "not a state that a torch engine can read without running code in it"
        raise ValueError(f"{problem} ({type(error).__name__})") from error
    return fields
