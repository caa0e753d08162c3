"""Intervals of quantities with a range: inside it, and with their coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from analysis.synthetic import params
from study.analysis.over_seeds import over_seeds, within

PARAMS = params()


def table(samples, low, high):
    """samples [cells, n] -> a row per cell: x, x_lo, x_hi."""
    cells, n = samples.shape
    rows = pd.DataFrame({"cell": np.repeat(np.arange(cells), n), "seed": np.tile(np.arange(n), cells),
                         "x": samples.ravel()})
    plain = over_seeds(rows, ["cell"], ["x"], PARAMS)
    return plain, within(plain, ["x"], low, high)


def coverage(found, mean):
    return float(((found["x_lo"] <= mean) & (mean <= found["x_hi"])).mean())


def test_close_seeds_keep_student_s_interval():
    samples = np.random.default_rng(0).normal(0.4, 1e-4, (20, 5))
    plain, found = table(samples, 0, 1)
    for end in ("x_lo", "x_hi"):
        ours, student = ((frame[end] - frame["x"]).to_numpy() for frame in (found, plain))
        assert ours == pytest.approx(student, rel=0.02)


def test_it_is_the_delta_method_on_the_log_odds():
    plain, found = table(np.array([[0.7, 0.9, 0.95, 0.99, 0.3]]), 0, 1)
    mean, half = plain["x"].item(), plain["x_hi"].item() - plain["x"].item()
    ends = expit(logit(mean) + np.array([-1, 1]) * half / (mean * (1 - mean)))
    assert plain["x_hi"].item() > 1 and [found["x_lo"].item(), found["x_hi"].item()] == pytest.approx(ends)
    plain, found = table(np.array([[0.1, 0.2, 3.0]]), 0, np.inf)
    mean, half = plain["x"].item(), plain["x_hi"].item() - plain["x"].item()
    ends = mean * np.exp(np.array([-1, 1]) * half / mean)
    assert plain["x_lo"].item() < 0 and [found["x_lo"].item(), found["x_hi"].item()] == pytest.approx(ends)


def test_seeds_at_an_end_and_many_seeds_stay():
    _, found = table(np.array([[1.0] * 5, [0.0] * 5]), 0, 1)
    assert list(found["x_lo"]) == list(found["x_hi"]) == [1, 0]
    plain, found = table(np.random.default_rng(0).uniform(size=(5, 12)), 0, 1)
    pd.testing.assert_frame_equal(plain, found)


@pytest.mark.parametrize(("draw", "mean", "high"), [
    (lambda rng, size: rng.exponential(1.0, size), 1.0, np.inf),
    (lambda rng, size: rng.lognormal(0, 1, size), np.exp(0.5), np.inf),
    (lambda rng, size: rng.beta(8, 0.5, size), 8 / 8.5, 1)])
def test_skewed_seeds_are_covered_better_than_by_cutting_student_s(draw, mean, high):
    samples = draw(np.random.default_rng(0), (4000, 5))
    plain, found = table(samples, 0, high)
    assert found["x_lo"].min() >= 0 and found["x_hi"].max() <= high
    assert (plain["x_lo"].min() < 0) or (plain["x_hi"].max() > high)
    assert coverage(found, mean) > coverage(plain, mean) + 0.01
