"""`HeldLanes` of any `torch.optim.Optimizer`: one parameter tensor with an element for each lane, if it is elementwise.

Whether it is is tested, never assumed: `lanes_of` and `elementwise` say.
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

NUMBERS_AT_ONCE = 524_288  # slopes and moves laid out at once: they stay in the caches
AGREEMENT = 1e-9  # of the largest move: a vectorized kernel and its scalar tail may round differently
TRIED_LANES, TRIED_STEPS = 37, 24  # of the test: no multiple of a vector's width, and past a start's special cases


class TorchHeldLanes(HeldLanes):
    """`HeldLanes` of an imported optimizer.

    Args:
        build: makes the optimizer of groups of parameters.
        shape: of a parameter with one element, (1,) or (1, 1).
        sequences, held: as of `HeldLanes`.
        apart: whether each lane is a parameter of its own, in a group of its own, instead of an element of one.

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
        # Lanes of one period side by side: what they are given at a step is then one row of one array.
        ends = np.flatnonzero(np.diff(lengths[order], append=-1)) + 1
        starts = [0, *ends[:-1].tolist()]
        self._periods = [
            (slice(start, end), np.array([sequences[lane] for lane in order[start:end]], np.float64).T.copy())
            for start, end in zip(starts, ends.tolist(), strict=True)
        ]
        # Tensors that share their memory with NumPy's arrays; a lane apart is a view of its element.
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
        """The moves of so many steps, (steps, lanes), from the slopes."""
        moves = np.empty_like(slopes)
        held = torch.from_numpy(self._held)
        for i, (now, move) in enumerate(zip(torch.from_numpy(slopes), torch.from_numpy(moves), strict=True)):
            self._gradient.copy_(now)
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.grad = gradient
            try:
                self._optimizer.step()
            except (Exception, SystemExit) as error:  # somebody's optimizer may raise anything
                raise RunFailed(raised(error, self.step + i)) from error
            for parameter, values in zip(self._parameters, self._values, strict=True):
                if parameter.data_ptr() != values.data_ptr():  # an optimizer may put another tensor in its place
                    values.copy_(parameter.detach())
                    parameter.data = values
            torch.sub(held, self._x, out=move)
            self._x.copy_(held)
        if not np.isfinite(moves[-1]).any():
            lost = np.flatnonzero(~np.isfinite(moves).any(axis=1))
            raise RunFailed(f"x became infinite or NaN at step {self.step + int(lost[0])}, whatever the slopes")
        return moves


def lanes_of(
    path: str, *, lr: float, arguments: Mapping[str, Any], shape: str | None = None
) -> tuple[Callable[[Sequence[Slopes], Floats], TorchHeldLanes], bool]:
    """How lanes of an imported optimizer are made: as elements of one parameter, if it is elementwise, else apart.

    It is elementwise if what a lane does is the same, to `AGREEMENT`, wherever in the tensor it is, whatever its
    neighbours do, and when it is alone.

    Args:
        path: its import path.
        lr, arguments: what it is built with.
        shape: as of `drive_of`.

    Returns:
        What makes lanes of sequences and of where x is held, and whether it does so apart.

    Raises:
        ConfigError: it cannot be imported, built or stepped, needs more than gradients, does not come to the same
            twice, or its parameters depend on each other.
        RunFailed: it raised, or x was finite in no lane; the message names the step.
    """
    drive, build = _driven(path, lr, arguments, shape)
    for needed, what in ((drive.closure, "a closure, which evaluates losses"), (drive.graph, "a second derivative")):
        if needed:
            raise ConfigError(
                f"optimizer {path} cannot be attacked: it needs {what}, and an attack has gradients alone"
            )
    make = functools.partial(TorchHeldLanes, build, drive.shape)
    for apart in (False, True):
        if _independent(path, make, apart=apart):
            return functools.partial(make, apart=apart), apart
    raise ConfigError(
        f"optimizer {path} cannot be attacked: what it does to a parameter depends on the others, "
        "even where each is in a group of its own"
    )


def elementwise(path: str, *, lr: float, arguments: Mapping[str, Any], shape: str | None = None) -> bool:
    """Whether an imported optimizer does to an element of a parameter what it does to it alone, given its gradient.

    As `lanes_of` tests it; one that raises, has a hook that does more, or needs more than a gradient, is not taken for
    elementwise. The arguments are those of `lanes_of`.

    Raises:
        ConfigError: it cannot be imported, built or stepped, or does not come to the same twice.
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
    """How an optimizer is driven, and what builds it of groups of parameters."""
    try:
        imported = import_optimizer(path)
        drive = drive_of(imported, lr=lr, arguments=arguments, dtype="float64", shape=shape)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return drive, lambda groups: imported.make(drive.arrange(groups), lr=lr, arguments=arguments)


def _independent(path: str, make: Callable[..., TorchHeldLanes], *, apart: bool) -> bool:
    """Whether what each lane does is the same in another place, beside others, and alone.

    Raises:
        ConfigError: it does not come to the same twice.
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
            f"optimizer {path} does not come to the same twice: it is random, or keeps something outside its own state"
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
