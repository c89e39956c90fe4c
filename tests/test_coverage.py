"""How many optimizers of torch.optim and pytorch_optimizer run by their import path."""

from __future__ import annotations

import pytorch_optimizer
import torch

from tests.coverage import covered

KNOWN = 139  # classes of pytorch_optimizer 4.1


def test_nearly_all_optimizers_of_torch_run() -> None:
    rows = list(covered(torch.optim))
    assert {row.path for row in rows if row.rejected} <= {"torch.optim.SparseAdam"}
    assert len(rows) >= 13


def test_most_optimizers_of_pytorch_optimizer_run() -> None:
    rows = list(covered(pytorch_optimizer))
    if len(rows) == KNOWN:
        assert sum(row.rejected is None for row in rows) >= 118
    for row in rows:
        assert row.rejected is None or "\n" not in row.rejected
