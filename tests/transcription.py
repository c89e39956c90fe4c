"""The papers' recurrences in plain Python, one line a formula: an independent source for every engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from amsgrad_exp.problems.base import Problem


@dataclass
class Transcribed:
    """Every step of a run in double precision: x_t and f_t(x_t) − f_t(x*) for each t, and x_T."""

    xs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    x: float = 0.0


def transcribe(
    problem: Problem,
    step_sizes: list[float],
    *,
    amsgrad: bool,
    beta1: float,
    beta2: float,
    eps: float,
    optimized_update: bool,
    seed: int = 0,
) -> Transcribed:
    run = Transcribed(x=problem.start)
    m = v = v_hat = 0.0
    for t, slope in enumerate(problem.coefficients(0, len(step_sizes), seed)[0].tolist()):
        run.xs.append(run.x)
        run.losses.append(slope * run.x - slope * problem.optimum)
        m = beta1 * m + (1 - beta1) * slope
        v = beta2 * v + (1 - beta2) * slope**2
        v_hat = max(v_hat, v) if amsgrad else v
        bias_correction1, bias_correction2 = 1 - beta1 ** (t + 1), 1 - beta2 ** (t + 1)
        if optimized_update:
            step = step_sizes[t] * math.sqrt(bias_correction2) / bias_correction1 * m / (math.sqrt(v_hat) + eps)
        else:
            step = step_sizes[t] * (m / bias_correction1) / (math.sqrt(v_hat / bias_correction2) + eps)
        run.x = min(max(run.x - step, problem.low), problem.high)
    return run
