"""What an imported optimizer's constructor takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

# A reference setting is for optimizers whose own default is of its kind: not for ε as a pair, nor for three betas.
REFERENCE_KINDS: dict[str, Callable[[Any], bool]] = {
    "betas": lambda default: default is inspect.Parameter.empty or (isinstance(default, tuple) and len(default) == 2),
    "eps": lambda default: default is inspect.Parameter.empty or isinstance(default, int | float),
    "optimized_update": lambda default: isinstance(default, bool),
}
