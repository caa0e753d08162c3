"""Schedules at their corners, and against the one that training uses."""

import itertools
from types import SimpleNamespace

import pytest

from study.gpt2.optimizers import lr_at
from variance_dynamics.base.learning_rate import SCHEDULES, learning_rate


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_peak_and_end(schedule):
    rates = [learning_rate(step, 0.3, schedule, warmup=10, steps=100, min_ratio=0.1) for step in range(100)]
    assert rates[:11] == pytest.approx([0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3, 0.3])
    assert rates[-1] == pytest.approx(0.3 if schedule == "constant" else 0.03)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[9:]))


def test_wsd_is_flat_until_the_last_fifth():
    rates = [learning_rate(step, 1.0, "wsd", warmup=0, steps=101, min_ratio=0.0) for step in range(101)]
    assert [rates[step] for step in (0, 79, 80, 90)] == pytest.approx([1, 1, 1, 0.5])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 7, 50])
def test_training_follows_it_to_the_last_bit(schedule, warmup):
    run = SimpleNamespace(lr=1e-3, schedule=schedule, warmup_steps=warmup, steps=50, min_lr_ratio=0.1)
    for step in range(run.steps):
        assert lr_at(step, run) == learning_rate(step, 1e-3, schedule, warmup, 50, 0.1)
