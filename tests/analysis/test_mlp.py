"""Outcomes against plain loops, and log-moments of second moments against float64 networks."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.synthetic import EARLY, STEPS, comparison, params, sweep
from study.analysis import mlp
from variance_dynamics.base.errors import BadInput

PARAMS = params()


def test_regimes_follow_the_rule():
    ratio = np.array([0.1, 0.499, 0.5, 0.96, 1.04, 1.5, 2.01, np.inf])
    found = mlp.regimes(ratio * np.log(10), np.full(8, np.log(10)), PARAMS.e1)
    assert list(found) == ["trains", "trains", "stalled", *["vanishing"] * 2, "stalled", *["exploding"] * 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_exploding_and_never_reaches_the_threshold(bad):
    models, curves = sweep(lambda *_: (1e-2, 1e2), depths=(2,), widths=(64,), seeds=1, stds=[0.1, 1.0])
    curves.loc[(curves["run"] == 0) & (curves["stat"] == "train_loss"), "value"] = bad
    found = mlp.outcomes(models, curves, PARAMS)
    assert list(found["regime"]) == ["exploding", "trains"]
    assert list(found["censored"]) == [True, False] and list(found["steps"]) == [STEPS, 5]


def test_steps_are_the_first_window_below_the_threshold():
    rng = np.random.default_rng(0)
    loss, threshold = rng.uniform(0, 2, (50, 30)), np.full(50, 0.6)
    for smoothing in (1, 5):
        expected = [next((step + 1.0 for step in range(smoothing - 1, 30)
                          if row[step - smoothing + 1 : step + 1].mean() < 0.6), np.inf) for row in loss]
        assert list(mlp.steps_to(loss, threshold, smoothing)) == expected
    assert np.isinf(mlp.steps_to(loss[:, :3], threshold, 5)).all()


def test_outcomes_of_known_runs_in_any_order_of_rows():
    models, curves = comparison(lambda o, d, s, lr, seed: 10 + seed, lambda *_: 0.75, depths=(3,), seeds=4)
    found = mlp.outcomes(models, curves, PARAMS)
    assert list(found["steps"]) == [10 + seed + EARLY for seed in found["seed"]]
    assert (found["test_accuracy"] == 0.75).all() and (found["val_loss"] == 0.25).all()
    shuffled = (frame.sample(frac=1, random_state=0) for frame in (models, curves))
    pd.testing.assert_frame_equal(found, mlp.outcomes(*shuffled, PARAMS))


def test_a_missing_step_is_told():
    models, curves = comparison(lambda *_: 10, lambda *_: 0.75, depths=(3,), seeds=2)
    with pytest.raises(BadInput, match=r"expected 18 runs x 40 steps"):
        mlp.outcomes(models, curves[1:], PARAMS)


def second_moments(sizes, draws):
    """q_l / E q_l of one input, [draws, L], by drawing every weight."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    hidden = torch.ones(draws, sizes[0], 1, dtype=torch.float64)
    ratios = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        std = (1 / fan_in if layer == 0 else 2 / fan_in) ** 0.5
        z = std * torch.randn(draws, fan_out, fan_in, generator=random, dtype=torch.float64) @ hidden
        ratios.append((z**2).mean((1, 2)))
        hidden = torch.relu(z)
    return torch.stack(ratios, 1).numpy()


@pytest.mark.parametrize("sizes", [[20, 32, 32, 32, 32, 32, 10], [10, 64, 24, 64], [50, 16, 3]])
def test_log_moments_are_those_of_drawn_networks(sizes):
    draws = 2000
    logs = np.log(second_moments(sizes, draws))
    law = mlp.log_second_moment(sizes)
    variance = np.array([moments.variance for moments in law])
    assert np.all(np.abs(logs.mean(0) - [moments.mean for moments in law]) < 4 * np.sqrt(variance / draws))
    assert logs.var(0) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("width", [64, 256, 1024])
def test_hanin_and_nica_is_the_first_order(width):
    exact = mlp.relu_layer(width)
    assert exact.mean == pytest.approx(-2.5 / width, rel=3 / width)
    assert exact.variance == pytest.approx(5 / width, rel=5 / width)
    assert exact.variance > 5 / width


def test_the_mean_of_q_stays_one():
    """E exp(log q) = 1: the log-normal's mean + variance / 2 is 0 to first order."""
    for width in (64, 256):
        exact = mlp.relu_layer(width)
        assert exact.mean + exact.variance / 2 == pytest.approx(0, abs=10 / width**2)
