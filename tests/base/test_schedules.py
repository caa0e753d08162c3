"""Learning rates at their corners and against formulas; steps of measurement by their definition."""

import itertools
import math

import numpy as np
import pytest

from variance_dynamics.base import schedules
from variance_dynamics.base.schedules import SCHEDULES, learning_rate


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_peak_and_end(schedule):
    rates = [learning_rate(step, 0.3, schedule, warmup=10, steps=100, min_ratio=0.1) for step in range(100)]
    assert rates[:11] == pytest.approx([0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3, 0.3])
    assert rates[-1] == pytest.approx(0.3 if schedule == "constant" else 0.03)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[9:]))


def test_cosine_by_its_formula():
    rates = [learning_rate(step, 1e-2, "cosine", warmup=10, steps=110, min_ratio=0.1) for step in range(110)]
    expected = [1e-3 + 9e-3 * math.cos(math.pi * i / 99 / 2) ** 2 for i in range(100)]
    assert rates[10:] == pytest.approx(expected)


def test_wsd_is_flat_until_the_last_fifth():
    rates = [learning_rate(step, 1.0, "wsd", warmup=0, steps=101, min_ratio=0.0) for step in range(101)]
    assert [rates[step] for step in (0, 79, 80, 90)] == pytest.approx([1, 1, 1, 0.5])


def test_without_warmup_and_with_nothing_else():
    assert learning_rate(0, 1e-2, "cosine", warmup=0, steps=12, min_ratio=0.1) == pytest.approx(1e-2)
    assert learning_rate(11, 1e-2, "cosine", warmup=12, steps=12, min_ratio=0.1) == pytest.approx(1e-2)


def test_at_is_true_only_there():
    due = schedules.at([0, 3])
    assert [due(step) for step in range(5)] == [True, False, False, True, False]


def test_early_and_evenly():
    assert schedules.early(3) == [0, 1, 2, 3]
    assert schedules.evenly(4, 9) == [0, 4, 8]


@pytest.mark.parametrize(("per_decade", "last"), [(1, 1000), (4, 500), (16, 10_000)])
def test_log_spaced_is_per_decade(per_decade, last):
    steps = schedules.log_spaced(per_decade, last)
    expected = np.rint(10 ** (np.arange(0, per_decade * np.log10(last) + 1e-9) / per_decade))
    assert steps == expected.tolist()
    assert sum(100 <= step < 1000 for step in schedules.log_spaced(per_decade, 1000)) == per_decade


def test_log_spaced_may_be_switched_off():
    assert schedules.log_spaced(0, 100) == []
