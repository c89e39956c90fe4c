"""Runs a torch optimizer on the probes in double precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.torch_step import raised, sees_gradients_alone, update_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.identification.probes import Floats, Probe

Make = Callable[[list[torch.nn.Parameter], Probe], Optimizer]


def observe(name: str, make: Make, probes: Sequence[Probe]) -> dict[str, Floats | None]:
    """x of an optimizer after every `Probe.every` steps of each probe; None for a probe that cannot be run.

    Args:
        name: the optimizer's name in messages.
        make: makes the optimizer from parameters, with a probe's settings.
        probes: the probes to run.

    Raises:
        ConfigError: two runs of one probe differ.
        RunFailed: it raised an exception, or x was never finite.
    """
    with _double_precision():
        observed = {probe.name: _run(name, make, probe) for probe in probes}
        for probe in [probe for probe in probes if probe.every == 1][:1]:
            again, before = _run(name, make, probe), observed[probe.name]
            if not np.array_equal(np.asarray(again), np.asarray(before), equal_nan=True):
                raise ConfigError(
                    f"{name} is not deterministic: it draws random numbers, or shares something between instances"
                )
    if not any(xs is not None and np.isfinite(xs).any() for xs in observed.values()):
        raise RunFailed(f"{name}: x is not finite at any step of any probe")
    return observed


def _run(name: str, make: Make, probe: Probe) -> Floats | None:
    start = torch.from_numpy(probe.start.copy())
    pieces = probe.elements if probe.apart else 1
    params = [torch.nn.Parameter(part.clone()) for part in start.chunk(pieces)]
    optimizer = make(params, probe)
    changes_beta1 = probe.changes_beta1
    if changes_beta1 and not all(_set_beta1(group, probe.beta1[0]) for group in optimizer.param_groups):
        return None
    gradients = torch.from_numpy(probe.gradients.copy())
    update = update_of(optimizer)
    lean = all(sees_gradients_alone(optimizer, param) for param in params)
    lrs, beta1s = probe.lr.tolist(), probe.beta1.tolist()
    xs = np.empty((probe.steps // probe.every, probe.elements))
    for t in range(probe.steps):
        for group in optimizer.param_groups:
            group["lr"] = lrs[t]
            if changes_beta1:
                _set_beta1(group, beta1s[t])
        parts = gradients[t].chunk(pieces)
        try:
            if lean:
                for param, part in zip(params, parts, strict=True):
                    param.grad = part.clone()
                update()
            else:
                optimizer.zero_grad()
                for param, part in zip(params, parts, strict=True):
                    (param * part).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        except Exception as error:
            raise RunFailed(f'{name}, probe "{probe.name}": {raised(error, t + 1)}') from error
        if (t + 1) % probe.every == 0:
            xs[t // probe.every] = torch.cat([param.detach() for param in params]).numpy()
    return xs


def _set_beta1(group: dict[str, object], beta1: float) -> bool:
    """Set another β1 in a group; False if the group has none."""
    betas = group.get("betas")
    if isinstance(betas, tuple | list) and len(betas) > 1:
        group["betas"] = (beta1, *betas[1:])
        return True
    if "beta1" in group:
        group["beta1"] = beta1
        return True
    return False


@contextlib.contextmanager
def _double_precision() -> Iterator[None]:
    """Make double precision the default dtype, which some optimizers use for their own numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
