"""Describes a rule by its parts, which can be exchanged one by one to model departures, and computes its steps.

The parts are checked against the package's rules (tests/test_identify.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

Kind = Literal[
    "adam", "bounded", "rectified", "nesterov", "adan", "async", "shifted", "ratio", "after", "adopt", "lion", "sign"
]


@dataclass(frozen=True)
class Form:
    """The parts of one rule, or of a rule with departures."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "adam"  # how gradient, moments and denominator are combined
    # A moving average, a decaying sum (heavy ball), or no first moment: the gradient itself.
    first: Literal["average", "sum", "none"] = "average"
    # A moving average of squares, their mean, their mean with weights k^−γ, Yogi's, their sum, a decaying maximum, a
    # moving average minus the square of the mean, or no second moment.
    second: Literal["average", "mean", "nostalgic", "yogi", "sum", "largest", "centered", "none"] = "average"
    squares: Literal["g", "m", "belief", "belief_before"] = "g"  # what is squared: g, m_t, g − m_t or g − m_{t−1}
    correct_m: int = 1  # how many times the bias is corrected
    correct_v: int = 1
    # ε is added to the root of the corrected v (after) or of the uncorrected v (before), or inside either root.
    eps_at: Literal["after", "before", "in_after", "in_before"] = "after"
    eps_twice: bool = False  # ε inside the root is also added to the root
    eps: bool = True
    inner_eps: bool = False  # ε is also added to v at every step
    maximum: Literal["none", "uncorrected", "corrected"] = "none"  # which v's largest value so far is used
    kept: bool = True  # the largest v is stored from step to step
    count: int = 0  # this is added to t in corrections and other functions of t
    count_at_0: Literal["one", "uncorrected"] = "one"  # if this makes t 0, t is set to 1, or nothing is corrected
    old_m: bool = False  # the update uses the moment from before this step
    old_v: Literal["no", "yes", "counted"] = "no"
    complemented: bool = True  # g is multiplied by 1 − β1 in the first moment
    decay: Literal["none", "coupled", "decoupled", "without_lr"] = "none"  # weight decay
    lr_in_momentum: bool = False
    flipped: Literal["no", "all", "update"] = "no"  # the update has the opposite sign, with or without the weight decay
    swapped: bool = False  # β1 and β2 are exchanged
    root: bool = True
    departures: tuple[str, ...] = ()  # the codes of the departures of this form


NUMBERS = SimpleNamespace(
    sqrt=math.sqrt,
    power=math.pow,
    maximum=lambda y, z: y if y > z else z,
    minimum=lambda y, z: y if y < z else z,
    where=lambda condition, y, z: y if condition else z,
    sign=lambda y: float((y > 0) - (y < 0)),
)
"""The functions of NumPy that `Walk` uses, for Python numbers, which are much faster for a single x."""


