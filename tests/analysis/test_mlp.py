"""Regimes, steps and tails against values computed by hand or by plain loops."""

import numpy as np
import pandas as pd
import pytest

from analysis.synthetic import EARLY, STEPS, comparison, params, sweep
from study.analysis import mlp
from variance_dynamics.base.errors import BadInput

PARAMS = params()


def test_regimes_follow_the_rule():
    ratio = np.array([0.1, 0.499, 0.5, 0.96, 1.04, 1.5, 2.01, np.inf])
    regimes = mlp.regimes(ratio * np.log(10), np.full(8, np.log(10)), PARAMS.e1)
    assert list(regimes) == ["trains", "trains", "stalled", *["vanishing"] * 2, "stalled", *["exploding"] * 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_exploding_and_never_reaches_the_threshold(bad):
    models, curves = sweep(lambda *_: (1e-2, 1e2), depths=(2,), widths=(64,), seeds=1, stds=[0.1, 1.0])
    curves.loc[(curves["run"] == 0) & (curves["stat"] == "train_loss"), "value"] = bad
    runs = mlp.outcomes(models, curves, PARAMS)
    assert list(runs["regime"]) == ["exploding", "trains"]
    assert list(runs["censored"]) == [True, False] and list(runs["steps"]) == [STEPS, 5]


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
    runs = mlp.outcomes(models, curves, PARAMS)
    assert list(runs["steps"]) == [10 + seed + EARLY for seed in runs["seed"]]
    assert (runs["test_accuracy"] == 0.75).all() and (runs["val_loss"] == 0.25).all()
    shuffled = (frame.sample(frac=1, random_state=0) for frame in (models, curves))
    pd.testing.assert_frame_equal(runs, mlp.outcomes(*shuffled, PARAMS))


def test_a_missing_step_is_an_error():
    models, curves = comparison(lambda *_: 10, lambda *_: 0.75, depths=(3,), seeds=2)
    with pytest.raises(BadInput, match=r"expected 18 runs x 40 steps"):
        mlp.outcomes(models, curves[1:], PARAMS)
