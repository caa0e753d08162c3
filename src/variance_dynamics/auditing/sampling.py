"""How far the std of n draws may lie from the std that they were drawn with.

The sample variance s^2 of n draws with excess kurtosis k has variance sigma^4 (k + 2) / n, as that of a
normal sample with nu = 2n / (k + 2) degrees of freedom; so s^2 nu / sigma^2 is taken as chi^2 with nu
(exact for normal draws). Its quantiles are those of Wilson and Hilferty (1931): with h = 2 / (9 nu),
    (s / sigma)^2 = (1 - h + z sqrt(h))^3
So the std of uniform draws (k = -1.2) is 1.6 times as precise as that of normal ones. Their s^2 is less
skewed than that chi^2, so that low values are more likely. Their lower bound is that of a normal s^2, which
is not skewed at all, and so too low for every law with bounded draws:
    (s / sigma)^2 = 1 - z sqrt(2 / nu)
"""

import math
from statistics import NormalDist

FAMILIES = {"normal": 0.0, "truncated": -0.634, "uniform": -1.2}
"""Excess kurtosis of the samplers in use; truncated is a normal cut at two std."""
FALSE_ALARM = 1e-5
"""Chance that a correct model raises any alarm at all; it is divided among all tests of the model."""
RULED_OUT = 5.0
"""A family is ruled out where the sample's kurtosis is this many standard errors below the family's."""


def z_score(tests: int) -> float:
    """Two-sided bound of each of `tests` tests, in standard errors."""
    return -NormalDist().inv_cdf(FALSE_ALARM / (2 * max(1, tests)))


def family(kurtosis: float, count: int) -> str:
    """The family of largest kurtosis that a sample of `count` draws allows, so that doubt widens the bound.

    The standard error of kurtosis is taken as that of normal draws, sqrt(24 / n), which is the largest.
    """
    margin = RULED_OUT * math.sqrt(24 / count)
    return next((name for name, expected in FAMILIES.items() if kurtosis + margin >= expected), "uniform")


def freedom(count: int, kurtosis: float) -> float:
    """nu: the degrees of freedom of normal draws whose std would be as uncertain."""
    return 2 * max(1, count - 1) / (kurtosis + 2)


def ratio_bounds(nu: float, z: float, exact: bool = True) -> tuple[float, float]:
    """The lowest and the highest s / sigma within z standard errors; `exact` says that the draws are normal.
    """
    h = 2 / (9 * nu)
    low, high = (max(0.0, 1 - h + sign * z * math.sqrt(h)) ** 1.5 for sign in (-1, 1))
    return low if exact else min(low, math.sqrt(max(0.0, 1 - z * math.sqrt(2 / nu)))), high


def f_score(ratio: float, nu: float, other_nu: float) -> float:
    """How many standard errors s / s' = `ratio` of two samples with one sigma lies from 1. Paulson 1942."""
    h, other = 2 / (9 * nu), 2 / (9 * other_nu)
    cube = ratio ** (2 / 3)
    return float(((1 - other) * cube - (1 - h)) / math.sqrt(other * cube**2 + h))


def largest(count: int, z: float) -> float:
    """Bound on max|x| / sigma of `count` normal draws, at z's two-sided tail probability.

    The probability is divided among the draws (Bonferroni); it holds for truncated and uniform draws too.
    """
    chance = 2 * NormalDist().cdf(-z)
    return -NormalDist().inv_cdf(max(chance / (2 * count), 1e-300))
