"""Log-moments of one network's second moments against float64 networks and the first-order law."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from study.analysis import finite_width


def second_moments(sizes, draws):
    """q_l / E q_l of one input, [draws, L], by drawing every weight."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    hidden = torch.ones(draws, sizes[0], 1, dtype=torch.float64)
    found = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        std = (1 / fan_in if layer == 0 else 2 / fan_in) ** 0.5
        z = std * torch.randn(draws, fan_out, fan_in, generator=random, dtype=torch.float64) @ hidden
        found.append((z**2).mean((1, 2)))
        hidden = torch.relu(z)
    return torch.stack(found, 1).numpy()


@pytest.mark.parametrize("sizes", [[20, 32, 32, 32, 32, 32, 10], [10, 64, 24, 64], [50, 16, 3]])
def test_log_moments_are_those_of_drawn_networks(sizes):
    draws = 2000
    logs = np.log(second_moments(sizes, draws))
    law = finite_width.log_second_moment(sizes)
    variance = np.array([moments.variance for moments in law])
    assert np.all(np.abs(logs.mean(0) - [moments.mean for moments in law]) < 4 * np.sqrt(variance / draws))
    assert logs.var(0) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("width", [64, 256, 1024])
def test_hanin_and_nica_is_the_first_order(width):
    exact = finite_width.relu_layer(width)
    assert exact.mean == pytest.approx(-2.5 / width, rel=3 / width)
    assert exact.variance == pytest.approx(5 / width, rel=5 / width)
    assert exact.variance > 5 / width


def test_the_mean_of_q_stays_one():
    """E exp(log q) = 1: the log-normal's mean + variance / 2 is 0 to first order."""
    for width in (64, 256):
        exact = finite_width.relu_layer(width)
        assert exact.mean + exact.variance / 2 == pytest.approx(0, abs=10 / width**2)
