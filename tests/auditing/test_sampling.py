"""Bounds against Monte Carlo: how often the std of true draws falls outside."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from variance_dynamics.auditing.sampling import (
    FAMILIES,
    f_score,
    family,
    freedom,
    largest,
    ratio_bounds,
    z_score,
)
from variance_dynamics.weights.laws import truncated_kurtosis

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


def log_tail(draws, count, level):
    """log10 P(mean of x^2 over `count` draws is beyond `level` times its own mean), by Lugannani and Rice
    1980.
    """
    x = (draws.ppf(1) - draws.ppf(0)) * (np.arange(20_000) + 0.5) / 20_000 + draws.ppf(0)
    weights, squares = draws.pdf(x) / draws.pdf(x).sum(), (x / draws.std()) ** 2

    def cgf(t):
        return math.log(np.sum(weights * np.exp(t * squares)))

    def slope(t):
        tilted = weights * np.exp(t * squares)
        mean = np.sum(tilted * squares) / tilted.sum()
        return mean, np.sum(tilted * squares**2) / tilted.sum() - mean**2

    t = optimize.brentq(lambda t: slope(t)[0] - level, -40, 40)
    w = math.copysign(math.sqrt(2 * count * (t * level - cgf(t))), t)
    u = t * math.sqrt(count * slope(t)[1])
    sign = 1 if t > 0 else -1
    return math.log10(stats.norm.sf(sign * w) + sign * stats.norm.pdf(w) * (1 / u - 1 / w))


@pytest.mark.parametrize("cut", [2.0, 3.0, None])
@pytest.mark.parametrize("count", [300, 3000, 100_000])
@pytest.mark.parametrize("z", [4.5, 5.6, 6.5])
def test_far_tails_of_bounded_draws_are_no_heavier_than_said(cut, count, z):
    """At the z of models with one to millions of tests, where a Monte Carlo sees nothing. None: uniform."""
    draws = stats.truncnorm(-cut, cut) if cut else stats.uniform(-1, 2)
    kurtosis = truncated_kurtosis(cut) if cut else -1.2
    assert float(draws.stats("k")) == pytest.approx(kurtosis, abs=1e-3)
    for side in ratio_bounds(freedom(count, kurtosis), z, exact=False):
        assert log_tail(draws, count, side**2) <= stats.norm.logsf(z) / math.log(10) + 0.02


def test_the_law_of_chi_square_alone_would_raise_false_alarms_for_uniform_draws():
    low, _ = ratio_bounds(freedom(300, -1.2), 5.6)
    assert log_tail(stats.uniform(-1, 2), 300, low**2) > math.log10(4 * stats.norm.sf(5.6))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [4, 16, 64])
def test_few_bounded_draws_are_outside_the_bounds_of_normal_ones_less_often(name, count):
    """Vectors have few values; the std of normal draws is the least certain."""
    draws = DRAWS[name].rvs((400_000, count), random_state=0) / DRAWS[name].std()
    low, high = ratio_bounds(freedom(count, 0.0), 3.5)
    std = draws.std(axis=1)
    assert np.mean((std < low) | (std > high)) <= 2 * stats.norm.sf(3.5) * (1.6 if name == "normal" else 1.2)


def test_two_samples_of_one_std_differ_as_often_as_said():
    draws = np.random.default_rng(0).normal(size=(2, 20_000, 50)).std(axis=2)
    scores = [f_score(one / two, freedom(50, 0.0), freedom(50, 0.0)) for one, two in draws.T]
    assert np.mean(np.abs(scores) > 2) == pytest.approx(2 * stats.norm.sf(2), rel=0.1)


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
