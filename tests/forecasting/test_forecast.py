"""Forecasts against torch's AdamW on pure noise, and against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import SCHEDULES
from variance_dynamics.forecasting.forecast import forecast


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("sigma_0", [0.02, 0.2])
def test_adamw_on_noise_ends_where_it_says(schedule, sigma_0):
    made = forecast(sigma_0, lr=0.02, steps=300, schedule=schedule, warmup=30, weight_decay=0.5)
    torch.manual_seed(0)
    weight = torch.nn.Parameter(sigma_0 * torch.randn(50, 50))
    optimizer = torch.optim.AdamW([weight], betas=(0.5, 0.99), weight_decay=0.5, fused=True)
    for lr in made.schedule.rates:
        optimizer.param_groups[0]["lr"] = float(lr)
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    assert weight.std().item() == pytest.approx(made.std[-1], rel=0.06)


def test_constant_lr_settles_at_sigma_eq_at_the_pace_of_its_time_constant():
    made = forecast(0.0, lr=1e-3, steps=60_000, schedule="constant", weight_decay=0.1)
    assert made.peak_equilibrium == pytest.approx(math.sqrt(1e-3 / 0.2), rel=1e-3)
    assert made.time_constant == pytest.approx(5000, rel=1e-3)
    at = round(made.time_constant)
    assert made.std[at] ** 2 / made.peak_equilibrium**2 == pytest.approx(1 - 1 / math.e, rel=1e-3)
    assert made.ending == "in equilibrium" and made.std[-1] == pytest.approx(made.peak_equilibrium, rel=1e-4)


def test_init_is_forgotten_when_its_share_is_below_a_twentieth():
    made = forecast(0.05, lr=1e-3, steps=40_000, schedule="constant", weight_decay=0.1)
    assert made.share_of_init[0] == 1.0
    step = made.forgotten
    assert step is not None
    kept = [(0.05 * (1 - 1e-4) ** t) ** 2 / made.std[t] ** 2 for t in (step - 1, step)]
    assert kept[0] >= 0.05 > kept[1]


@pytest.mark.parametrize(("run", "ending"), [
    ({"lr": 6e-4, "steps": 5000}, "frozen"), ({"lr": 1e-3, "steps": 300, "warmup": 30}, "frozen"),
    ({"lr": 6e-4, "steps": 5000, "schedule": "constant"}, "moving"),
    ({"lr": 6e-4, "steps": 200_000, "schedule": "constant"}, "in equilibrium"),
    ({"lr": 1e-3, "steps": 300, "weight_decay": 0.0, "min_lr_ratio": 0.0}, "frozen"),
    ({"lr": 6e-4, "steps": 5000, "weight_decay": 0.0, "schedule": "constant"}, "moving")])
def test_how_runs_end(run, ending):
    made = forecast(0.02, **run)
    assert made.ending == ending
    if ending == "in equilibrium":
        assert abs(math.log(made.std[made.met_equilibrium] / made.peak_equilibrium)) <= 0.05


def test_without_decay_nothing_settles_and_variance_adds_up():
    made = forecast(0.02, lr=1e-3, steps=100, schedule="constant", weight_decay=0.0)
    assert math.isinf(made.peak_equilibrium) and math.isinf(made.time_constant)
    assert made.met_equilibrium is None
    np.testing.assert_allclose(made.std**2, 0.02**2 + 1e-6 * np.arange(101))


@settings(max_examples=30, deadline=None)
@given(std=st.floats(0, 10), lr=st.floats(1e-6, 0.5), steps=st.integers(1, 300), decay=st.floats(0, 1.9),
       schedule=st.sampled_from(list(SCHEDULES)), warmup=st.integers(0, 300), ratio=st.floats(0, 1))
def test_any_possible_run_has_a_forecast(std, lr, steps, decay, schedule, warmup, ratio):
    made = forecast(std, lr, steps, schedule, min(warmup, steps), decay, ratio)
    assert made.std.shape == (steps + 1,) and np.isfinite(made.std).all() and (made.std >= 0).all()
    assert (np.diff(made.share_of_init[1:]) <= 1e-12).all()
    assert made.ending in ("in equilibrium", "frozen", "moving")


@pytest.mark.parametrize(("change", "message"), [
    ({"lr": 0.0}, "lr is 0.0"), ({"lr": math.nan}, "lr is nan"), ({"lr": math.inf}, "lr is inf"),
    ({"steps": 0}, "steps is 0"), ({"steps": 10**9}, "steps is 1000000000"),
    ({"warmup": 101}, "warmup is 101"), ({"warmup": -1}, "warmup is -1"),
    ({"weight_decay": -0.1}, "weight decay is -0.1"),
    ({"weight_decay": 1e6}, "flip the weights' sign"), ({"min_lr_ratio": 1.5}, "min lr ratio is 1.5"),
    ({"std": -0.02}, "std is -0.02"), ({"std": math.nan}, "std is nan"),
    ({"steps": 1e5}, "steps is 100000.0: expected a whole number"), ({"lr": "1e-3"}, "expected a number"),
    ({"schedule": "cosin"}, "did you mean cosine"), ({"schedule": "x"}, "expected one of cosine, linear")])
def test_impossible_runs_are_refused_in_one_line(change, message):
    with pytest.raises(BadInput, match=message):
        forecast(**{"std": 0.02, "lr": 1e-3, "steps": 100, **change})
