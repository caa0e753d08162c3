"""Intervals and tests against scipy.stats and against their coverage in simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from analysis.synthetic import params
from study.analysis import statistics as s

PARAMS = params()
HOW = {"confidence": 0.95, "draws": 2000, "seed": 0}


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_few_seeds_get_students_t(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    ends = s.interval(values, **HOW)
    lo, hi = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (ends.mean, ends.lo, ends.hi, ends.n) == pytest.approx((values.mean(), lo, hi, n))


def test_many_seeds_get_the_expanded_percentile_bootstrap():
    values = np.random.default_rng(0).exponential(size=12)
    ends = s.interval(values, 0.95, 40_000, 0)
    # 1411.5279, 4.1.2: the percentile interval at this adjusted confidence
    tail = stats.norm.cdf(-np.sqrt(12 / 11) * stats.t.ppf(0.975, 11))
    oracle = stats.bootstrap((values,), np.mean, confidence_level=1 - 2 * tail, n_resamples=40_000,
                             method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (ends.lo, ends.hi) == pytest.approx((oracle.low, oracle.high), abs=0.02 * values.std())


@pytest.mark.parametrize("n", [5, 10, 20])
def test_coverage_is_near_nominal(n):
    samples = np.random.default_rng(0).normal(size=(n, 4000))
    _, lo, hi = s.intervals(samples, **HOW)
    covered = np.mean((lo < 0) & (hi > 0))
    assert covered == pytest.approx(0.95, abs=0.015)  # the plain percentile bootstrap has .90 at n = 10


def test_the_vector_form_is_the_scalar_form():
    samples = np.random.default_rng(0).normal(size=(10, 1100))
    mean, lo, hi = s.intervals(samples, **HOW)
    for cell in (0, 511, 512, 1099):
        one = s.interval(samples[:, cell], **HOW)
        assert (one.mean, one.lo, one.hi) == pytest.approx((mean[cell], lo[cell], hi[cell]))


def test_same_call_same_interval_and_the_seed_matters():
    values = np.arange(10.0)
    assert s.interval(values, **HOW) == s.interval(values, **HOW)
    assert s.interval(values, **HOW) != s.interval(values, 0.95, 2000, 1)


@pytest.mark.parametrize("values, mean", [([1.0], 1.0),
                                          ([1.0, np.inf], np.inf), ([1.0] * 11 + [np.nan], np.nan)])
def test_no_interval_where_there_is_none(values, mean):
    ends = s.interval(values, **HOW)
    assert np.isnan(ends.lo) and np.isnan(ends.hi)
    assert ends.mean == pytest.approx(mean, nan_ok=True)


def test_p_value_is_scipys_paired_t():
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    assert s.p_value(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_p_value_without_variance_is_the_sign_tests():
    assert s.p_value([0.2] * 5) == 2 ** -4
    assert s.p_value([0.0] * 5) == 1
    assert np.isnan(s.p_value([1.0])) and np.isnan(s.p_value([1.0, np.inf]))


def test_holm_by_hand():
    # sorted .01 .02 .03 .04: times 4 3 2 1 = .04 .06 .06 .04, made monotone
    assert s.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert s.holm([0.9, np.nan, 0.01]) == pytest.approx([0.9, np.nan, 0.02], nan_ok=True)


def test_holm_holds_the_family_wise_error():
    p = np.random.default_rng(0).uniform(size=(4000, 6))
    assert np.mean([s.holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("n", [5, 10])
def test_log_ratio_covers_the_true_ratio(n):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(1500):
        common = rng.lognormal(0, 0.3, n)
        first = 40 * common * rng.lognormal(0, 0.2, n)
        second = 100 * common * rng.lognormal(0, 0.2, n)
        ends = s.interval(s.log_ratio(first, second), 0.95, 1000, 0)
        assert ends.mean == pytest.approx(np.log(first.mean() / second.mean()))
        covered.append(ends.lo < np.log(0.4) < ends.hi)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_deviations_find_the_wider_of_two():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=40), 3 * rng.normal(size=40)
    assert s.interval(s.deviations(narrow) - s.deviations(wide), **HOW).hi < 0


def test_after_selection_gives_a_mean_s_own_values_and_covers_a_choice():
    n, draws = 10, 1000
    rng = np.random.default_rng(0)
    x, taken = rng.normal(size=n), s.resamples(n, draws, 0)
    values = s.after_selection(x[taken].mean(axis=1), n, 0)
    assert values - values.mean() == pytest.approx(x - x.mean())
    assert values.mean() == pytest.approx(x.mean(), abs=0.05)
    covered, fixed = [], []
    for _ in range(400):  # two arms choose one of two lrs that validate alike, but differ by 1 in the effect
        arms = rng.normal(size=(2, n, 2)), rng.normal(0, 0.5, size=(2, n, 2)) + np.arange(2)
        first, second = ((val[taken].mean(axis=1).argmin(axis=1), val.mean(axis=0).argmin(), y)
                         for val, y in zip(*arms, strict=True))
        a, b = (y[taken, chosen[:, None]].mean(axis=1) for chosen, _, y in (first, second))
        chosen_anew = s.interval(s.after_selection(a - b, n, 0), 0.95, draws, 0)
        naive = s.interval(first[2][:, first[1]] - second[2][:, second[1]], 0.95, draws, 0)
        covered.append(chosen_anew.lo < 0 < chosen_anew.hi)
        fixed.append(naive.lo < 0 < naive.hi)
    assert np.mean(covered) > 0.9 and np.mean(fixed) < 0.8


def table(samples, low, high):
    """samples [cells, n] -> a row per cell: x, x_lo, x_hi."""
    cells, n = samples.shape
    rows = pd.DataFrame({"cell": np.repeat(np.arange(cells), n), "seed": np.tile(np.arange(n), cells),
                         "x": samples.ravel()})
    plain = s.over_seeds(rows, ["cell"], ["x"], PARAMS)
    return plain, s.within(plain, ["x"], low, high)


def coverage(frame, mean):
    return float(((frame["x_lo"] <= mean) & (mean <= frame["x_hi"])).mean())


def test_close_seeds_keep_student_s_interval():
    samples = np.random.default_rng(0).normal(0.4, 1e-4, (20, 5))
    plain, inside = table(samples, 0, 1)
    for end in ("x_lo", "x_hi"):
        ours, student = ((frame[end] - frame["x"]).to_numpy() for frame in (inside, plain))
        assert ours == pytest.approx(student, rel=0.02)


def test_it_is_the_delta_method_on_the_log_odds():
    plain, inside = table(np.array([[0.7, 0.9, 0.95, 0.99, 0.3]]), 0, 1)
    mean, half = plain["x"].item(), plain["x_hi"].item() - plain["x"].item()
    ends = expit(logit(mean) + np.array([-1, 1]) * half / (mean * (1 - mean)))
    assert plain["x_hi"].item() > 1 and [inside["x_lo"].item(), inside["x_hi"].item()] == pytest.approx(ends)
    plain, inside = table(np.array([[0.1, 0.2, 3.0]]), 0, np.inf)
    mean, half = plain["x"].item(), plain["x_hi"].item() - plain["x"].item()
    ends = mean * np.exp(np.array([-1, 1]) * half / mean)
    assert plain["x_lo"].item() < 0 and [inside["x_lo"].item(), inside["x_hi"].item()] == pytest.approx(ends)


def test_seeds_at_an_end_and_many_seeds_stay():
    _, inside = table(np.array([[1.0] * 5, [0.0] * 5]), 0, 1)
    assert list(inside["x_lo"]) == list(inside["x_hi"]) == [1, 0]
    plain, inside = table(np.random.default_rng(0).uniform(size=(5, 12)), 0, 1)
    pd.testing.assert_frame_equal(plain, inside)


@pytest.mark.parametrize(("draw", "mean", "high"), [
    (lambda rng, size: rng.exponential(1.0, size), 1.0, np.inf),
    (lambda rng, size: rng.lognormal(0, 1, size), np.exp(0.5), np.inf),
    (lambda rng, size: rng.beta(8, 0.5, size), 8 / 8.5, 1)])
def test_skewed_seeds_are_covered_better_than_by_cutting_student_s(draw, mean, high):
    samples = draw(np.random.default_rng(0), (4000, 5))
    plain, inside = table(samples, 0, high)
    assert inside["x_lo"].min() >= 0 and inside["x_hi"].max() <= high
    assert (plain["x_lo"].min() < 0) or (plain["x_hi"].max() > high)
    assert coverage(inside, mean) > coverage(plain, mean) + 0.01


def test_values_that_differ_by_rounding_are_alike():
    assert s.alike([0.1 + 0.2, 0.3]) and s.alike([1e-17, -1e-17]) and s.alike([5.0])
    assert not s.alike([0.3, 0.3001]) and not s.alike([1e-9, 2e-9]) and not s.alike([])
    assert s.p_value([0.1 + 0.2, 0.3, 0.3]) == 0.25
    assert s.p_value([1e-17, -1e-17, 0.0]) == 1.0
