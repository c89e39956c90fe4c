"""`HeldLanes` for any `torch.optim.Optimizer`: the runs are the elements of one parameter if it is elementwise.

`lanes_of` and `elementwise` test whether an optimizer is elementwise; this is never assumed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.held import Floats, HeldLanes, Slopes
from amsgrad_exp.engines.torch_step import raised, sees_gradients_alone
from amsgrad_exp.engines.torch_trial import drive_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.optimizers.importing import PLAIN, Drive, import_optimizer

Build = Callable[[Sequence[Sequence[torch.nn.Parameter]]], Optimizer]

NUMBERS_AT_ONCE = 524_288  # slopes and updates laid out at once, few enough for the CPU's caches
AGREEMENT = 1e-9  # relative to the largest update: a vectorized kernel and its scalar tail may round differently
TRIED_LANES, TRIED_STEPS = 37, 24  # for the test: not a multiple of a vector's width; beyond special first steps


class TorchHeldLanes(HeldLanes):
    """`HeldLanes` for an imported optimizer.

    Args:
        build: makes the optimizer from groups of parameters.
        shape: the shape of a parameter with one element, (1,) or (1, 1).
        sequences, held: as in `HeldLanes`.
        apart: whether each run has its own parameter in its own group, instead of an element of one parameter.

    Raises:
        ConfigError: the optimizer cannot be built.
    """

    def __init__(
        self,
        build: Build,
        shape: tuple[int, ...],
        sequences: Sequence[Slopes],
        held: Floats,
        *,
        apart: bool = False,
    ) -> None:
        lengths = np.array([len(sequence) for sequence in sequences])
        self._order = order = np.argsort(lengths, kind="stable")
        super().__init__(sequences, np.asarray(held)[order])
        # Runs with the same period are adjacent, so that their gradients at a step are one row of one array.
        ends = np.flatnonzero(np.diff(lengths[order], append=-1)) + 1
        starts = [0, *ends[:-1].tolist()]
        self._periods = [
            (slice(start, end), np.array([sequences[lane] for lane in order[start:end]], np.float64).T.copy())
            for start, end in zip(starts, ends.tolist(), strict=True)
        ]
        # Tensors that share their memory with NumPy's arrays; a run's own parameter is a view of its element.
        self._x = torch.from_numpy(self._held.copy())
        self._gradient = torch.zeros_like(self._x)
        pieces = range(len(self)) if apart else [slice(None)]
        self._values = [self._x[piece].reshape(-1, *shape[1:]) for piece in pieces]
        self._parameters = [torch.nn.Parameter(values) for values in self._values]
        self._gradients = [self._gradient[piece].reshape(-1, *shape[1:]) for piece in pieces]
        try:
            self._optimizer = build([[each] for each in self._parameters])
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[Floats, Floats]:
        sums = np.zeros((2, len(self)))
        begin, end = begin[self._order], end[self._order]
        while self.step < stop:
            steps = np.arange(self.step, min(stop, self.step + max(1, NUMBERS_AT_ONCE // len(self))))
            slopes = np.empty((len(steps), len(self)))
            for columns, of_period in self._periods:
                slopes[:, columns] = of_period.take(steps % len(of_period), axis=0)
            moves = self._moves(slopes)
            if np.any(begin > steps[0]) or np.any(end <= steps[-1]):
                moves[(steps[:, None] < begin) | (steps[:, None] >= end)] = 0
            self.step += len(steps)
            sums += moves.sum(axis=0), np.abs(moves).sum(axis=0)
        back = np.argsort(self._order)
        return sums[0, back], sums[1, back]

    def _moves(self, slopes: Floats) -> Floats:
        """The updates, (steps, lanes), for the given slopes."""
        moves = np.empty_like(slopes)
        held = torch.from_numpy(self._held)
        for i, (now, move) in enumerate(zip(torch.from_numpy(slopes), torch.from_numpy(moves), strict=True)):
            self._gradient.copy_(now)
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.grad = gradient
            try:
                self._optimizer.step()
            except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
                raise RunFailed(raised(error, self.step + i)) from error
            for parameter, values in zip(self._parameters, self._values, strict=True):
                if parameter.data_ptr() != values.data_ptr():  # an optimizer may replace the tensor
                    values.copy_(parameter.detach())
                    parameter.data = values
            torch.sub(held, self._x, out=move)
            self._x.copy_(held)
        if not np.isfinite(moves[-1]).any():
            lost = np.flatnonzero(~np.isfinite(moves).any(axis=1))
            raise RunFailed(f"x became infinite or NaN at step {self.step + int(lost[0])} on every problem")
        return moves


def lanes_of(
    path: str, *, lr: float, arguments: Mapping[str, Any], shape: str | None = None
) -> tuple[Callable[[Sequence[Slopes], Floats], TorchHeldLanes], bool]:
    """Find out how to batch runs of an imported optimizer: as elements of one parameter, or as separate parameters.

    An optimizer is elementwise if the update of an element is the same, up to `AGREEMENT`, at every place in the
    tensor, with any neighbours, and alone.

    Args:
        path: its import path.
        lr, arguments: the arguments of its constructor.
        shape: as in `drive_of`.

    Returns:
        A function that makes a batch from sequences and fixed iterates, and whether it uses separate parameters.

    Raises:
        ConfigError: it cannot be imported, built or stepped, needs more than gradients, is not deterministic, or its
            parameters depend on each other.
        RunFailed: it raised an exception, or x was finite in no run; the message names the step.
    """
    drive, build = _driven(path, lr, arguments, shape)
    for needed, what in ((drive.closure, "a closure that evaluates losses"), (drive.graph, "a second derivative")):
        if needed:
            raise ConfigError(
                f"optimizer {path} cannot be attacked: it needs {what}, but an attack only provides gradients"
            )
    make = functools.partial(TorchHeldLanes, build, drive.shape)
    for apart in (False, True):
        if _independent(path, make, apart=apart):
            return functools.partial(make, apart=apart), apart
    raise ConfigError(
        f"optimizer {path} cannot be attacked: the update of a parameter depends on the other parameters, "
        "even if each has its own group"
    )


def elementwise(path: str, *, lr: float, arguments: Mapping[str, Any], shape: str | None = None) -> bool:
    """Whether an imported optimizer updates each element of a parameter as if it were alone, given its gradient.

    The test is that of `lanes_of`, and so are the arguments. An optimizer that raises an exception, has hooks, or needs
    more than a gradient does not count as elementwise.

    Raises:
        ConfigError: it cannot be imported, built or stepped, or is not deterministic.
    """
    drive, build = _driven(path, lr, arguments, shape)
    if drive != PLAIN:
        return False
    make = functools.partial(TorchHeldLanes, build, drive.shape)
    lanes = make([(0,)], np.ones(1))
    if not sees_gradients_alone(lanes._optimizer, lanes._parameters[0]):
        return False
    try:
        return _independent(path, make, apart=False)
    except RunFailed:
        return False


def _driven(path: str, lr: float, arguments: Mapping[str, Any], shape: str | None) -> tuple[Drive, Build]:
    """How an optimizer is driven, and a function that builds it from groups of parameters."""
    try:
        imported = import_optimizer(path)
        drive = drive_of(imported, lr=lr, arguments=arguments, dtype="float64", shape=shape)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return drive, lambda groups: imported.make(drive.arrange(groups), lr=lr, arguments=arguments)


def _independent(path: str, make: Callable[..., TorchHeldLanes], *, apart: bool) -> bool:
    """Whether each run is the same at another place, with other neighbours, and alone.

    Raises:
        ConfigError: the optimizer is not deterministic.
    """
    numbers = np.random.default_rng(0)
    slopes = numbers.integers(-100, 101, (TRIED_STEPS, TRIED_LANES)).astype(np.float64)
    held = np.where(np.arange(TRIED_LANES) % 2, 1.0, -1.0)
    order = numbers.permutation(TRIED_LANES)
    louder = slopes * np.where(np.arange(TRIED_LANES) % 3, 1.0, 1000.0)

    def moves(of: Floats, at: Floats) -> Floats:
        return make([(0,)] * of.shape[1], at, apart=apart)._moves(of)

    first, again = moves(slopes, held), moves(slopes, held)
    if not np.array_equal(first, again, equal_nan=True):
        raise ConfigError(
            f"optimizer {path} is not deterministic: it is random, or keeps something outside its own state"
        )
    alone = [moves(slopes[:, [lane]], held[[lane]]) for lane in range(3)]
    quiet = louder[0] == slopes[0]
    return all(
        np.allclose(one, other, rtol=0, atol=AGREEMENT * float(np.nanmax(np.abs(first))), equal_nan=True)
        for one, other in (
            (first[:, order], moves(slopes[:, order], held[order])),
            (first[:, quiet], moves(louder, held)[:, quiet]),
            (first[:, :3], np.concatenate(alone, axis=1)),
        )
    )
