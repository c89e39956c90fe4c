"""Identifies an optimizer by its name or by given iterates, and writes the probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification import table
from amsgrad_exp.identification.answer import Answer, Like, answer
from amsgrad_exp.identification.candidates import form, rule_named
from amsgrad_exp.identification.compare import Observed, walked
from amsgrad_exp.identification.probes import Probe, probes
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.read import option_value

USUAL_EPS = (1e-7, 1e-6, 1e-10, 1e-16)
"""What ε is inside optimizers whose constructors do not take it, beside 1e-8."""


def of_optimizer(
    name: str, settings: Mapping[str, float], options: Mapping[str, str], like: Like | None, *, long: bool = True
) -> Answer:
    """Identify an optimizer by its name.

    Args:
        name: a registered name or an import path.
        settings: lr, beta1, beta2 and eps, to replace the probes' own values.
        options: its own settings, each written as in YAML.
        like: the rule to compare with, and some of its options.
        long: whether to run the probe of 10^5 steps too.

    Raises:
        ConfigError: there is no such optimizer or setting, or the optimizer is not deterministic.
        RunFailed: it raised an exception, or x was never finite.
    """
    from amsgrad_exp.identification.build import built

    target = built(name, settings, options)
    chosen = [probe for probe in probes(target.settings) if long or probe.every == 1]
    observed = target.observe(chosen)
    known = target.known
    first = answer(name, chosen, observed, known=known, like=like, thorough=False)
    if first.explained:
        return _with_assumed(first, target.assumed)
    for guess in _guesses(chosen, observed, target.assumed, known):
        supposed = [dataclasses.replace(probe, **guess) for probe in chosen]
        found = answer(name, supposed, observed, known={**known, **guess}, like=like, thorough=False)
        if found.explained:
            return _with_assumed(found, {**target.assumed, **guess})
    found = answer(name, chosen, observed, known=known, like=like)
    return _with_assumed(found, target.assumed)


def _with_assumed(found: Answer, assumed: Mapping[str, float]) -> Answer:
    """An answer with those assumed settings that the rule uses."""
    known = OPTIMIZERS[found.form.name]
    settings = known.rule(known.options.model_validate(dict(found.form.options))).settings
    said = {name: value for name, value in assumed.items() if name in settings or name == "weight_decay"}
    return dataclasses.replace(found, assumed=said)


def of_iterates(path: Path, settings: Mapping[str, float], options: Mapping[str, str], like: Like | None) -> Answer:
    """Identify an implementation by its iterates over the probes, as `table.read` reads them.

    Args:
        path: the file.
        settings: lr, beta1, beta2 and eps, which must be those of the file.
        options: the implementation's own settings, by the names of a rule's options.
        like: the rule to compare with, and some of its options.

    Raises:
        ConfigError: it is not such a file, is not filled in, or has other settings.
        OSError: it cannot be read.
    """
    chosen, observed, precision = table.read(path, settings)
    known = {name: option_value(name, text) for name, text in options.items()}
    known |= {"weight_decay": chosen[0].weight_decay} if chosen[0].weight_decay else {}
    return answer(str(path), chosen, observed, known=known, like=like, precision=precision)


def probes_of(name: str | None, settings: Mapping[str, float], options: Mapping[str, str]) -> str:
    """The probes as CSV, with the iterates of a rule or an imported optimizer, or to be filled in.

    Args:
        name: a registered rule, an import path, or None.
        settings: lr, beta1, beta2 and eps, to replace the probes' own values.
        options: the optimizer's own settings; without an optimizer, only ``weight_decay``.

    Raises:
        ConfigError: there is no such optimizer, setting or option.
        RunFailed: the optimizer raised an exception.
    """
    given = {option: option_value(option, text) for option, text in options.items()}
    if name is None:
        if others := given.keys() - {"weight_decay"}:
            raise ConfigError(f"without an optimizer the only option is weight_decay, not {min(others)}")
        if not all(isinstance(value, int | float) for value in given.values()):
            raise ConfigError(f"weight_decay must be a number, not {options['weight_decay']!r}")
        return table.written(probes({**settings, **given}))
    if name in OPTIMIZERS:
        said = ",".join(f"{option}={text}" for option, text in options.items())
        each = form(*rule_named(f"{name}:{said}" if said else name))
        own = {"weight_decay": each.options["weight_decay"]} if "weight_decay" in each.options else {}
        chosen = probes({**settings, **own})
        return table.written(chosen, {probe.name: walked(each, probe) for probe in chosen})
    from amsgrad_exp.identification.build import built

    target = built(name, settings, options)
    chosen = probes({**target.settings, **settings})
    return table.written(chosen, target.observe(chosen))


def _guesses(
    chosen: Sequence[Probe], observed: Observed, assumed: Mapping[str, float], known: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Settings that an optimizer may have without revealing them."""
    (still,) = (probe for probe in chosen if probe.name == "x not 0")
    xs = observed[still.name]
    if "weight_decay" not in known and xs is not None and xs[0, 0] != still.start[0]:
        shrunk = float(1 - xs[0, 0] / still.start[0])
        guesses = (shrunk / float(still.lr[0]), shrunk, 0.01)
        yield from ({"weight_decay": float(f"{decay:.10g}")} for decay in guesses if decay > 0)
    if "eps" in assumed:
        for eps in USUAL_EPS:
            yield {"eps": eps}
