"""Defines how an optimizer is described to the compiled loop, to the theory and to torch."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from amsgrad_exp.arithmetic import scalar, sqrt
from amsgrad_exp.code import functions, names
from amsgrad_exp.rules.claims import NOTHING, Claim

if TYPE_CHECKING:
    from amsgrad_exp.rules.mean import Mean
    from amsgrad_exp.rules.settings import OptimizerSettings

Floats = NDArray[np.float64]


class Hyper(NamedTuple):
    """The hyper-parameters of most rules, in the run's dtype.

    A rule with other hyper-parameters makes their type with `hyper`. ``one_minus_…`` is 1 minus a setting, computed in
    double precision and rounded once.
    """

    lr: float
    beta1: float
    one_minus_beta1: float
    beta2: float
    one_minus_beta2: float
    eps: float


@functools.cache
def hyper(*names: str) -> type[Any]:
    """The type of hyper-parameters with these names, of settings or of a rule's options: a named tuple, as `Hyper`.

    Equal names give the same type. This module keeps it under its own name, so that it can be pickled.
    """
    kind = namedtuple("__".join(("Hyper", *names)), names, module=__name__)  # type: ignore[misc]
    return globals().setdefault(kind.__name__, kind)  # type: ignore[no-any-return]


class Options(BaseModel):
    """An optimizer's own settings, besides lr, beta1, beta2 and eps; this base class has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Rule:
    """One step of an optimizer on one number, as plain functions of numbers, which are compiled.

    Attributes:
        update: (g, a, c, h, *state) → (move, state), where g is the gradient, a = α_t with the bias correction, c the
            step's coefficients and h the hyper-parameters; the new x is x − move. All are in the run's dtype. If the
            rule `sees_x`, x comes before the state: (g, a, c, h, x, *state).
        state: the names of the state variables, those of torch.optim if it has them, and their values at t = 0.
        coefficients: (t, scale, h, *carry) → (scale, c, carry), in double precision: from the step t, counted from 0,
            α_t/α and the values carried over from the previous step, it returns α_t/α with the bias correction, c and
            the new carried values. It does not use the lr of h. As soon as all carried values are 0, the scale is
            returned unchanged and c is constant.
        carry: the carried values at t = 0.
        hyper: the type of h.
        sees_x: whether the update depends on x itself, as weight decay does.
        gives_x: whether the update returns the new x instead of the move.
        settles: whether all that is carried ever comes to be 0.
        drift: computes D of `theory.drift` from the slopes of one period, (P,), and hyper-parameters, arrays of any
            shape; None if no periodic steady state is known.
        mean: the mean of gradients that the update follows; None if it follows none.
    """

    update: Callable[..., tuple[Any, tuple[Any, ...]]]
    state: Mapping[str, float]
    coefficients: Callable[..., tuple[Any, tuple[Any, ...], tuple[Any, ...]]]
    carry: tuple[float, ...]
    hyper: type[Any] = Hyper
    sees_x: bool = False
    gives_x: bool = False
    settles: bool = True
    drift: Callable[[Floats, Any], Floats] | None = field(default=None)
    mean: Mean | None = None

    @functools.cached_property
    def varied_by(self) -> frozenset[str]:
        """The hyper-parameters on which the coefficients may depend: those that their code names."""
        code = (each.__code__ for each in functions(self.coefficients))  # type: ignore[arg-type]
        return frozenset(self.hyper._fields).intersection(set().union(*map(names, code)))

    @functools.cached_property
    def number_of_coefficients(self) -> int:
        """The number of coefficients of a step."""
        ones = self.hyper(*([0.5] * len(self.hyper._fields)))
        return len(self.coefficients(0, 1.0, ones, *self.carry)[1])

    @functools.cached_property
    def carry_names(self) -> tuple[str, ...]:
        """The names of the carried values: the arguments of `coefficients` after (t, scale, h)."""
        code = self.coefficients.__code__
        return code.co_varnames[3 : code.co_argcount]

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings and options from which the hyper-parameters are computed."""
        return tuple(dict.fromkeys(name.removeprefix("one_minus_") for name in self.hyper._fields))

    def hyper_from(self, settings: Mapping[str, Any]) -> Any:
        """The hyper-parameters from settings and options by name, which are numbers or arrays of one shape."""
        names: tuple[str, ...] = self.hyper._fields
        return self.hyper(
            *(1 - settings[name[10:]] if name.startswith("one_minus_") else settings[name] for name in names)
        )

    def __hash__(self) -> int:
        return hash((self.update, self.coefficients))


@dataclass(frozen=True)
class Optimizer:
    """Everything known about one optimizer.

    Attributes:
        title: its name in papers, and the name of its class.
        summary: what it does, in a phrase.
        lines: its rule with default options, in at most three lines; t counts from 1, and x is clamped after a step.
        remarks: differences between the paper and libraries, in a sentence or two each.
        source: the paper and the place in it.
        rule: returns its `Rule` for given options; options that are hyper-parameters do not change the rule.
        options: the type of its options.
        defaults: the lr, beta1, beta2 and eps that its authors or its library publish.
        claim: the published claim about its convergence.
        variants: options with which the literature treats it as another optimizer.
        grows: returns, for given options, the settings (lr or options) whose update scales as a power of the gradient's
            size, with that power; empty if the update divides by that size.
        torch: the import path of its class; without one, `amsgrad_exp.optimizers` derives a class from the rule.
        kept_by_torch: if its class and torch.optim's class of the same title can load each other's states, the carried
            values that torch.optim's state contains too.
        arguments: returns the class's keyword arguments, except lr, for given settings, if their names differ.
    """

    title: str
    summary: str
    lines: tuple[str, ...]
    source: str
    rule: Callable[[Any], Rule]
    defaults: Mapping[str, float]
    remarks: tuple[str, ...] = ()
    options: type[Options] = Options
    claim: Claim = NOTHING
    variants: tuple[Mapping[str, Any], ...] = ()
    grows: Callable[[Any], Mapping[str, float]] = lambda options: {}
    torch: str | None = None
    kept_by_torch: tuple[str, ...] = ()
    arguments: Callable[[OptimizerSettings], dict[str, Any]] | None = None

    @property
    def path(self) -> str:
        """The import path of its `torch.optim.Optimizer` class."""
        return self.torch or f"amsgrad_exp.optimizers.{self.title}"


@scalar
def decayed(power: Any, beta: Any) -> Any:
    """β^{t+1} from β^t; 0 as soon as 1 − β^{t+1} is exactly 1.

    Repeated multiplication gives the same bits on every platform, unlike the pow() of mathematics libraries.
    """
    power = power * beta
    return power if 1.0 - power != 1.0 else 0.0


def uncorrected(t: Any, scale: Any, h: Any) -> Any:
    """The coefficients function without bias correction, coefficients and carried values."""
    return scale, (), ()


def alongside(slopes: Floats, states: Floats) -> Floats:
    """The slopes of a period, (P,), in a shape that broadcasts with states of shape (P, …)."""
    return slopes.reshape(-1, *[1] * (states.ndim - 1))


@scalar
def bias_corrected(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """Both of Adam's corrections folded into the step size, α_t·√(1 − β2^t)/(1 − β1^t).

    Kingma and Ba 2015, end of Section 2, whose t counts from 1.
    """
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1) * sqrt(1.0 - power2), (), (power1, power2)


def steady_state(sequence: Floats, beta: ArrayLike) -> Floats:
    """The periodic steady state of the exponential average of a repeated sequence.

    y_j = β·y_{j−1} + (1 − β)·s_j with y_{j+P} = y_j, so y_{P−1} = (1 − β)/(1 − β^P) · Σ_i β^i·s_{P−1−i}.

    Args:
        sequence: s, float64 of shape (P,), or (P, …) where … broadcasts with the shape of β.
        beta: β in [0, 1), of any shape.

    Returns:
        y, float64 of shape (P, *beta.shape).
    """
    beta = np.asarray(beta, np.float64)
    y = np.zeros(beta.shape)
    for number in sequence:
        y = beta * y + (1 - beta) * number
    y = y / -np.expm1(len(sequence) * np.log(beta, where=beta > 0, out=np.full(beta.shape, -np.inf)))
    states = np.empty((len(sequence), *beta.shape))
    for j, number in enumerate(sequence):
        y = beta * y + (1 - beta) * number
        states[j] = y
    return states
