"""An optimizer by its name, run on the probes and identified."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from amsgrad_exp.identification.answer import Answer, Like, answer
from amsgrad_exp.identification.build import built
from amsgrad_exp.identification.compare import Observed
from amsgrad_exp.identification.observe import observe
from amsgrad_exp.identification.probes import Probe, probes

USUAL_EPS = (1e-7, 1e-6, 1e-10, 1e-16)
"""What ε is inside optimizers whose constructors do not take it, beside 1e-8."""


def of_optimizer(
    name: str, settings: Mapping[str, float], options: Mapping[str, str], like: Like | None, *, long: bool = True
) -> Answer:
    """Identify an optimizer by its name.

    Args:
        name: a registered one, or an import path.
        settings: lr, beta1, beta2 and eps, where all probes are to have others than their own.
        options: its own settings, each as YAML writes it.
        like: the rule to compare with, and some of its options.
        long: whether to run the probe of 10^5 steps, too.

    Raises:
        ConfigError: there is no such optimizer, it takes no such setting, or does not repeat itself.
        RunFailed: it raised, or x was never a finite number.
    """
    target = built(name, settings, options)
    chosen = [probe for probe in probes(target.settings) if long or probe.every == 1]
    observed = observe(name, target.make, chosen)
    known = target.known
    first = answer(name, chosen, observed, known=known, like=like, thorough=False)
    if first.explained:
        return dataclasses.replace(first, assumed=target.assumed)
    for guess in _guesses(chosen, observed, target.assumed, known):
        supposed = [dataclasses.replace(probe, **guess) for probe in chosen]
        found = answer(name, supposed, observed, known={**known, **guess}, like=like, thorough=False)
        if found.explained:
            return dataclasses.replace(found, assumed={**target.assumed, **guess})
    found = answer(name, chosen, observed, known=known, like=like)
    return dataclasses.replace(found, assumed=target.assumed)


def _guesses(
    chosen: Sequence[Probe], observed: Observed, assumed: Mapping[str, float], known: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Settings that may be inside an optimizer that does not say them."""
    (still,) = (probe for probe in chosen if probe.name == "x not 0")
    xs = observed[still.name]
    if "weight_decay" not in known and xs is not None and xs[0, 0] != still.start[0]:
        shrunk = float(1 - xs[0, 0] / still.start[0])
        for decay in (shrunk / float(still.lr[0]), shrunk, 0.01):
            yield {"weight_decay": float(f"{decay:.10g}")}
    if "eps" in assumed:
        for eps in USUAL_EPS:
            yield {"eps": eps}
