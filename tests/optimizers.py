"""Optimizers that misbehave, to be named by their import paths."""

from __future__ import annotations

import torch


class Faulty(torch.optim.SGD):
    """Raises at its tenth step."""

    steps = 0

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.steps += 1
        if self.steps == 10:
            raise ZeroDivisionError("by zero")
        super().step()


class Unsaveable(torch.optim.SGD):
    """Keeps what cannot be saved, from its first step on."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.param_groups[0]["how"] = lambda: None
        super().step()
