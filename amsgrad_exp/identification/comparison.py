"""Compares an implementation's iterates with those of every candidate form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from amsgrad_exp.identification.form import NUMBERS, Form, Walk
from amsgrad_exp.identification.known_forms import OF_THE_WHOLE, departed, departed_twice, forms
from amsgrad_exp.identification.probes import RELATIVE, Floats, Observed, Precision, Probe

Like = tuple[str, Mapping[str, Any]]
"""The name of the only rule to compare with, and some of its options."""


def distance(one: Floats, other: Floats) -> Floats:
    """Return |one − other|; it is 0 if neither is finite, and ∞ if only one is finite."""
    finite, too = np.isfinite(one), np.isfinite(other)
    return np.where(finite & too, np.abs(one - other), np.where(finite == too, 0.0, np.inf))


WAYS = (False, True)
"""Whether m is corrected by 1 − Π β1; both ways are tried where β1 changes."""


class Candidates:
    """All forms of the rules, and each form with each single departure, run on the short probes.

    Each element of a probe is a column of the arrays. If β1 changes in a probe, each element has two columns, which
    differ in how m is corrected. ``known`` has options of the implementation, ``codes`` the departures to try.
    """

    def __init__(
        self, probes: Sequence[Probe], known: Mapping[str, Any], like: Like | None, codes: tuple[str, ...]
    ) -> None:
        self.codes = codes
        self.probes = [probe for probe in probes if probe.every == 1]
        self.columns = [
            (probe, element, by_product)
            for probe in self.probes
            for by_product in WAYS[: 1 + probe.changes_beta1]
            for element in range(probe.elements)
        ]
        starts = [(p.start[e], p.beta2, p.eps, p.weight_decay, by, p.lr[0]) for p, e, by in self.columns]
        *self._starts, by_product, lr = np.array(starts, np.float64).T
        self._starts += [by_product.astype(bool), lr]
        self.start = self._starts[0]
        # Gradients, step sizes and β1, of shape (steps, 3, columns).
        self.sequences = np.array([(p.gradients[:, e], p.lr, p.beta1) for p, e, _ in self.columns]).transpose(2, 1, 0)
        self.bases = forms(known, like)
        self.forms = [*self.bases, *(single for base in self.bases for single in departed(base, codes))]
        self.xs = np.stack([self.walked(form) for form in self.forms])

    def walk(self, form: Form) -> Walk:
        """Return a form's `Walk` at the start of every column."""
        return Walk(form, *self._starts)

    def walked(self, form: Form) -> Floats:
        """Compute a form's x in every column after every step, float64 of shape (steps, columns)."""
        walk = self.walk(form)
        return np.stack([walk.step(*at) for at in self.sequences])


