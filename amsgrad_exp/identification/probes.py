"""Defines the probes: short gradient sequences in double precision, each of which distinguishes certain rules.

Gradients and decay rates are short binary fractions, so that float32 represents them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError

Floats = NDArray[np.float64]

SETTINGS = {"lr": 2.0**-4, "beta1": 1 - 2.0**-3, "beta2": 1 - 2.0**-5, "eps": 1e-6, "weight_decay": 0.0}
"""What a probe is run with where nothing else is asked for."""

RANGES = {"lr": "above 0", "beta1": "in [0, 1)", "beta2": "in [0, 1)"}

LONG_MEMORY = 1 - 2.0**-13
"""β2 of the long probe: bias correction still changes after tens of thousands of steps."""

STEPS = 20
NOISE = np.array([15, -5, 26, -19, 7, 1, -34, 12, 21, -9, -13, 4, 38, -23, 11, -3, 17, -6, -28, 8]) / 16
OTHER = np.array([-20, 9, 5, 33, -11, 23, -2, -31, 13, 7, -4, 18, -15, 3, 28, -24, 10, -7, 36, -12]) / 16
CYCLE, LONG, EVERY = np.array([1.0, -2.5, 0.5, 0.75]), 100_000, 10_000


@dataclass(frozen=True)
class Probe:
    """A gradient sequence with the settings for running it.

    Attributes:
        name: its name.
        about: what it distinguishes.
        gradients: float64 of shape (steps, elements).
        start: x before the first step, float64 of shape (elements,).
        lr: α_t of each step, float64 of shape (steps,).
        beta1: β1 of each step, float64 of shape (steps,).
        beta2, eps, weight_decay: the other settings.
        apart: whether each element is a separate parameter.
        every: x is recorded after every ``every`` steps.
    """

    name: str
    about: str
    gradients: Floats
    start: Floats
    lr: Floats
    beta1: Floats
    beta2: float
    eps: float
    weight_decay: float
    apart: bool = False
    every: int = 1

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.gradients)

    @property
    def elements(self) -> int:
        """The number of values that are optimized."""
        return int(self.gradients.shape[1])

    @property
    def changes_beta1(self) -> bool:
        """Whether β1 is not the same at all steps."""
        return bool(np.any(self.beta1 != self.beta1[0]))


def probes(settings: Mapping[str, float] | None = None) -> tuple[Probe, ...]:
    """All probes.

    Args:
        settings: lr, beta1, beta2, eps or weight_decay, to replace the probes' own values.

    Raises:
        ConfigError: a setting is out of range.
    """
    given = dict(settings or {})
    for name, value in given.items():
        high = 1.0 if name in ("beta1", "beta2") else math.inf
        if not 0 <= value < high or (name == "lr" and value == 0):
            raise ConfigError(f"{name} must be a finite number {RANGES.get(name, 'of at least 0')}, not {value:g}")
    own = {**SETTINGS, **given}
    beta1 = own["beta1"]
    small = own["eps"] or SETTINGS["eps"]
    spikes, zeros = NOISE / 16, NOISE.copy()
    spikes[[4, 11, 16]] = 16, -24, 12
    zeros[[0, 1, 6, 7, 8, 13]] = 0
    several = np.stack([NOISE, 16 * OTHER], axis=1)

    def probe(
        name: str,
        about: str,
        gradients: Floats,
        lr: Floats | float = 1.0,
        beta1: Floats | float = beta1,
        start: float = 0.0,
        apart: bool = False,
        every: int = 1,
        **others: float,
    ) -> Probe:
        gradients = gradients if gradients.ndim == 2 else gradients[:, None]
        steps, elements = gradients.shape
        rest = {key: {**own, **others, **given}[key] for key in ("beta2", "eps", "weight_decay")}
        return Probe(
            name,
            about,
            gradients,
            np.full(elements, start),
            np.broadcast_to(own["lr"] * np.asarray(lr), steps),
            np.broadcast_to(np.asarray(beta1), steps),
            apart=apart,
            every=every,
            **rest,
        )

    factors = np.array([1, 1, 0.5, 2, 0.25, 1, 4, 0.125, 1, 0.5, 2, 2, 0.25, 1, 0.5, 4, 1, 0.125, 2, 1])
    rates = np.repeat([beta1, beta1 / 2, (1 + beta1) / 2, beta1], STEPS // 4)
    long = np.tile(CYCLE, LONG // len(CYCLE))
    return (
        probe("gaussian", "the moments, their bias corrections and the order of their updates", NOISE),
        probe("tiny gradients", "where ε stands: the gradients are of its size", small * NOISE),
        probe("large first", "what a long memory keeps of one large gradient; which v a maximum is of", _first(64.0)),
        probe("spikes", "maxima, clipping, and memory of rare large gradients", spikes),
        probe("zeros", "what a first gradient of 0, and later ones, do to counts and denominators", zeros),
        probe("constant", "bias corrections alone: m and v of a constant gradient are known", np.ones(STEPS)),
        probe("alternating", "signs and differences of gradients", np.resize([1.0, -1.0], STEPS)),
        probe("huge gradients", "rules that clip or bound, and squares where there should be roots", 1e10 * NOISE),
        probe("lr changes", "whether lr multiplies the update or goes into the momentum", NOISE, lr=factors),
        probe("beta1 changes", "decay rates that are read at every step, or once", NOISE, beta1=rates),
        probe("x not 0", "weight decay: the gradient is 0 and x = 2", np.zeros(STEPS), start=2.0),
        probe("two elements", "rules that are not elementwise, such as those with a norm", several),
        probe("two parameters", "state, or a count of steps, that parameters share", several, apart=True),
        probe("long", "counts of steps that overflow, stop or lose digits", long, every=EVERY, beta2=LONG_MEMORY),
    )


def _first(size: float) -> Floats:
    """One large gradient, then small ones."""
    gradients = NOISE / 4
    gradients[0] = size
    return gradients
