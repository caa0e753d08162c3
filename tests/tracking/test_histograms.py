"""Histograms of weights against numpy's."""

import numpy as np
import pytest
import torch
from torch import nn

from variance_dynamics.base import schedules
from variance_dynamics.tracking.histograms import Histograms
from variance_dynamics.weights.parameter import Parameter

MATRICES = [Parameter("0.weight", "q", 1, 2, 8, 8), Parameter("1.weight", "mlp_in", 1, 2, 8, 24)]


def test_every_weight_is_counted():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 24))
    kept = Histograms(model, MATRICES, schedules.at([0, 2]), bins=7)
    for step in range(3):
        kept.after_step(step)
    table = kept.frame()
    assert table.groupby(["step", "role"])["count"].sum().to_dict() == {
        (0, "mlp_in"): 192, (0, "q"): 64, (2, "mlp_in"): 192, (2, "q"): 64}
    q = table[(table.step == 0) & (table.role == "q")]
    expected, edges = np.histogram(model[0].weight.detach().numpy(), np.append(q.left, q.right.iloc[-1]))
    assert np.abs(expected - q["count"]).sum() <= 2
    assert edges[-1] == pytest.approx(model[0].weight.abs().max().item())
