"""Intervals and tests over seeds. A value per seed goes in; nothing here knows what was measured."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr, stdtrit

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import numpy_generator

Floats = NDArray[np.float64]
BOOTSTRAP_FROM = 10
"""Number of seeds from which intervals are bootstrapped; below, Student's t."""
CELLS_AT_ONCE = 512


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds with its confidence interval; lo and hi are nan where n or the values give none."""

    mean: float
    lo: float
    hi: float
    n: int


def interval(values: ArrayLike, confidence: float, draws: int, seed: int) -> Interval:
    """Mean of `values` [n], one per seed, with its interval (see `intervals`)."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size:
        raise BadInput(f"interval of values of shape {sample.shape}: expected one value per seed")
    mean, lo, hi = intervals(sample[:, None], confidence, draws, seed)
    return Interval(float(mean[0]), float(lo[0]), float(hi[0]), sample.size)


def intervals(values: ArrayLike, confidence: float, draws: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Mean, lo and hi, each [cells], of `values` [n, cells] over the n seeds.

    Student's t for n < 10; from 10 on the bootstrap over seeds. A cell with a value that is not finite
    keeps its mean (inf or nan) and has no interval; neither has a single seed.
    """
    sample = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = sample.mean(axis=0)
    bounds = _student if len(sample) < BOOTSTRAP_FROM else _bootstrap
    lo, hi = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    usable = np.flatnonzero(np.isfinite(sample).all(axis=0)) if len(sample) > 1 else np.array([], dtype=int)
    for start in range(0, len(usable), CELLS_AT_ONCE):
        cells = usable[start : start + CELLS_AT_ONCE]
        lo[cells], hi[cells] = bounds(sample[:, cells], confidence, draws, seed)
    return mean, lo, hi


def _student(sample: Floats, confidence: float, draws: int, seed: int) -> tuple[Floats, Floats]:
    n, mean = len(sample), sample.mean(axis=0)
    half = stdtrit(n - 1, (1 + confidence) / 2) * sample.std(axis=0, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def _bootstrap(sample: Floats, confidence: float, draws: int, seed: int) -> tuple[Floats, Floats]:
    tail = expanded_tail(len(sample), confidence)
    means = shares(len(sample), draws, seed) @ sample
    lo, hi = np.quantile(means, [tail, 1 - tail], axis=0)
    return lo, hi


def expanded_tail(n: int, confidence: float) -> float:
    """Tail probability of the expanded percentile bootstrap, Phi(-sqrt(n/(n-1)) t_{n-1}) (1411.5279).

    The plain percentile interval of a mean is too short by sqrt((n-1)/n) and uses normal quantiles for
    t's: it covers 90% instead of 95% at n = 10.
    """
    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + confidence) / 2)))


@cache
def resamples(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Which seeds each bootstrap draw takes, [draws, n]; the same for every quantity of the same n."""
    return numpy_generator(seed, "bootstrap", n).integers(0, n, (draws, n))


@cache
def shares(n: int, draws: int, seed: int) -> Floats:
    """Weight of each seed in each draw's mean, [draws, n]."""
    taken = resamples(n, draws, seed) + n * np.arange(draws)[:, None]
    return np.bincount(taken.ravel(), minlength=draws * n).reshape(draws, n) / n


def differences(first: ArrayLike, second: ArrayLike) -> Floats:
    """first - second, [n]; inf - inf is nan, without a warning."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise BadInput(f"paired values of shapes {a.shape} and {b.shape}: expected the same seeds in both")
    with np.errstate(invalid="ignore"):
        return a - b


def p_value(values: ArrayLike) -> float:
    """Two-sided one-sample t test of mean 0; of differences, the paired t test. nan below two seeds.

    Values that are all the same leave t no variance: then the sign test's 2^(1-n), or 1 if they are 0.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = sample.size
    if n < 2 or not np.isfinite(sample).all():
        return float("nan")
    if np.ptp(sample) == 0:
        return float(2.0 ** (1 - n)) if sample[0] else 1.0
    t = sample.mean() / (sample.std(ddof=1) / np.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjusted p values, in the order given; nan (not tested) stays and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def log_ratio(first: ArrayLike, second: ArrayLike) -> Floats:
    """Per-seed values [n] whose mean is ln(mean first / mean second): its first-order influence values.

    v_s = ln(A/B) + a_s/A - b_s/B with A, B the means; `interval` and `p_value` of v are then the delta
    method's, and pairing by seed is kept. Both must be positive.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or not (np.all(a > 0) and np.all(b > 0)):
        raise BadInput(f"log ratio of shapes {a.shape} and {b.shape}: expected paired positive values")
    values: Floats = np.log(a.mean() / b.mean()) + a / a.mean() - b / b.mean()
    return values


def after_selection(replicates: ArrayLike, n: int, seed: int) -> Floats:
    """Per-seed values [n] of an estimate that selects among models, from its value in each resample [draws].

    Their mean is the mean over the resamples, their spread that of Efron 2014 (10.1080/01621459.2013.823775,
    theorem 1): n times the regression of the estimate on the counts of the seeds. Of a mean that selects
    nothing they are the seeds' own values. resample i is row i of `resamples(n, draws, seed)`.
    """
    found = np.asarray(replicates, dtype=np.float64)
    slopes = _regression(n, len(found), seed) @ (found - found.mean())
    values: Floats = found.mean() + slopes - slopes.mean()
    return values


@cache
def _regression(n: int, draws: int, seed: int) -> Floats:
    """[n, draws]: times an estimate in each resample, its least-squares slopes over the seeds' shares."""
    weights = shares(n, draws, seed)
    return np.asarray(np.linalg.pinv(weights - weights.mean(axis=0), rcond=1e-9))


def deviations(values: ArrayLike) -> Floats:
    """|value - median| per seed (Brown and Forsythe 1974): the paired difference of two compares spreads."""
    sample = np.asarray(values, dtype=np.float64)
    return np.abs(sample - np.median(sample))
