"""Compares an implementation's iterates with those of every candidate rule."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amsgrad_exp.identification.candidates import forms
from amsgrad_exp.identification.departures import DEPARTURES, OF_THE_WHOLE, departed, pairs
from amsgrad_exp.identification.form import ARRAYS, NUMBERS, Form, Walk
from amsgrad_exp.identification.probes import Floats, Probe

Observed = Mapping[str, Floats | None]
"""x by probe, float64 of shape (rows, elements): after every `Probe.every` steps; None of a probe that was not run."""


@dataclass(frozen=True)
class Precision:
    """How much the iterates of the same rule may differ.

    Attributes:
        of_path: by rounding in the update, relative to the length of x's path.
        of_x: by rounding of x itself, per step, relative to x.
        absolute, written: by rounding when x was written down, absolute and relative to x.
    """

    of_path: float
    of_x: float
    absolute: float = 0.0
    written: float = 0.0

    def allowed(self, probe: Probe, xs: Floats) -> Floats:
        """How far x of the same rule may be from these, of shape (rows, elements)."""
        all_x = np.nan_to_num(np.vstack([probe.start, xs]), posinf=0.0, neginf=0.0)
        path = np.cumsum(np.abs(np.diff(all_x, axis=0)), axis=0)
        largest = np.maximum.accumulate(np.abs(all_x), axis=0)[1:]
        steps = probe.every * np.arange(1, len(xs) + 1)[:, None]
        apart: Floats = self.of_path * path + (self.of_x * steps + self.written) * largest + self.absolute
        return apart


DOUBLE = Precision(1e-10, 2.0**-52)
SINGLE = Precision(1e-5, 2.0**-24)
RELATIVE = Precision(1.0, 0.0, written=1.0)
"""What a difference of x is relative to: how far x has gone, and x."""


class Candidates:
    """All forms of the rules and their single departures, run on the short probes.

    Args:
        probes: all probes.
        known: options of the implementation, by name.
        like: the only rule to compare with, and its options.
        codes: the departures to try.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        known: Mapping[str, Any],
        like: tuple[str, Mapping[str, Any]] | None,
        codes: tuple[str, ...],
    ) -> None:
        self.codes = codes
        self.short = [probe for probe in probes if probe.every == 1]
        self.lanes = [
            (probe, element, by_product)
            for probe in self.short
            for by_product in ((False, True) if probe.changes_beta1 else (False,))
            for element in range(probe.elements)
        ]
        self.bases = forms(known, like)
        singles = [single for base in self.bases for code in codes for single in departed(base, (code,))]
        self.forms = [*self.bases, *singles]
        with np.errstate(all="ignore"):
            self.xs = np.stack([self.walked(form) for form in self.forms])

    @property
    def steps(self) -> int:
        """How many steps every short probe has."""
        return self.short[0].steps

    def walk(self, form: Form) -> Walk:
        """A form at the start of every lane."""
        x, beta2, eps, decay, lr = self.starts
        return Walk(form, x, beta2, eps, decay, self._by_product, lr, ARRAYS)

    def walked(self, form: Form) -> Floats:
        """x of a form in every lane after every step, float64 of shape (steps, lanes)."""
        walk = self.walk(form)
        return np.stack([walk.step(*self.at(t)) for t in range(self.steps)])

    @functools.cached_property
    def starts(self) -> Floats:
        return np.array([(p.start[e], p.beta2, p.eps, p.weight_decay, p.lr[0]) for p, e, _ in self.lanes], np.float64).T

    @functools.cached_property
    def _by_product(self) -> Any:
        return np.array([by_product for *_, by_product in self.lanes])

    @functools.cached_property
    def _sequences(self) -> Floats:
        return np.array([(p.gradients[:, e], p.lr, p.beta1) for p, e, _ in self.lanes]).transpose(2, 1, 0)

    def at(self, t: int) -> Floats:
        """Gradients, step sizes and β1 of a step, counted from 0, of shape (3, lanes)."""
        of_step: Floats = self._sequences[t]
        return of_step


