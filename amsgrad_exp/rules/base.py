"""What the compiled loop, the lanes, the theory and torch are told of an optimizer."""

from __future__ import annotations

import functools
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
    from amsgrad_exp.spec.optimizer import OptimizerSettings

Floats = NDArray[np.float64]


class Hyper(NamedTuple):
    """The hyper-parameters most rules have, all in the run's dtype.

    A rule with others declares its own, by the names of settings or of its options. What is called ``one_minus_…`` is 1
    less that, rounded once, from double precision.
    """

    lr: float
    beta1: float
    one_minus_beta1: float
    beta2: float
    one_minus_beta2: float
    eps: float


class Options(BaseModel):
    """An optimizer's own settings, beside lr, beta1, beta2 and eps; this one has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Rule:
    """One step of an optimizer on one number, as plain functions of numbers, which are compiled as they are.

    Attributes:
        update: (g, a, c, h, *state) → (move, state): from the gradient g, the step size a = α_t with its correction,
            the step's coefficients c and the hyper-parameters h; x moves by −move. All are of the run's dtype.
            Where the rule `sees_x`, x comes before the state: (g, a, c, h, x, *state).
        state: the names of what is kept, torch.optim's where it has one, and their numbers at t = 0.
        coefficients: (t, scale, h, *carry) → (scale, c, carry): at step t, counted from 0, from α_t/α and what was
            carried from step to step, all in double precision: α_t/α with its correction, and c. The lr of h has no
            part in them. Once all that is carried is 0 the scale comes back as it went in and c no longer changes.
        carry: what is carried, at t = 0.
        hyper: the type of h.
        sees_x: whether the update depends on x itself, as weight decay does.
        settles: whether all that is carried ever comes to be 0.
        drift: D of `theory.drift`, from the slopes of one period, (P,), and hyper-parameters, arrays of any shape;
            None where no periodic steady state is known.
        mean: what the rule moves x along, where that is a mean of gradients; else None.
    """

    update: Callable[..., tuple[Any, tuple[Any, ...]]]
    state: Mapping[str, float]
    coefficients: Callable[..., tuple[Any, tuple[Any, ...], tuple[Any, ...]]]
    carry: tuple[float, ...]
    hyper: type[Any] = Hyper
    sees_x: bool = False
    settles: bool = True
    drift: Callable[[Floats, Any], Floats] | None = field(default=None)
    mean: Mean | None = None

    @functools.cached_property
    def varied_by(self) -> frozenset[str]:
        """The hyper-parameters that may have a part in the coefficients: those which their code names."""
        code = (each.__code__ for each in functions(self.coefficients))  # type: ignore[arg-type]
        return frozenset(self.hyper._fields).intersection(set().union(*map(names, code)))

    @functools.cached_property
    def number_of_coefficients(self) -> int:
        """How many coefficients a step has."""
        ones = self.hyper(*([0.5] * len(self.hyper._fields)))
        return len(self.coefficients(0, 1.0, ones, *self.carry)[1])

    @functools.cached_property
    def carry_names(self) -> tuple[str, ...]:
        """The names of what is carried: those of the arguments of `coefficients` after (t, scale, h)."""
        code = self.coefficients.__code__
        return code.co_varnames[3 : code.co_argcount]

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings and options that the hyper-parameters come from."""
        return tuple(dict.fromkeys(name.removeprefix("one_minus_") for name in self.hyper._fields))

    def hyper_from(self, settings: Mapping[str, Any]) -> Any:
        """The hyper-parameters, from settings and options by name: numbers, or arrays of one shape."""
        names: tuple[str, ...] = self.hyper._fields
        return self.hyper(
            *(1 - settings[name[10:]] if name.startswith("one_minus_") else settings[name] for name in names)
        )

    def __hash__(self) -> int:
        return hash((self.update, self.coefficients))


@dataclass(frozen=True)
class Optimizer:
    """All that is known of one optimizer.

    Attributes:
        title: its name as papers write it, and that of its class.
        summary: what it does, in a phrase.
        lines: its rule with default options, in at most three lines; t counts from 1, and after a step x is clamped.
        remarks: where the paper and libraries differ, a sentence or two each.
        source: the paper, and where in it.
        rule: its `Rule` for given options; the same one for options that are among the rule's hyper-parameters.
        options: the type of its options.
        defaults: what its authors, or the library that has it, publish of lr, beta1, beta2 and eps.
        claim: what was published of its convergence, and that is to hold for it.
        variants: options under which the literature knows it as another optimizer.
        grows: from its options, those of lr and its options that its moves are proportional to together with a power
            of the gradients' size, and that power; of one that divides by that size, none.
        torch: the import path of its class; without one, `amsgrad_exp.optimizers` makes a class of the rule.
        kept_by_torch: of a rule whose class and torch.optim's class of the same title load each other's states, those
            numbers carried from step to step that torch.optim's keeps too.
        arguments: keyword arguments of the class other than lr, from settings, where its names for them are others.
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
    """β^{t+1} from β^t, as 0 once 1 − β^{t+1} is exactly 1.

    By repeated multiplication: unlike pow(), the same bits with every mathematics library.
    """
    power = power * beta
    return power if 1.0 - power != 1.0 else 0.0


def uncorrected(t: Any, scale: Any, h: Any) -> Any:
    """α_t as it is, no coefficients and nothing carried."""
    return scale, (), ()


def alongside(slopes: Floats, states: Floats) -> Floats:
    """The slopes of a period, (P,), in a shape that broadcasts with its states, (P, …)."""
    return slopes.reshape(-1, *[1] * (states.ndim - 1))


@scalar
def bias_corrected(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """Both of Adam's corrections folded into the step size, α_t·√(1 − β2^t)/(1 − β1^t).

    Kingma and Ba 2015, end of Section 2, whose t counts from 1.
    """
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1) * sqrt(1.0 - power2), (), (power1, power2)


def steady_state(sequence: Floats, beta: ArrayLike) -> Floats:
    """The exponential average of a sequence that has been repeated for ever.

    y_j = β·y_{j−1} + (1 − β)·s_j with y_{j+P} = y_j, so y_{P−1} = (1 − β)/(1 − β^P) · Σ_i β^i·s_{P−1−i}.

    Args:
        sequence: s, float64 of shape (P,), or (P, …) of shapes that broadcast with β's.
        beta: in [0, 1), of any shape.

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
