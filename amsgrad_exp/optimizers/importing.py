"""Optimizers of other people, by import path."""

from __future__ import annotations

import importlib
import inspect

from torch.optim.optimizer import Optimizer


def import_optimizer(path: str) -> type[Optimizer]:
    """The optimizer class named by an import path such as ``torch.optim.NAdam``.

    Raises:
        ValueError: nothing can be imported under the path, or what it names is not an Optimizer class.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (Exception, SystemExit) as error:  # importing somebody's module may raise anything
        raise ValueError(f"optimizer {path} cannot be imported: {error}") from error
    if (
        not (isinstance(found, type) and issubclass(found, Optimizer))
        or inspect.isabstract(found)
        or found is Optimizer
    ):
        raise ValueError(f"optimizer {path} is not a torch.optim.Optimizer class")
    return found