class Comparison:
    """The comparison of one implementation's iterates over the short probes with those of all candidates.

    Args:
        candidates: the candidates.
        observed: the implementation's iterates.
        precision: how much they may differ.
    """

    def __init__(self, candidates: Candidates, observed: Observed, precision: Precision) -> None:
        self.candidates, self.observed, self.precision = candidates, observed, precision
        self.probes = [probe for probe in candidates.short if observed.get(probe.name) is not None]
        names = {probe.name for probe in self.probes}
        self.chosen = np.array([probe.name in names for probe, *_ in candidates.lanes])
        self.lanes = [lane for lane in candidates.lanes if lane[0].name in names]
        self.xs = self._by_lane(lambda probe, xs: xs)
        self.allowed = self._by_lane(precision.allowed)
        self.scale = self._by_lane(RELATIVE.allowed)
        ways = list(dict.fromkeys((probe.name, by_product) for probe, _, by_product in self.lanes))
        self._ways = [[(p.name, by) == way for p, _, by in self.lanes] for way in ways]
        self._of_probe = [[way[0] == probe.name for way in ways] for probe in self.probes]
        self._plain = np.array([probe.name not in OF_THE_WHOLE.values() for probe, *_ in self.lanes])
        self._core = np.array([probe.name not in OF_THE_WHOLE.values() for probe in self.probes])

    def _by_lane(self, of: Callable[[Probe, Floats], Floats]) -> Floats:
        """Something of each probe and its iterates, of shape (steps, elements), in all lanes: (steps, lanes)."""
        values = {probe.name: of(probe, xs) for probe in self.probes if (xs := self.observed[probe.name]) is not None}
        return np.stack([values[probe.name][:, element] for probe, element, _ in self.lanes], axis=1)

    def apart(self, xs: Floats) -> Floats:
        """The distance between x and a candidate's x: 0 if both are not finite, ∞ if only one is."""
        finite, own = np.isfinite(xs), np.isfinite(self.xs)
        with np.errstate(all="ignore"):
            distance = np.abs(xs - self.xs)
        return np.where(finite & own, distance, np.where(finite == own, 0.0, np.inf))

    def seen(self, differs: Any) -> Any:
        """In which probes candidates differ, (…, probes), from the lanes in which they do, (…, lanes)."""
        by_way = np.stack([np.any(differs[..., way], axis=-1) for way in self._ways], axis=-1)
        return np.stack([np.all(by_way[..., of], axis=-1) for of in self._of_probe], axis=-1)

    def follows(self, form: Form) -> bool:
        """Whether a form has the same x on all probes but those of `OF_THE_WHOLE`, to the end."""
        walk = self.candidates.walk(form)
        differs = np.zeros(self.xs.shape[1], bool)
        for t in range(self.candidates.steps):
            xs = walk.step(*self.candidates.at(t))[self.chosen]
            differs |= ~(np.abs(xs - self.xs[t]) <= self.allowed[t]) & (np.isfinite(xs) | np.isfinite(self.xs[t]))
            if differs[self._plain].any():
                return False
        return True

    def closest(self) -> tuple[Form, bool]:
        """The simplest candidate with the same x on all probes, or else on all except those of `OF_THE_WHOLE`.

        If there is none, the candidate whose steps are most alike.
        """
        differs = self.seen((self.apart(self.candidates.xs[:, :, self.chosen]) > self.allowed).any(axis=1))
        for probes in (np.ones(len(self.probes), bool), self._core):
            same = ~differs[:, probes].any(axis=1)
            if same.any():
                return self.candidates.forms[int(np.argmax(same))], True
        return self._most_alike(), False

    def pair(self) -> Form | None:
        """The best known form with two departures that has the same x."""
        with np.errstate(all="ignore"):
            for base in self.candidates.bases:
                for form in pairs(base, self.candidates.codes):
                    if self.follows(form):
                        return form
        return None

    def _most_alike(self) -> Form:
        """The candidate whose moves are most like the implementation's, step by step."""
        start = self.candidates.starts[0][self.chosen]
        with np.errstate(all="ignore"):
            own = np.diff(np.vstack([start, self.xs]), axis=0)
            firsts = np.broadcast_to(start, (len(self.candidates.forms), 1, len(start)))
            moves = np.diff(np.concatenate([firsts, self.candidates.xs[:, :, self.chosen]], axis=1), axis=1)
            relative = np.abs(moves - own) / np.maximum(np.abs(moves), np.abs(own))
        relative[moves == own] = 0.0
        alike = np.nan_to_num(1.0 / (1.0 + 10.0 * relative)).mean(axis=(1, 2))
        departures = np.array([len(form.departures) for form in self.candidates.forms])
        return self.candidates.forms[int(np.argmax(alike - 0.1 * departures))]

    def differs(self, form: Form) -> set[str]:
        """The probes on which a form's x is another."""
        apart = self.apart(self.candidates.walked(form)[:, self.chosen])
        seen = self.seen((apart > self.allowed).any(axis=0))
        return {probe.name for probe, differs in zip(self.probes, seen, strict=True) if differs}

    def agreement(self, form: Form) -> Floats:
        """The largest difference of x on each probe, relative to how far x has gone, of shape (probes,)."""
        with np.errstate(all="ignore"):
            relative = self.apart(self.candidates.walked(form)[:, self.chosen]) / self.scale
        worst = np.nan_to_num(relative, nan=0.0, posinf=math.inf).max(axis=0)
        by_way = np.stack([worst[way].max() for way in self._ways])
        return np.array([by_way[of].min() for of in self._of_probe])

    def first(self, form: Form) -> dict[str, Any] | None:
        """Where x first differs from a form's: probe, step, and how far x moved there and would have moved."""
        with np.errstate(all="ignore"):
            start = self.candidates.starts[0]
            xs = np.vstack([start, self.candidates.walked(form)])[:, self.chosen]
            differs = self.apart(xs[1:]) > self.allowed
            probes = self.seen(differs)
            if not probes.any():
                return None
            step = int(np.argmax(probes.any(axis=1)))
            own = np.vstack([start[self.chosen], self.xs])
            moved, expected = own[step + 1] - own[step], xs[step + 1] - xs[step]
            relative = np.abs(moved - expected) / np.maximum(np.abs(moved), np.abs(expected))
        names = {probe.name for probe, differs_there in zip(self.probes, probes[step], strict=True) if differs_there}
        there = [i for i, lane in enumerate(self.lanes) if lane[0].name in names and differs[step, i]]
        lane = max(there, key=lambda i: (np.nan_to_num(relative[i], nan=math.inf), -i))
        return {
            "probe": self.lanes[lane][0].name,
            "step": step + 1,
            "moved": float(moved[lane]),
            "expected": float(expected[lane]),
        }


def walked(form: Form, probe: Probe) -> Floats:
    """x of a form after every `Probe.every` steps of a probe, float64 of shape (rows, elements)."""
    xs = np.empty((probe.steps // probe.every, probe.elements))
    lrs, beta1s = probe.lr.tolist(), probe.beta1.tolist()
    for element in range(probe.elements):
        start = float(probe.start[element])
        walk = Walk(form, start, probe.beta2, probe.eps, probe.weight_decay, False, lrs[0], NUMBERS)
        try:
            for t, g in enumerate(probe.gradients[:, element].tolist()):
                x = walk.step(g, lrs[t], beta1s[t])
                if (t + 1) % probe.every == 0:
                    xs[t // probe.every, element] = x
        except (ArithmeticError, ValueError):
            xs[t // probe.every :, element] = math.nan
    return xs


CODES = tuple(DEPARTURES)