class Comparison:
    """Compares one implementation's iterates on the short probes with those of all candidates."""

    def __init__(self, candidates: Candidates, observed: Observed, precision: Precision) -> None:
        self.candidates, self.precision = candidates, precision
        known = {probe.name: xs for probe in candidates.probes if (xs := observed.get(probe.name)) is not None}
        self.probes = [probe for probe in candidates.probes if probe.name in known]
        self.chosen = np.array([probe.name in known for probe, *_ in candidates.columns])
        self.columns = [column for column in candidates.columns if column[0].name in known]
        self.start = candidates.start[self.chosen]

        def by_column(of: Callable[[Probe, Floats], Floats]) -> Floats:
            """Compute an array (steps, elements) of each probe and its iterates, and join them as (steps, columns)."""
            values = {probe.name: of(probe, known[probe.name]) for probe in self.probes}
            return np.stack([values[probe.name][:, element] for probe, element, _ in self.columns], axis=1)

        self.xs = by_column(lambda probe, xs: xs)
        self.allowed = by_column(precision.allowed)
        self.scale = by_column(RELATIVE.allowed)
        self._ways = [
            [[p is probe and by == way for p, _, by in self.columns] for way in WAYS[: 1 + probe.changes_beta1]]
            for probe in self.probes
        ]
        self._core = np.array([probe.name not in OF_THE_WHOLE.values() for probe in self.probes])
        self._core_columns = np.array([probe.name not in OF_THE_WHOLE.values() for probe, *_ in self.columns])

    def by_probe(self, values: Any) -> Any:
        """Return each probe's largest value over its columns, (…, probes); the better way to correct m counts."""
        return np.stack([np.min([values[..., way].max(-1) for way in ways], axis=0) for ways in self._ways], axis=-1)

    def walked(self, form: Form) -> Floats:
        """Return a form's x in the columns of the probes that were run, (steps, columns)."""
        return self.candidates.walked(form)[:, self.chosen]

    def updates(self, xs: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the updates of x, those of a candidate's x, (…, steps, columns), and their relative difference."""
        first = np.broadcast_to(self.start, (*xs.shape[:-2], 1, len(self.start)))
        own, theirs = np.diff(self.xs, axis=0, prepend=self.start[None]), np.diff(xs, axis=-2, prepend=first)
        return own, theirs, np.abs(own - theirs) / np.maximum(np.abs(own), np.abs(theirs))

    def follows(self, form: Form) -> bool:
        """Whether a form has the same x at all steps of all probes except those of `OF_THE_WHOLE`."""
        walk = self.candidates.walk(form)
        for own, allowed, at in zip(self.xs, self.allowed, self.candidates.sequences, strict=True):
            xs = walk.step(*at)[self.chosen]
            differs = ~(np.abs(xs - own) <= allowed) & (np.isfinite(xs) | np.isfinite(own))
            if differs[self._core_columns].any():
                return False
        return True

    def closest(self) -> tuple[Form, bool]:
        """Return the simplest candidate with the same x on all probes, or else on all except those of `OF_THE_WHOLE`.

        If there is none, return the candidate with the most similar updates, and False.
        """
        candidates = self.candidates
        xs = candidates.xs[:, :, self.chosen]
        differs = self.by_probe((distance(xs, self.xs) > self.allowed).any(axis=1))
        for probes in (np.ones(len(self.probes), bool), self._core):
            same = ~differs[:, probes].any(axis=1)
            if same.any():
                return candidates.forms[int(np.argmax(same))], True
        own, theirs, relative = self.updates(xs)
        relative[theirs == own] = 0.0
        alike = np.nan_to_num(1.0 / (1.0 + 10.0 * relative)).mean(axis=(1, 2))
        departures = np.array([len(form.departures) for form in candidates.forms])
        return candidates.forms[int(np.argmax(alike - 0.1 * departures))], False

    def pair(self) -> Form | None:
        """Return the best known form that has the same x with two departures; None if there is none."""
        pairs = (form for base in self.candidates.bases for form in departed_twice(base, self.candidates.codes))
        return next((form for form in pairs if self.follows(form)), None)

    def differs(self, form: Form) -> set[str]:
        """Return the probes on which a form's x differs."""
        seen = self.by_probe((distance(self.walked(form), self.xs) > self.allowed).any(axis=0))
        return {probe.name for probe, differs in zip(self.probes, seen, strict=True) if differs}

    def agreement(self, form: Form) -> dict[str, float]:
        """Return the largest difference of x on each probe, relative to the length of x's path."""
        relative = np.nan_to_num(distance(self.walked(form), self.xs) / self.scale, nan=0.0, posinf=math.inf)
        worst = self.by_probe(relative.max(axis=0)).tolist()
        return {probe.name: value for probe, value in zip(self.probes, worst, strict=True)}

    def first(self, form: Form) -> dict[str, Any] | None:
        """Return the first difference of x from a form's: the probe, the step, and the actual and expected updates."""
        xs = self.walked(form)
        differs = distance(xs, self.xs) > self.allowed
        probes = self.by_probe(differs)
        if not probes.any():
            return None
        step = int(np.argmax(probes.any(axis=1)))
        names = {probe.name for probe, differs_there in zip(self.probes, probes[step], strict=True) if differs_there}
        moved, expected, relative = (each[step] for each in self.updates(xs))
        there = [i for i, column in enumerate(self.columns) if column[0].name in names and differs[step, i]]
        column = max(there, key=lambda i: (np.nan_to_num(relative[i], nan=math.inf), -i))
        name = self.columns[column][0].name
        return {"probe": name, "step": step + 1, "moved": float(moved[column]), "expected": float(expected[column])}


def walked(form: Form, probe: Probe) -> Floats:
    """Compute a form's x after every `Probe.every` steps of a probe, float64 of shape (rows, elements)."""
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