class Walk:
    """Runs a form; `step` takes one step of one x or of many.

    ``x`` (the start), ``beta2``, ``eps`` and ``weight_decay`` are numbers or float64 of shape (n,). ``by_product`` says
    where m is corrected by 1 − Π β1 instead of 1 − β1^t; these differ if β1 changes. ``lr`` is α of the first step, to
    which AdaBound's bounds are relative. ``fn`` is NumPy for arrays and `NUMBERS` for numbers.
    """

    def __init__(
        self, form: Form, x: Any, beta2: Any, eps: Any, weight_decay: Any, by_product: Any, lr: Any, fn: Any = np
    ) -> None:
        self.form, self.fn = form, fn
        self.x, self.beta2, self.weight_decay, self.by_product, self.first_lr = x, beta2, weight_decay, by_product, lr
        self.inner = eps if form.inner_eps else 0.0
        self.eps = eps if form.eps else 0.0
        zero = 0.0 * x
        self.m = self.v = (1e-6 if form.second == "yogi" else 0.0) + zero
        self.w = self.largest = self.before = self.gamma = self.mean = zero
        self.previous_g = self.previous_beta1 = self.previous_m = zero
        self.products = [1.0 + zero] * 3  # products of β1: before this step, after it, and after the next
        self.momenta, self.weights, self.scale = 1.0 + zero, 0.0, 1.0
        self.kept: list[Any] = []
        self.t, self.delay = 0, form.options["n"] if form.kind == "shifted" else 0
        self._update = getattr(self, f"_{form.kind}")

    def step(self, g: Any, lr: Any, beta1: Any) -> Any:
        form, x = self.form, self.x
        self.t += 1
        beta1, beta2 = (self.beta2, beta1) if form.swapped else (beta1, self.beta2)
        self.products = [self.products[1], self.products[1] * beta1, self.products[1] * beta1 * beta1]
        if form.decay == "coupled":
            g = g + self.weight_decay * x
        self.scale, outer = (lr, 1.0) if form.lr_in_momentum else (1.0, lr)
        update = self._update(g, outer, beta1, beta2)
        if form.flipped == "update":
            update = -update
        if form.decay == "decoupled":
            update = update + lr * self.weight_decay * x
        elif form.decay == "without_lr":
            update = update + self.weight_decay * x
        self.x = x + update if form.flipped == "all" else x - update
        return self.x

    # Parts.

    @property
    def counted(self) -> int:
        """t as the form counts it, at least 1."""
        return max(self.t + self.form.count, 1)

    def correction(self, beta: Any, times: int, late: bool = False, of_m: bool = False) -> Any:
        """Return (1 − β^t)^times, with t − 1 for t if ``late``; for m, (1 − Π β1)^times where `by_product` is set."""
        t = self.t + self.form.count - late - self.delay
        if times == 0 or (t < 1 and (late or self.form.count_at_0 == "uncorrected")):
            return 1.0
        power = beta ** max(t, 1)
        if of_m:
            power = self.fn.where(self.by_product, self.products[1 + self.form.count if t > 0 else 1], power)
        return (1.0 - power) ** times

    def correction_of_m(self, beta1: Any) -> Any:
        return self.correction(beta1, self.form.correct_m, of_m=True)

    def average(self, g: Any, beta1: Any) -> Any:
        """Update the first moment, and return the value that the update uses."""
        form, g, self.previous_m = self.form, self.scale * g, self.m
        if form.first == "none":
            return g
        if form.first == "sum":
            self.m = form.options["momentum"] * self.m + g
        else:
            self.m = beta1 * self.m + ((1.0 - beta1) * g if form.complemented else g)
        return self.previous_m if form.old_m else self.m

    def squared(self, g: Any) -> Any:
        """Return the square that enters the second moment."""
        of = self.form.squares
        return g if of == "g" else self.m if of == "m" else g - (self.m if of == "belief" else self.previous_m)

    def square(self, g: Any, beta2: Any) -> Any:
        """Update the second moment, and return the value that the update uses."""
        form, fn, v, s, t = self.form, self.fn, self.v, self.squared(g), self.counted
        if form.second == "average":
            self.v = beta2 * v + (1.0 - beta2) * s * s + self.inner
        elif form.second == "centered":
            self.v = beta2 * v + (1.0 - beta2) * s * s
            self.mean = beta2 * self.mean + (1.0 - beta2) * s
            before, self.before = self.before, fn.maximum(self.v - self.mean * self.mean, 0.0)
            return before if form.old_v != "no" else self.before
        elif form.second == "mean":
            self.v = v + (s * s - v) / t
        elif form.second == "nostalgic":
            weight = t ** -form.options["gamma"]
            self.weights += weight
            self.v = v + (s * s - v) * (weight / self.weights)
        elif form.second == "yogi":
            self.v = v - (1.0 - beta2) * fn.sign(v - s * s) * s * s
        elif form.second == "sum":
            self.v = v + s * s
        elif form.second == "largest":
            self.v = fn.maximum(beta2 * v, abs(s) + (self.eps if form.eps_at == "before" else 0.0))
        return v if form.old_v != "no" else self.v

    def plain_root(self, v: Any) -> Any:
        """Return √v, or v if the form takes no root."""
        return self.fn.sqrt(v) if self.form.root else v

    def root(self, v: Any) -> Any:
        """Return √v with ε inside the root or added to it."""
        if self.form.eps_at.startswith("in"):
            return self.plain_root(v + self.eps) + (self.eps if self.form.eps_twice else 0.0)
        return self.plain_root(v) + self.eps

    def denominator(self, v: Any, beta2: Any, growth: Any = 1.0, power: Any = None) -> Any:
        """Return the divisor of m: the corrected root of v, with ε in the place that the form says."""
        form, fn = self.form, self.fn
        c = self.correction(beta2, form.correct_v, late=form.old_v == "counted")
        if form.maximum != "none":
            y = v / c if form.maximum == "corrected" else v
            before, self.largest = self.largest, fn.maximum(growth * self.largest, y)
            if not form.kept:
                v, self.largest = fn.maximum(before, y), y
            else:
                v = self.largest
            c = 1.0 if form.maximum == "corrected" else c
        early = form.eps_at.endswith("before")  # then c divides the base of the power
        y = self.root(v if early else v / c)
        y = y if power is None else fn.power(y, power)
        return y / self.plain_root(c) if early else y

    # Kinds.

    def _adam(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        form, options = self.form, self.form.options
        decay = options.get("beta1_decay", "none")
        b = beta1 * options["lam"] ** (self.counted - 1) if decay == "geometric" else beta1  # b is β1t
        b = beta1 / self.counted if decay == "harmonic" else b
        growth = ((1.0 - b) / (1.0 - self.previous_beta1)) ** 2 if form.name == "adamx" and self.t > 1 else 1.0
        self.previous_beta1 = b
        m, v = self.average(g, b), self.square(g, beta2)
        if form.second == "none":
            return lr * m
        if form.second == "largest":
            return lr * m / self.correction_of_m(beta1) / (v + self.eps if form.eps_at == "after" else v)
        power = 2.0 * options["p"] if "p" in options else None
        return lr * m / self.correction_of_m(beta1) / self.denominator(v, beta2, growth, power)

    def _bounded(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        m, v = self.average(g, beta1), self.square(g, beta2)
        size = lr / self.correction_of_m(beta1) / self.denominator(v, beta2)
        length = self.form.options["gamma"] * self.counted
        final = self.form.options["final_lr"] * lr / self.first_lr
        low, high = final * (1.0 - 1.0 / (length + 1.0)), final * (1.0 + 1.0 / length)
        return self.fn.minimum(self.fn.maximum(size, low), high) * m

    def _rectified(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        fn = self.fn
        m, v = self.average(g, beta1), self.square(g, beta2)
        t, longest = self.counted, 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * t * beta2**t / (1.0 - beta2**t)
        ratio = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        rectified = length > 5.0
        r = fn.sqrt(fn.where(rectified, ratio, 1.0))
        update = lr * m / self.correction_of_m(beta1)
        return fn.where(rectified, update * r / self.denominator(v, beta2), update)

    def _nesterov(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        m, v = self.average(g, beta1), self.square(g, beta2)
        psi, t, n = self.form.options["momentum_decay"], self.counted, self.form.correct_m
        mu, following = (beta1 * (1.0 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
        self.momenta = self.momenta * mu
        c, ahead = 1.0 - self.momenta, 1.0 - self.momenta * following
        g = self.scale * g
        return lr * ((1.0 - mu) / c**n * g + following / ahead**n * m) / self.denominator(v, beta2)

    def _adan(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        form = self.form
        d = g - self.previous_g if self.t > 1 else 0.0 * g
        self.previous_g = g
        ahead, beta3 = g + beta2 * d, form.options["beta3"]
        m = self.average(g, beta1)
        self.w = beta2 * self.w + (1.0 - beta2) * (self.scale * d)
        v = self.square(m if form.squares == "m" else ahead, beta3)
        of_w = self.correction(beta2, form.correct_m)
        of_d = 1.0 - beta2 if form.options.get("weight") == "complement" else beta2
        return lr * (m / self.correction_of_m(beta1) + of_d * self.w / of_w) / self.denominator(v, beta3)

    def _async(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        """Take a step of ACProp or of AvaGrad's released form, which use the denominator of the previous step."""
        form, v = self.form, self.v
        m = self.average(g, beta1)
        s = self.squared(g)
        # These rules are late already; "v_before_update" makes them late by one more step.
        self.v = beta2 * (v + (self.inner if self.t > 1 else 0.0)) + (1.0 - beta2) * s * s
        shown, self.before = (self.before if form.old_v != "no" else v), v
        late = self.correction(beta2, form.correct_v, late=True)
        if form.name == "avagrad":
            gamma, self.gamma = self.gamma, self.plain_root(v / self.correction(beta2, form.correct_v)) + self.eps
            return 0.0 * m if self.t == 1 else lr * gamma * m / self.correction_of_m(beta1) / self.root(shown / late)
        if self.t == 1:
            return lr * g
        shown = shown + self.inner
        if form.eps_at == "before":
            return lr * g / (self.root(shown) / self.plain_root(late))
        return lr * g / self.root(shown / late)

    def _shifted(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        n = self.form.options["n"]
        self.kept = [g, *self.kept[:n]]
        if len(self.kept) <= n:
            return 0.0 * g
        weights = [beta1**i for i in range(n)]
        m = sum(weight * each for weight, each in zip(weights, self.kept, strict=False))
        m = m / sum(weights) if self.form.complemented else m
        return lr * m / self.denominator(self.square(self.kept[n], beta2), beta2)

    def _ratio(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        v = self.square(g, beta2)
        delta = self.root(self.w) / self.root(v) * g
        self.w = beta2 * self.w + (1.0 - beta2) * delta * delta
        return lr * delta

    def _after(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        """Take a step of RMSprop, whose momentum accumulates divided gradients."""
        v = self.square(g, beta2)
        return lr * self.average(g / self.denominator(v, beta2), beta1)

    def _adopt(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        form, fn, v = self.form, self.fn, self.v
        if self.t == 1:
            self.v = self.before = g * g
            return 0.0 * g
        shown, self.before = (self.before if form.old_v != "no" else v), v
        self.v = beta2 * v + (1.0 - beta2) * g * g
        n = g / (fn.maximum(self.plain_root(shown), self.eps) if form.eps_at == "before" else self.root(shown))
        if form.options["clip"]:
            bound = max(self.t - 1 + form.count, 0) ** 0.25
            n = fn.maximum(fn.minimum(n, bound), -bound)
        return lr * self.average(n, beta1)

    def _lion(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        complement = (1.0 - beta1) if self.form.complemented else 1.0
        ahead = beta1 * self.m + complement * g
        self.m = beta2 * self.m + (1.0 - beta2) * g
        return lr * self.fn.sign(ahead)

    def _sign(self, g: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
        return lr * self.fn.sign(g)
