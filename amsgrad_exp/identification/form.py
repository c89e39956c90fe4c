"""Describes a rule by its parts, so that single parts can be exchanged to model departures.

The parts are checked against the package's rules (tests/test_identify.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal[
    "adam", "bounded", "rectified", "nesterov", "adan", "async", "shifted", "ratio", "after", "adopt", "lion", "sign"
]


@dataclass(frozen=True)
class Form:
    """The parts of one rule, or of a rule with departures.

    Attributes:
        name: the rule's name.
        options: the rule's own settings, by name.
        kind: how gradient, moments and denominator are combined.
        first: the first moment: a moving average, a decaying sum (heavy ball), or none, which means the gradient.
        second: how the second moment combines squares: a moving average, their mean, a mean with weights k^−γ, Yogi's,
            their sum, a decaying maximum, a moving average minus the mean's square, or not at all.
        squares: what is squared: g, m_t, g − m_t or g − m_{t−1}.
        correct_m, correct_v: how often the bias is corrected.
        eps_at: ε is added to the root of the corrected v (after) or of the uncorrected v (before), or in either root.
        eps_twice: whether ε that is in the root is also added to it.
        eps, inner_eps: whether there is ε in the denominator; whether it is also added to v at every step.
        outside: whether the correction of v multiplies the step instead of dividing v, which differs for powers.
        maximum: the v whose largest value so far is used, if any.
        kept: whether the largest v is stored from step to step.
        count: the number that is added to t in corrections and other functions of t.
        count_at_0: what happens if that makes t 0: t is 1, or nothing is corrected.
        old_m, old_v: whether the update uses the moments from before this step.
        complemented: whether g is multiplied by 1 − β1 in the first moment.
        decay: weight decay: none, coupled, decoupled, or without lr.
        flipped: whether the update has the opposite sign, including or excluding the weight decay.
        lr_in_momentum, swapped, root: as in the departures with these names.
        departures: the codes of the departures that were made.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "adam"
    first: Literal["average", "sum", "none"] = "average"
    second: Literal["average", "mean", "nostalgic", "yogi", "sum", "largest", "centered", "none"] = "average"
    squares: Literal["g", "m", "belief", "belief_before"] = "g"
    correct_m: int = 1
    correct_v: int = 1
    eps_at: Literal["after", "before", "in_after", "in_before"] = "after"
    eps_twice: bool = False
    eps: bool = True
    inner_eps: bool = False
    outside: bool = False
    maximum: Literal["none", "uncorrected", "corrected"] = "none"
    kept: bool = True
    count: int = 0
    count_at_0: Literal["one", "uncorrected"] = "one"
    old_m: bool = False
    old_v: Literal["no", "yes", "counted"] = "no"
    complemented: bool = True
    decay: Literal["none", "coupled", "decoupled", "without_lr"] = "none"
    lr_in_momentum: bool = False
    flipped: Literal["no", "all", "update"] = "no"
    swapped: bool = False
    root: bool = True
    departures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic functions, for Python numbers or for arrays."""

    sqrt: Callable[[Any], Any]
    power: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    where: Callable[[Any, Any, Any], Any]
    sign: Callable[[Any], Any]


ARRAYS = Arithmetic(np.sqrt, np.power, np.maximum, np.minimum, np.where, np.sign)
NUMBERS = Arithmetic(
    math.sqrt,
    math.pow,
    lambda y, z: y if y > z else z,
    lambda y, z: y if y < z else z,
    lambda condition, y, z: y if condition else z,
    lambda y: float((y > 0) - (y < 0)),
)


class Walk:
    """Runs a form: `step` takes one step of x, for all lanes at once.

    Args:
        form: the form to run.
        x: the start, a number or float64 of shape (lanes,).
        beta2, eps, weight_decay: settings, of the same shape.
        by_product: where m is corrected by 1 − Π β1 instead of 1 − β1^t, which differs if β1 changes.
        lr: α of the first step, to which AdaBound's bounds are relative.
    """

    def __init__(
        self, form: Form, x: Any, beta2: Any, eps: Any, weight_decay: Any, by_product: Any, lr: Any, fn: Arithmetic
    ) -> None:
        self.form, self.fn = form, fn
        self.x, self.beta2, self.weight_decay, self.by_product, self.first_lr = x, beta2, weight_decay, by_product, lr
        self.inner = eps if form.inner_eps else 0.0
        self.eps = eps if form.eps else 0.0
        start = 1e-6 if form.second == "yogi" else 0.0
        zero = 0.0 * x
        self.m, self.v, self.w, self.largest = start + zero, start + zero, zero, zero
        self.before, self.gamma, self.mean = zero, zero, zero
        self.previous_g, self.previous_beta1, self.before_m = zero, zero, zero
        self.products = [1.0 + zero, 1.0 + zero, 1.0 + zero]  # of β1: before this step, with it, and once more
        self.momenta, self.weights = 1.0 + zero, 0.0
        self.kept: list[Any] = []
        self.t, self.delay = 0, form.options["n"] if form.kind == "shifted" else 0
        self._move = getattr(self, f"_{form.kind}")

    def step(self, g: Any, lr: Any, beta1: Any) -> Any:
        """Take one step and return x."""
        form, x = self.form, self.x
        self.t += 1
        beta1, beta2 = (self.beta2, beta1) if form.swapped else (beta1, self.beta2)
        self.products = [self.products[1], self.products[1] * beta1, self.products[1] * beta1 * beta1]
        if form.decay == "coupled":
            g = g + self.weight_decay * x
        move = self._move(g, 1.0 if form.lr_in_momentum else lr, beta1, beta2, lr if form.lr_in_momentum else None)
        if form.flipped == "update":
            move = -move
        if form.decay == "decoupled":
            move = move + lr * self.weight_decay * x
        elif form.decay == "without_lr":
            move = move + self.weight_decay * x
        self.x = x + move if form.flipped == "all" else x - move
        return self.x

    # Parts.

    @property
    def counted(self) -> int:
        """t as the form counts it, at least 1."""
        return max(self.t + self.form.count, 1)

    def correction(self, beta: Any, times: int, late: bool = False) -> Any:
        """1 − β^t, or that of t − 1, to the power of how often it is applied."""
        t = self.t + self.form.count - late - self.delay
        if times == 0 or (t < 1 and (late or self.form.count_at_0 == "uncorrected")):
            return 1.0
        return (1.0 - beta ** max(t, 1)) ** times

    def correction_of_m(self, beta1: Any) -> Any:
        """1 − β1^t or 1 − Π β1."""
        form, t = self.form, self.t + self.form.count
        if form.correct_m == 0 or (t < 1 and form.count_at_0 == "uncorrected"):
            return 1.0
        product = self.products[1 + form.count] if t > 0 else self.products[1]
        return (1.0 - self.fn.where(self.by_product, product, beta1 ** max(t, 1))) ** form.correct_m

    def decayed(self, beta1: Any) -> Any:
        """β1t."""
        kind = self.form.options.get("beta1_decay", "none")
        if kind == "geometric":
            return beta1 * self.form.options["lam"] ** (self.counted - 1)
        return beta1 / self.counted if kind == "harmonic" else beta1

    def average(self, g: Any, beta1: Any, lr: Any = None) -> Any:
        """The first moment after this step; what the update uses of it is returned."""
        form, before = self.form, self.m
        self.before_m = before
        g = g if lr is None else lr * g
        if form.first == "none":
            return g
        if form.first == "sum":
            self.m = form.options["momentum"] * before + g
        else:
            self.m = beta1 * before + ((1.0 - beta1) * g if form.complemented else g)
        return before if form.old_m else self.m

    def squared(self, g: Any) -> Any:
        """What the second moment is of."""
        of = self.form.squares
        return g if of == "g" else self.m if of == "m" else g - (self.m if of == "belief" else self.before_m)

    def square(self, g: Any, m: Any, beta2: Any) -> Any:
        """The second moment after this step; what the update uses of it is returned."""
        form, v = self.form, self.v
        s, t = self.squared(g), self.counted
        if form.second == "average":
            self.v = beta2 * v + (1.0 - beta2) * s * s + self.inner
        elif form.second == "centered":
            self.v = beta2 * v + (1.0 - beta2) * s * s
            self.mean = beta2 * self.mean + (1.0 - beta2) * s
            before, self.before = self.before, self.fn.maximum(self.v - self.mean * self.mean, 0.0)
            return before if form.old_v != "no" else self.before
        elif form.second == "mean":
            self.v = v + (s * s - v) / t
        elif form.second == "nostalgic":
            weight = t ** -form.options["gamma"]
            self.weights += weight
            self.v = v + (s * s - v) * (weight / self.weights)
        elif form.second == "yogi":
            self.v = v - (1.0 - beta2) * self.fn.sign(v - s * s) * s * s
        elif form.second == "sum":
            self.v = v + s * s
        elif form.second == "largest":
            self.v = self.fn.maximum(beta2 * v, abs(s) + (self.eps if form.eps_at == "before" else 0.0))
        return v if form.old_v != "no" else self.v

    def rooted(self, v: Any, power: Any = None) -> Any:
        """√v, or v if there is no root, raised to a power if there is one."""
        y = self.fn.sqrt(v) if self.form.root else v
        return y if power is None else self.fn.power(y, power)

    def denominator(self, v: Any, beta2: Any, growth: Any = 1.0, power: Any = None) -> Any:
        """The divisor of m: the corrected root of v, with ε at its place."""
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
        at = form.eps_at
        inside = form.outside and at in ("before", "in_before")
        y = v if at.endswith("before") else v / c
        if at.startswith("in"):
            y = self.rooted(y + self.eps) + (self.eps if form.eps_twice else 0.0)
        else:
            y = self.rooted(y) + self.eps
        if power is not None and inside:
            y = fn.power(y, power)
        if at.endswith("before"):
            y = y / self.rooted(c)
        return fn.power(y, power) if power is not None and not inside else y

    # Kinds.

    def _adam(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        options = self.form.options
        b = self.decayed(beta1)
        growth: Any = 1.0
        if self.form.name == "adamx" and self.t > 1:
            growth = ((1.0 - b) / (1.0 - self.previous_beta1)) ** 2
        self.previous_beta1 = b
        m = self.average(g, b, inner)
        v = self.square(g, m, beta2)
        if self.form.second == "none":
            return lr * m
        if self.form.second == "largest":
            u = v + self.eps if self.form.eps_at == "after" else v
            return lr * m / self.correction_of_m(beta1) / u
        power = 2.0 * options["p"] if "p" in options else None
        return lr * m / self.correction_of_m(beta1) / self.denominator(v, beta2, growth, power)

    def _bounded(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        m = self.average(g, beta1, inner)
        v = self.square(g, m, beta2)
        size = (1.0 if inner is not None else lr) / self.correction_of_m(beta1) / self.denominator(v, beta2)
        length = self.form.options["gamma"] * self.counted
        final = self.form.options["final_lr"] * lr / self.first_lr
        low, high = final * (1.0 - 1.0 / (length + 1.0)), final * (1.0 + 1.0 / length)
        return self.fn.minimum(self.fn.maximum(size, low), high) * m

    def _rectified(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        fn = self.fn
        m = self.average(g, beta1, inner)
        v = self.square(g, m, beta2)
        t, longest = self.counted, 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * t * beta2**t / (1.0 - beta2**t)
        ratio = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        rectified = length > 5.0
        r = fn.sqrt(fn.where(rectified, ratio, 1.0))
        move = lr * m / self.correction_of_m(beta1)
        return fn.where(rectified, move * r / self.denominator(v, beta2), move)

    def _nesterov(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        m = self.average(g, beta1, inner)
        v = self.square(g, m, beta2)
        psi, t = self.form.options["momentum_decay"], self.counted
        mu, following = (beta1 * (1.0 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
        self.momenta = self.momenta * mu
        c, ahead = 1.0 - self.momenta, 1.0 - self.momenta * following
        n = self.form.correct_m
        g = g if inner is None else inner * g
        return lr * ((1.0 - mu) / c**n * g + following / ahead**n * m) / self.denominator(v, beta2)

    def _adan(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        form = self.form
        d = g - self.previous_g if self.t > 1 else 0.0 * g
        self.previous_g = g
        ahead, beta3 = g + beta2 * d, form.options["beta3"]
        m = self.average(g, beta1, inner)
        self.w = beta2 * self.w + (1.0 - beta2) * (d if inner is None else inner * d)
        v = self.square(m if form.squares == "m" else ahead, m, beta3)
        of_w = self.correction(beta2, form.correct_m)
        of_d = 1.0 - beta2 if form.options.get("weight") == "complement" else beta2
        return lr * (m / self.correction_of_m(beta1) + of_d * self.w / of_w) / self.denominator(v, beta3)

    def _async(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        """ACProp and AvaGrad's released form: the denominator is the step before's."""
        form, fn, v, released = self.form, self.fn, self.v, self.form.name == "avagrad"
        m = self.average(g, beta1, inner)
        s = self.squared(g)
        # "v_before_update" of a rule that is late already is one step more.
        self.v = beta2 * (v + (self.inner if self.t > 1 else 0.0)) + (1.0 - beta2) * s * s
        shown, self.before = (self.before if form.old_v != "no" else v), v
        late = self.correction(beta2, form.correct_v, late=True)
        if released:
            gamma, self.gamma = self.gamma, self.rooted(v / self.correction(beta2, form.correct_v)) + self.eps
            if self.t == 1:
                return 0.0 * m
            y = self.rooted(shown / late + (self.eps if form.eps_at.startswith("in") else 0.0))
            y = y + (0.0 if form.eps_at.startswith("in") else self.eps)
            return lr * gamma * m / self.correction_of_m(beta1) / y
        if self.t == 1:
            return lr * g
        shown = shown + self.inner
        if form.eps_at.startswith("in"):
            return lr * g / fn.sqrt(shown / late + self.eps)
        if form.eps_at == "before":
            return lr * g / ((self.rooted(shown) + self.eps) / self.rooted(late))
        return lr * g / (self.rooted(shown / late) + self.eps)

    def _shifted(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        n = self.form.options["n"]
        self.kept = [g, *self.kept[:n]]
        if len(self.kept) <= n:
            return 0.0 * g
        weights = [beta1**i for i in range(n)]
        m = sum(weight * each for weight, each in zip(weights, self.kept, strict=False))
        m = m / sum(weights) if self.form.complemented else m
        return lr * m / self.denominator(self.square(self.kept[n], m, beta2), beta2)

    def _ratio(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        """Adadelta."""
        v = self.square(g, g, beta2)
        if self.form.eps_at == "after":
            delta = (self.rooted(self.w) + self.eps) / (self.rooted(v) + self.eps) * g
        else:
            delta = self.rooted(self.w + self.eps) / self.rooted(v + self.eps) * g
        self.w = beta2 * self.w + (1.0 - beta2) * delta * delta
        return lr * delta

    def _after(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        """RMSprop: momentum is of gradients that have been divided."""
        v = self.square(g, g, beta2)
        return lr * self.average(g / self.denominator(v, beta2), beta1, inner)

    def _adopt(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        form, fn, v = self.form, self.fn, self.v
        if self.t == 1:
            self.v = self.before = g * g
            return 0.0 * g
        shown, self.before = (self.before if form.old_v != "no" else v), v
        self.v = beta2 * v + (1.0 - beta2) * g * g
        if form.eps_at.startswith("in"):
            y = fn.sqrt(shown + self.eps)
        else:
            y = self.rooted(shown) + self.eps if form.eps_at == "after" else fn.maximum(self.rooted(shown), self.eps)
        n = g / y
        if form.options["clip"]:
            bound = max(self.t - 1 + form.count, 0) ** 0.25
            n = fn.maximum(fn.minimum(n, bound), -bound)
        return lr * self.average(n, beta1, inner)

    def _lion(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        complement = (1.0 - beta1) if self.form.complemented else 1.0
        ahead = beta1 * self.m + complement * g
        self.m = beta2 * self.m + (1.0 - beta2) * g
        return lr * self.fn.sign(ahead)

    def _sign(self, g: Any, lr: Any, beta1: Any, beta2: Any, inner: Any) -> Any:
        return lr * self.fn.sign(g)
