"""Schedules by their definition."""

import numpy as np
import pytest

from variance_dynamics.tracking import schedule


def test_at_is_true_only_there():
    due = schedule.at([0, 3])
    assert [due(step) for step in range(5)] == [True, False, False, True, False]


def test_early_and_evenly():
    assert schedule.early(3) == [0, 1, 2, 3]
    assert schedule.evenly(4, 9) == [0, 4, 8]


@pytest.mark.parametrize(("per_decade", "last"), [(1, 1000), (4, 500), (16, 10_000)])
def test_log_spaced_is_per_decade(per_decade, last):
    steps = schedule.log_spaced(per_decade, last)
    expected = np.rint(10 ** (np.arange(0, per_decade * np.log10(last) + 1e-9) / per_decade))
    assert steps == expected.tolist()
    assert sum(100 <= step < 1000 for step in schedule.log_spaced(per_decade, 1000)) == per_decade


def test_log_spaced_may_be_switched_off():
    assert schedule.log_spaced(0, 100) == []
