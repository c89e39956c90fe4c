"""Defines what a rule is: an update as a function of numbers, its state, and coefficients that depend on t only."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from amsgrad_exp.code import functions, names
from amsgrad_exp.rules.claims import NOTHING, Claim

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings

Floats = NDArray[np.float64]


@functools.cache
def hyper(*names: str) -> type[Any]:
    """Make a named tuple type for hyper-parameters with these names of settings or of a rule's options.

    The numbers have the run's dtype; ``one_minus_…`` is 1 minus a setting, computed in double precision and rounded
    once. Equal names give the same type. This module has the type as an attribute, so that it can be pickled. It must
    be made during an import, so that another process can unpickle it.
    """
    kind = namedtuple("__".join(("Hyper", *names)), names, module=__name__)  # type: ignore[misc]
    return globals().setdefault(kind.__name__, kind)  # type: ignore[no-any-return]


Hyper = hyper("lr", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2", "eps")


class Options(BaseModel):
    """An optimizer's own settings besides lr, beta1, beta2 and eps; this base class has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Mean:
    """The mean of gradients m_t = β1t·m_{t−1} + (1 − β1t)·g_t of a rule that updates x by −η_t·m_t, η_t ≥ 0.

    Attributes:
        of: (g, c, h, *state) → (m_t, β1t), from a step's gradient, coefficients and hyper-parameters, and from the
            state after it; it is compiled.
        only_without: the hyper-parameter that must be 0 for the rule to have this form; None if it always has.
    """

    of: Callable[..., tuple[Any, Any]]
    only_without: str | None = None


def uncorrected(t, scale, h):
    """Return the scale unchanged, for a rule without bias corrections, coefficients and carried values."""
    return scale, (), ()


@dataclass(frozen=True)
class Rule:
    """One step of an optimizer on one number, as plain functions of numbers, which are compiled.

    Attributes:
        update: (g, a, c, h, *state) → (move, state), where g is the gradient, a = α_t with the bias correction, c the
            step's coefficients and h the hyper-parameters; the new x is x − move. All are in the run's dtype. If the
            rule `uses_iterate`, x comes before the state: (g, a, c, h, x, *state).
        coefficients: (t, scale, h, *carry) → (scale, c, carry), in double precision: from the step t, counted from 0,
            α_t/α and the values carried over from the previous step, it returns α_t/α with the bias correction, c and
            the new carried values. It does not use the lr of h. As soon as all carried values are 0, the scale is
            returned unchanged and c is constant.
        hyper: the type of h.
        drift: computes D of `theory.drift`, (n,), from the slopes of one period, (P, 1), and hyper-parameters, (n,);
            None if no periodic steady state is known.
        mean: the mean of gradients that the update follows; None if it follows none.
        uses_iterate: whether the update depends on x itself, as weight decay does.
        returns_iterate: whether the update returns the new x instead of the move.
        settles: whether all carried values become 0 at some step.
        state: the names of the state variables, those of torch.optim if it has them, and their values at t = 0; by
            default the arguments of `update` that are state, with the values that its signature gives them, or else 0.
    """

    update: Callable[..., tuple[Any, tuple[Any, ...]]]
    coefficients: Callable[..., tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = uncorrected
    _: KW_ONLY
    hyper: type[Any] = Hyper
    drift: Callable[[Floats, Any], Floats] | None = None
    mean: Mean | None = None
    uses_iterate: bool = False
    returns_iterate: bool = False
    settles: bool = True
    state: Mapping[str, float] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.state is None:
            object.__setattr__(self, "state", _starts(self.update, 5 if self.uses_iterate else 4))

    @functools.cached_property
    def varied_by(self) -> frozenset[str]:
        """The hyper-parameters on which the coefficients may depend, since their code mentions them."""
        code = (each.__code__ for each in functions(self.coefficients))  # type: ignore[arg-type]
        return frozenset(self.hyper._fields).intersection(set().union(*map(names, code)))

    @functools.cached_property
    def number_of_coefficients(self) -> int:
        """The number of coefficients of a step."""
        ones = self.hyper(*([0.5] * len(self.hyper._fields)))
        return len(self.coefficients(0, 1.0, ones, *self.carry)[1])

    @functools.cached_property
    def carried(self) -> Mapping[str, float]:
        """The carried values at t = 0 by name, as in the signature of `coefficients`."""
        return _starts(self.coefficients, 3)

    @property
    def carry(self) -> tuple[float, ...]:
        """The carried values at t = 0."""
        return tuple(self.carried.values())

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings and options from which the hyper-parameters are computed."""
        return tuple(dict.fromkeys(name.removeprefix("one_minus_") for name in self.hyper._fields))

    def hyper_from(self, settings: Mapping[str, Any]) -> Any:
        """Compute the hyper-parameters from settings and options by name, which are numbers or arrays of one shape."""
        names: tuple[str, ...] = self.hyper._fields
        return self.hyper(
            *(1 - settings[name[10:]] if name.startswith("one_minus_") else settings[name] for name in names)
        )

    def __hash__(self) -> int:
        return hash((self.update, self.coefficients))


def _starts(function: Any, skipped: int) -> dict[str, float]:
    """Return a function's arguments after the first ``skipped``, with their defaults, or else 0."""
    names = function.__code__.co_varnames[skipped : function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    return dict(zip(names, (*(0.0 for _ in names[len(defaults) :]), *defaults), strict=True))


@dataclass(frozen=True)
class Optimizer:
    """Everything known about one optimizer.

    Attributes:
        title: its name in papers, and the name of its class.
        summary: what it does, in a phrase.
        lines: its rule with default options, in at most three lines; t counts from 1, and x is clamped after a step.
        remarks: differences between the paper and libraries, in a sentence or two each.
        source: the paper and the place in it.
        rule: returns the `Rule` for given options; options that are hyper-parameters do not change the rule.
        options: the type of its options.
        defaults: the lr, beta1, beta2 and eps that its authors or its library publish; by default those of Adam.
        claim: the published claim about its convergence.
        variants: options that the literature treats as another optimizer.
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
    defaults: Mapping[str, float] = field(
        default_factory=lambda: {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    )
    remarks: tuple[str, ...] = ()
    options: type[Options] = Options
    claim: Claim = NOTHING
    variants: tuple[Mapping[str, Any], ...] = ()
    grows: Callable[[Any], Mapping[str, float]] = lambda options: {}
    torch: str | None = None
    kept_by_torch: tuple[str, ...] = ()
    arguments: Callable[[OptimizerSettings], dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """Its name in the registry, in options and in records."""
        return self.title.lower()

    @property
    def path(self) -> str:
        """The import path of its `torch.optim.Optimizer` class."""
        return self.torch or f"amsgrad_exp.optimizers.{self.title}"


def always(*parts: Any, **more: Any) -> Callable[[Any], Rule]:
    """Make `Optimizer.rule` for an optimizer whose options do not change its rule, from the arguments of `Rule`."""
    rule = Rule(*parts, **more)
    return lambda options: rule
