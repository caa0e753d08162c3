"""Band edges against hand-made grids and against seeds whose edges are known."""

import numpy as np
import pytest

from study.analysis.e1_bands import Bracket, band, bridged, half_of_seeds
from variance_dynamics.base.errors import BadInput

GRID = [0.01, 0.1, 1.0, 10.0, 100.0]
HOW = {"confidence": 0.95, "draws": 1000, "seed": 0}


def test_an_edge_is_half_a_grid_step_outside_the_band():
    lower, upper = band(GRID, [9, 1, 0, 9, 9], [False, True, True, False, False])
    assert (lower, upper) == (Bracket(0.1, 0.01), Bracket(1.0, 10.0))
    assert (lower.std, upper.std) == pytest.approx((10 ** -1.5, 10 ** 0.5))


def test_the_band_is_the_one_that_holds_the_best_std():
    trains = [True, False, True, True, False]
    assert band(GRID, [0.3, 9, 0.2, 0.1, 9], trains)[0] == Bracket(1.0, 0.1)
    assert band(GRID, [0.05, 9, 0.2, 0.1, 9], trains)[0] == Bracket(0.01, 0.0)
    assert band(GRID, [np.nan, 9, 0.2, 0.1, 9], trains)[1] == Bracket(10.0, 100.0)


def test_a_single_failure_is_bridged_and_no_longer_one():
    trains = [False, True, False, True, True, False, False, True]
    assert list(bridged(trains)) == [False, True, True, True, True, False, False, True]
    assert list(bridged([False, True])) == [False, True] and trains[2] is False


def test_the_grids_end_is_censored_and_no_band_is_not():
    lower, upper = band(GRID, [0] * 5, [True] * 5)
    assert lower.censored and upper.censored and (lower.std, upper.std) == (0.01, 100)
    lower, upper = band(GRID, [9] * 5, [False] * 5)
    assert not (lower.censored or upper.censored)
    with pytest.raises(BadInput, match="expected them ascending"):
        band(GRID[::-1], [0] * 5, [True] * 5)


def test_half_of_the_seeds_train_at_the_median_edge():
    edge = half_of_seeds([Bracket(s * 1.1, s / 1.1) for s in (0.1, 0.2, 0.3, 0.4, 9.0)], **HOW)
    assert edge.std == pytest.approx(0.3) and edge.n == 5 and edge.censored == 0
    assert (edge.lo, edge.hi) == pytest.approx((0.1 / 1.1, 9.9))  # at n = 5, the range and the grid step


def test_a_censored_median_is_only_a_bound():
    edge = half_of_seeds([Bracket(1e-4, 0.0)] * 3 + [Bracket(0.1, 0.09)] * 2, **HOW)
    assert edge.std == pytest.approx(1e-4) and edge.censored == 3
    assert np.isnan(edge.lo) and edge.hi == pytest.approx(0.1)


def test_seeds_that_never_train_move_the_edge_inwards():
    never_low, never_high = band(GRID, [9] * 5, [False] * 5)
    edge = half_of_seeds([Bracket(0.1, 0.09), Bracket(0.2, 0.19), never_low], **HOW)
    assert edge.std == pytest.approx(np.sqrt(0.2 * 0.19))
    assert np.isnan(half_of_seeds([never_high] * 3 + [Bracket(0.2, 0.3)], **HOW).std)


def test_the_interval_covers_the_true_edge():
    rng = np.random.default_rng(0)
    grid = np.geomspace(0.1, 10, 49)
    covered = []
    for _ in range(300):
        true_edges = np.exp(rng.normal(0, 0.4, 10))  # half of the seeds train at std 1
        brackets = [band(grid, np.where(grid > e, 0.1, 9), grid > e)[0] for e in true_edges]
        edge = half_of_seeds(brackets, **HOW)
        covered.append(edge.lo <= 1 <= edge.hi)
    assert np.mean(covered) > 0.92
