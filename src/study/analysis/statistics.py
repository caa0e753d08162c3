"""Means, intervals and tests over seeds: of one sample, and of every cell of a table at once.

A sample holds one value per seed. Nothing here knows what was measured.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr, stdtrit

from study.analysis.params import AnalyzeParams
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import numpy_generator

Floats = NDArray[np.float64]
BOOTSTRAP_FROM = 10
"""Number of seeds from which on intervals are bootstrapped. With fewer seeds they are Student's t."""
CELLS_AT_ONCE = 512
"""Cells that are bootstrapped together, which bounds the memory."""
ROUNDING = 1e-9
"""Values that differ by less than this share of the largest, or by 1e-12, are taken to be equal."""
DIGITS = 6
"""Significant digits of the numbers in tables."""


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds with its confidence interval. lo and hi are nan where there is no interval."""

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

    The interval is Student's t for n < 10 and the bootstrap over seeds from 10 on. A cell with a value that
    is not finite keeps its mean (inf or nan) and has no interval. Nor is there one from a single seed.
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
    tail = _expanded_tail(len(sample), confidence)
    means = _shares(len(sample), draws, seed) @ sample
    lo, hi = np.quantile(means, [tail, 1 - tail], axis=0)
    return lo, hi


def _expanded_tail(n: int, confidence: float) -> float:
    """Tail probability of the expanded percentile bootstrap, Phi(-sqrt(n/(n-1)) t_{n-1}) (1411.5279).

    The plain percentile interval of a mean is too short by sqrt((n-1)/n) and uses normal quantiles in place
    of Student's. At n = 10 it covers 90% instead of 95%.
    """
    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + confidence) / 2)))


@cache
def resamples(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Indices of the seeds in each bootstrap draw, [draws, n]; the same for every quantity of the same n."""
    return numpy_generator(seed, "bootstrap", n).integers(0, n, (draws, n))


@cache
def _shares(n: int, draws: int, seed: int) -> Floats:
    """Weight of each seed in each draw's mean, [draws, n]."""
    indices = resamples(n, draws, seed) + n * np.arange(draws)[:, None]
    return np.bincount(indices.ravel(), minlength=draws * n).reshape(draws, n) / n


def alike(values: ArrayLike) -> bool:
    """Whether all values are equal, up to the rounding of sums taken in different orders; not if empty."""
    sample = np.asarray(values, dtype=np.float64)
    return bool(sample.size and np.ptp(sample) <= ROUNDING * max(1e-3, float(np.abs(sample).max())))


def p_value(values: ArrayLike) -> float:
    """Two-sided one-sample t test of mean 0; on differences this is the paired t test. nan below two seeds.

    Values that are all equal have no variance for t: then it is the sign test's 2^(1-n), or 1 if they are 0.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = sample.size
    if n < 2 or not np.isfinite(sample).all():
        return float("nan")
    if alike(sample):
        return 1.0 if alike([0.0, sample[0]]) else float(2.0 ** (1 - n))
    t = sample.mean() / (sample.std(ddof=1) / np.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjusted p values, in the order given. A nan stays nan and counts as no test."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def log_ratio(first: ArrayLike, second: ArrayLike) -> Floats:
    """Per-seed values [n] whose mean is ln(mean first / mean second): its first-order influence values.

    v_s = ln(A/B) + a_s/A - b_s/B with A, B the means. `interval` and `p_value` of v are then those of the
    delta method, and the pairing by seed is kept. Raises BadInput unless all values are positive.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or not (np.all(a > 0) and np.all(b > 0)):
        raise BadInput(f"log ratio of shapes {a.shape} and {b.shape}: expected paired positive values")
    values: Floats = np.log(a.mean() / b.mean()) + a / a.mean() - b / b.mean()
    return values


def after_selection(replicates: ArrayLike, n: int, seed: int) -> Floats:
    """Per-seed values [n] of an estimate that selects among models, from its value in each resample [draws].

    Replicate i is the estimate on row i of `resamples(n, draws, seed)`. The mean of the values is the mean
    over the resamples. Their spread is that of Efron 2014 (10.1080/01621459.2013.823775, theorem 1): n times
    the regression of the estimate on the counts of the seeds. For a plain mean, which selects nothing, they
    are the seeds' own values.
    """
    estimates = np.asarray(replicates, dtype=np.float64)
    slopes = _regression(n, len(estimates), seed) @ (estimates - estimates.mean())
    values: Floats = estimates.mean() + slopes - slopes.mean()
    return values


