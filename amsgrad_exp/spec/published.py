"""Looks up the default settings that an optimizer's authors or its library publish."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.foreign import REFERENCE_KINDS, imported_optimizer

LR = 1e-3  # for a class without a default


def published(name: str, without: Collection[str] = ()) -> dict[str, Any]:
    """The optimizer's own defaults of lr and, if it has them, of beta1, beta2, eps and optimized_update.

    Args:
        name: a registered name, or an import path, which is imported.
        without: arguments of an imported class to leave out.

    Raises:
        ConfigError: it cannot be imported.
    """
    if name in OPTIMIZERS:
        return dict(OPTIMIZERS[name].defaults)
    if "." not in name:
        return {}  # rejected when the experiment is completed
    own = {
        argument: parameter.default
        for argument, parameter in imported_optimizer(name).parameters.items()
        if parameter.default is not parameter.empty and argument not in without
    }
    lr = own.get("lr")
    found: dict[str, Any] = {"lr": lr if isinstance(lr, int | float) and not isinstance(lr, bool) else LR}
    if REFERENCE_KINDS["betas"](own.get("betas")):
        found["beta1"], found["beta2"] = own["betas"]
    for argument in ("eps", "optimized_update"):
        if REFERENCE_KINDS[argument](own.get(argument)):
            found[argument] = own[argument]
    return found
