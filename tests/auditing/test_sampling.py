"""Bounds against Monte Carlo: how often the std of true draws falls outside."""

import math

import numpy as np
import pytest
from scipy import stats

from variance_dynamics.auditing.sampling import FAMILIES, family, freedom, largest, ratio_bounds, z_score

DRAWS = {"normal": stats.norm(), "uniform": stats.uniform(-1, 2), "truncated": stats.truncnorm(-2, 2)}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_their_kurtosis(name):
    assert float(DRAWS[name].stats("k")) == pytest.approx(FAMILIES[name], abs=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [300, 3000])
def test_std_falls_outside_as_often_as_said(name, count):
    trials, z = 1_000_000 // count, 2.0
    draws = DRAWS[name].rvs((trials, count), random_state=0) / DRAWS[name].std()
    low, high = ratio_bounds(freedom(count, FAMILIES[name]), z)
    std = draws.std(axis=1)
    outside = np.mean((std < low) | (std > high))
    expected = 2 * stats.norm.sf(z)
    assert outside == pytest.approx(expected, abs=4 * math.sqrt(expected / trials) + 0.05 * expected)


@pytest.mark.parametrize("nu", [50, 5000, 5e7])
def test_bounds_are_chi_square_quantiles(nu):
    for z in (2.0, 5.6):
        tail = stats.norm.sf(z)
        exact = np.sqrt([stats.chi2.ppf(tail, nu) / nu, stats.chi2.isf(tail, nu) / nu])
        np.testing.assert_allclose(np.array(ratio_bounds(nu, z)) - 1, exact - 1, rtol=0.02)


def test_families_are_distinguished_where_there_are_draws_enough_and_else_the_widest_is_taken():
    generator = np.random.default_rng(0)
    for count in (300, 3000, 100_000):
        normal, uniform = generator.normal(size=count), generator.uniform(-1, 1, count)
        assert family(float(stats.kurtosis(normal)), count) == "normal"
        assert family(float(stats.kurtosis(uniform)), count) == ("uniform" if count > 600 else "normal")


def test_largest_weight_bound_is_bonferroni_s():
    z = z_score(100)
    assert 1 - stats.norm.cdf(largest(1000, z)) == pytest.approx(stats.norm.sf(z) / 1000, rel=1e-6)
    assert 2 * stats.norm.sf(z) == pytest.approx(1e-5 / 100, rel=1e-6)
