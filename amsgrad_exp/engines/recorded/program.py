"""An optimizer's step as a `Rule`: from its recorded paths to compiled code, and between that and the optimizer."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import types
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.loops import jitable, make_coefficients
from amsgrad_exp.engines.recorded import scalars
from amsgrad_exp.engines.recorded.kernels import ANSWERS
from amsgrad_exp.engines.recorded.paths import Path
from amsgrad_exp.engines.recorded.recording import leaves
from amsgrad_exp.engines.recorded.source import Source
from amsgrad_exp.rules import Rule

FAR = (10**6, 10**9, 10**12)
"""Steps ahead at which coefficients are looked at, to see whether they depend on the count of steps."""
WITHOUT_VML = re.compile(r"\bvml_sqrt_[fd]\b")


def _module(text: str, scope: Mapping[str, Any]) -> types.ModuleType:
    """A module of some source, under a name by which pickles and Numba's cache find it."""
    of = hashlib.sha256(text.encode() + File(scalars.__file__).read_bytes()).hexdigest()
    module = types.ModuleType(f"{__package__}.source_{of[:32]}")
    vars(module).update(scope)
    exec(compile(text, f"<{module.__name__}>", "exec"), vars(module))
    return module


class RecordedRule(Rule):
    """A rule whose functions are made of source, in another process, too."""

    def __reduce__(self) -> Any:
        return _rule, vars(self)["made_of"]