@cache
def _regression(n: int, draws: int, seed: int) -> Floats:
    """Matrix [n, draws] from estimates [draws] to their least-squares slopes over the seeds' shares."""
    weights = _shares(n, draws, seed)
    return np.asarray(np.linalg.pinv(weights - weights.mean(axis=0), rcond=1e-9))


def deviations(values: ArrayLike) -> Floats:
    """|value - median| per seed. The paired difference of two such samples compares their spreads.

    Source: Brown and Forsythe 1974.
    """
    sample = np.asarray(values, dtype=np.float64)
    return np.abs(sample - np.median(sample))


def over_seeds(frame: pd.DataFrame, keys: list[str], values: list[str], params: AnalyzeParams
               ) -> pd.DataFrame:
    """One row per cell of `keys`, sorted: each value's mean over seeds with its _lo and _hi, and n seeds.

    `frame` has one row per cell and seed. A cell with a value that is not finite has no interval.
    """
    ordered = frame.sort_values([*keys, "seed"], kind="stable", ignore_index=True)
    cells = ordered.groupby(keys, sort=False, dropna=False)
    cell = cells.ngroup().to_numpy()
    table = ordered.loc[~ordered.duplicated(keys), keys].reset_index(drop=True)
    counts = np.bincount(cell, minlength=len(table))
    for value in values:
        columns = np.full((3, len(table)), np.nan)
        for n in np.unique(counts):
            sample = ordered[value].to_numpy(dtype=np.float64)[counts[cell] == n].reshape(-1, n).T
            columns[:, counts == n] = intervals(sample, params.confidence, params.bootstrap, params.seed)
        table[value], table[f"{value}_lo"], table[f"{value}_hi"] = columns
    return table.assign(n=counts)


def seed_means(frame: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """Means over seeds without intervals, in the order of `over_seeds`."""
    return frame.groupby(keys, sort=True)[values].mean().reset_index()


def short_ends(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """A table of `over_seeds` with one value: its interval's columns are renamed to lo and hi."""
    return table.rename(columns={f"{value}_lo": "lo", f"{value}_hi": "hi"})


def within(table: pd.DataFrame, values: list[str], low: float, high: ArrayLike) -> pd.DataFrame:
    """A table of `over_seeds` with its t intervals inside [low, high], where the values lie by definition.

    Each becomes Student's t by the delta method on the logarithm of (mean - low) / (high - mean), or of
    mean - low where high is inf. Where the seeds lie close together this is the plain interval. Bootstrap
    intervals lie inside already and stay as they are.
    """
    student = (table["n"] < BOOTSTRAP_FROM).to_numpy()
    top = np.broadcast_to(np.asarray(high, dtype=np.float64), len(table))
    ends = {}
    for value in values:
        mean, upper = table[value].to_numpy(), table[f"{value}_hi"].to_numpy()
        for end, sign in (("lo", -1), ("hi", 1)):
            inside = _moved(mean, sign * (upper - mean), low, top)
            ends[f"{value}_{end}"] = np.where(student, inside, table[f"{value}_{end}"])
    return table.assign(**ends)


def _moved(mean: Floats, by: Floats, low: float, high: Floats) -> Floats:
    """`mean` moved by `by`, to first order, on the log-odds scale of [low, high]. A mean at an end stays."""
    below, above = mean - low, high - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(np.clip(by * (1 / below + 1 / above), -700, 700))
        share = np.where(np.isinf(high), 1, (below + above) / (above + below * factor))
        inside = low + below * factor * share
    return np.where((below > 0) & (above > 0), inside, mean + by)


def p_values(frame: pd.DataFrame, keys: list[str], value: str) -> Floats:
    """`p_value` of every cell of `keys`, in the order of `over_seeds`."""
    return np.array([p_value(cell.to_numpy(float)) for _, cell in frame.groupby(keys, sort=True)[value]])


def trend(x: Floats, y: Floats) -> float:
    """Least-squares slope of y over x, both [points]; nan where x does not vary."""
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def log_trend(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Exponent of y as a power of x: the `trend` of ln y over ln x."""
    return trend(np.log(x.to_numpy(dtype=np.float64)), np.log(y.to_numpy(dtype=np.float64)))


def significant(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats rounded to DIGITS, so that the last bits of a sum do not show in the tables."""
    return frame.assign(**{name: _rounded(frame[name].to_numpy())
                           for name in frame.columns[frame.dtypes.map(lambda kind: kind.kind == "f")]})


def _rounded(values: Floats) -> Floats:
    """`values` to DIGITS significant digits; 0, inf and nan as they are."""
    exact = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(exact) & (exact != 0)
    texts = np.char.mod(f"%.{DIGITS - 1}e", exact[usable])
    rounded = exact.copy()
    rounded[usable] = texts.astype(np.float64)
    return rounded