@functools.cache
def _rule(text: str, state: tuple[str, ...], carry: int, constants: int, coefficients: int) -> Rule:
    """The rule of some source; one object for one source, by which its compiled loops are found."""
    module = _module(text, scalars.COMPILED)
    sys.modules[module.__name__] = module
    for function in list(vars(module).values()):
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            jitable(function)
    rule = RecordedRule(
        update=module.update,
        state=dict.fromkeys(state, 0.0),
        coefficients=module.coefficients,
        carry=(0.0,) * carry,
        hyper=namedtuple("Hyper", ["lr", *(f"k{i}" for i in range(constants))]),
        sees_x=True,
        gives_x=True,
        settles=False,
    )
    vars(rule)["made_of"] = text, state, carry, constants, coefficients
    vars(rule)["number_of_coefficients"] = coefficients  # found in Python elsewhere; these functions are only compiled
    return rule


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled step of one optimizer with its settings.

    Attributes:
        paths: those that its step can take.
        rule: with torch's bits; `rule.state` and `rule.carry` have no meaning, `read` has what they are.
        in_batches: the same with IEEE's square root, which takes a fiftieth of the time of torch's.
        constants: the hyper-parameters k0, k1, ….
        state, carry: names of numbers that the update keeps, and that the coefficients carry.
        guarded: whether the state ends in ``ok`` and ``count``: whether a path was found at every step so far, and at
            how many.
        masks: how many coefficients, the last ones, say which path is taken.
        wide: whether all that is kept must be in float64; coefficients: whether these must be.
        counters: the names of numbers that grow by 1 every step.
        begin: the first step that it can take; those before it are taken literally.
        digest: of the source and the constants.
        kernels: of what torch's kernels gave in trials.
    """

    paths: Sequence[Path]
    rule: Rule
    in_batches: Rule
    constants: tuple[float, ...]
    state: tuple[str, ...]
    carry: tuple[str, ...]
    guarded: bool
    masks: int
    wide: bool
    wide_coefficients: bool
    counters: frozenset[str]
    begin: int
    text: str
    digest: str
    kernels: str

    @classmethod
    def of(cls, paths: Sequence[Path], begin: int) -> Program:
        """Of some paths.

        Raises:
            NotRecorded: it is not known how one of torch's kernels rounds.
        """
        source = Source(paths)
        state = (*source.state, *(("ok", "count") if source.guarded else ()))
        shape = state, len(source.carry), len(source.constants), source.number
        return cls(
            paths=paths,
            rule=_rule(source.text, *shape),
            in_batches=_rule(WITHOUT_VML.sub("np.sqrt", source.text), *shape),
            constants=tuple(source.constants),
            state=tuple(source.state),
            carry=tuple(source.carry),
            guarded=source.guarded,
            masks=source.masks,
            wide=source.kept_wide,
            wide_coefficients=source.wide,
            counters=frozenset(name for name, place in paths[0].places.items() if place in paths[0].counters),
            begin=begin,
            text=source.text,
            digest=hashlib.sha256(repr((source.text, source.constants)).encode()).hexdigest(),
            kernels=ANSWERS.digest([key for each in source.each for key in each.answers]),
        )

    def with_paths(self, more: Sequence[Path]) -> Program:
        """The same with other paths as well; where two have one structure, the new one counts."""
        found = {path.structure for path in more}
        same = [path for path in self.paths if path.places == more[0].places]
        return Program.of([*(path for path in same if path.structure not in found), *more], self.begin)

    def read(self, optimizer: Optimizer, param: torch.Tensor) -> tuple[list[float], list[float]]:
        """State (with x first) and what is carried, as an optimizer has them."""
        here, places = leaves(optimizer, param), self.paths[0].places
        state, carry = ([here[places[name]].read() for name in names] for names in (self.state, self.carry))
        return [param.item(), *state, *((1.0, 0.0) if self.guarded else ())], carry

    def named(self, state: Any) -> Any:
        """Of a state, x and the optimizer's own numbers."""
        return state[: 1 + len(self.state)]

    def write(self, optimizer: Optimizer, param: torch.Tensor, state: Any, carry: Any) -> None:
        """Put what `read` returned, later on, into an optimizer."""
        here, places = leaves(optimizer, param), self.paths[0].places
        with torch.no_grad():
            param.fill_(float(state[0]))
        for name, value in zip((*self.state, *self.carry), (*state[1 : 1 + len(self.state)], *carry), strict=True):
            here[places[name]].put(float(value))

    @functools.cached_property
    def _in_python(self) -> types.ModuleType:
        return _module(self.text, scalars.ON_ARRAYS)

    def coefficients(self, scale: float, lr: float, carry: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The coefficients of a step, and what is carried after it."""
        with np.errstate(all="ignore"):
            _, c, carry = self._in_python.coefficients(
                0, scale, self.rule.hyper(lr, *self.constants), *map(float, carry)
            )
        return c, carry

    def step(
        self, state: Any, carry: Any, gradient: float, scale: float, lr: float, real: Any
    ) -> tuple[list[float], list[float]]:
        """One step, without clamping, from what `read` returned; not compiled.

        Args:
            state, carry: as `read` returns them.
            gradient: of the step.
            scale, lr: α_t/α and α.
            real: the dtype of a run.
        """
        real, coefficient = (np.float64 if wide else real for wide in (self.wide, self.wide_coefficients))
        c, carry = self.coefficients(scale, lr, carry)
        h = self.rule.hyper(*map(real, (lr, *self.constants)))
        with np.errstate(all="ignore"):
            x, state = self._in_python.update(real(gradient), real(0), list(map(coefficient, c)), h, *map(real, state))
        return [float(x), *map(float, state)], list(map(float, carry))

    def repeats(self, lr: float, carry: Any, steps: int) -> bool:
        """Whether so many steps with one step size are the same for ever, as far as they do not depend on gradients.

        That is, whether they are the same after `FAR` more steps, and leave all that is carried but counts as it is.
        """
        if "mod(" in self.text or "floordiv(" in self.text or self.counters & set(self.state):
            return False
        counting = np.array([name in self.counters for name in self.carry], bool)[:, None]
        fill = make_coefficients(self.rule, width=1)
        expected = None
        for ahead in (0, *FAR):
            before = np.array(carry, np.float64).reshape(-1, 1) + ahead * counting
            after, scales = before.copy(), np.empty((1, steps, 1))
            varied = np.empty((self.rule.number_of_coefficients, steps, 1))
            fill(after, np.array([[lr, *self.constants]]).T.copy(), np.ones(steps), 0, scales, varied)
            expected = varied if expected is None else expected
            if not np.array_equal(varied, expected) or not np.array_equal(before[~counting], after[~counting]):
                return False
        return True
