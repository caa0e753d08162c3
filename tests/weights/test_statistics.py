"""Every statistic against float64 numpy, over every std that float32 holds."""

import numpy as np
import pytest
import torch

from variance_dynamics.weights.statistics import (
    STATS,
    Matrices,
    displacement,
    epsilon_share,
    histogram,
    root_mean_square,
)

ORACLE = {
    "std": lambda x: x.std(1),
    "mean": lambda x: x.mean(1),
    "rms": lambda x: np.sqrt((x**2).mean(1)),
    "absmax": lambda x: np.abs(x).max(1),
    "kurtosis": lambda x: (((x - x.mean(1)[:, None]) / x.std(1)[:, None]) ** 4).mean(1) - 3,
    "norm": lambda x: np.linalg.norm(x, axis=1),
}


def draws(scale=1.0, dtype=torch.float32):
    x = np.random.default_rng(0).standard_t(5, (4, 2000)) + np.array([[0], [0.1], [1], [10]])
    return torch.tensor(x * scale, dtype=torch.float64).to(dtype)


def test_every_statistic_has_an_oracle():
    assert set(STATS) == set(ORACLE)


@pytest.mark.parametrize("scale", [1e-36, 1e-12, 0.02, 1.0, 1e30])
@pytest.mark.parametrize("name", STATS)
def test_float32_equals_numpy(name, scale):
    x = draws(scale)
    values = STATS[name](Matrices(x)).double().numpy()
    expected = ORACLE[name](x.double().numpy())
    size = 1.0 if name == "kurtosis" else np.abs(x.double().numpy()).mean(1)
    np.testing.assert_allclose(values / size, expected / size, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", STATS)
def test_other_dtypes_equal_numpy_on_the_values_they_hold(name, dtype):
    x = draws(0.02, dtype)
    values = STATS[name](Matrices(x)).double().numpy()
    np.testing.assert_allclose(values, ORACLE[name](x.double().numpy()), rtol=5e-5, atol=1e-7)


ENDS = {torch.float32: (1e-38, 5e36), torch.bfloat16: (1e-38, 5e36), torch.float16: (1e-6, 3e3),
        torch.float64: (1e-300, 5e306)}


@pytest.mark.parametrize(("dtype", "scale"), [(dtype, scale) for dtype in ENDS for scale in ENDS[dtype]])
@pytest.mark.parametrize("name", sorted(set(STATS) - {"norm"}))  # of so much it is infinite
def test_the_smallest_and_largest_that_a_dtype_holds(name, dtype, scale):
    x = draws(scale, dtype)
    exact = x.double().numpy().astype(np.longdouble)
    assert np.isfinite(exact).all() and (exact != 0).mean() > 0.9
    size = 1.0 if name == "kurtosis" else np.abs(exact).mean(1)
    values = STATS[name](Matrices(x)).double().numpy()
    np.testing.assert_allclose(values / size, ORACLE[name](exact) / size, rtol=2e-5, atol=2e-6)


def test_constant_and_zero_matrices():
    x = torch.tensor([[0.5] * 8, [0.0] * 8, [-2.0] * 8])
    values = {name: stat(Matrices(x)).tolist() for name, stat in STATS.items() if name != "kurtosis"}
    assert values["std"] == [0, 0, 0]
    assert values["mean"] == [0.5, 0, -2]
    assert values["rms"] == [0.5, 0, 2] and values["absmax"] == [0.5, 0, 2]
    assert STATS["kurtosis"](Matrices(x)).isnan().all()


def test_what_is_not_finite_stays_so():
    x = draws()
    x[1, 5], x[2, 7] = torch.nan, torch.inf
    std = STATS["std"](Matrices(x))
    assert std[[0, 3]].isfinite().all() and not std[[1, 2]].isfinite().any()
    assert STATS["absmax"](Matrices(x))[2] == torch.inf


def test_one_element_and_none():
    values = {name: stat(Matrices(torch.tensor([[-3.0]]))).item() for name, stat in STATS.items()}
    assert np.isnan(values.pop("kurtosis"))
    assert values == {"std": 0, "mean": -3, "rms": 3, "absmax": 3, "norm": 3}
    empty = {name: stat(Matrices(torch.empty(2, 0))) for name, stat in STATS.items()}
    assert empty.pop("absmax").tolist() == [0, 0]
    assert all(values.shape == (2,) and values.isnan().all() for values in empty.values())


def test_memory_to_work_in_is_all_that_is_written():
    x, buffer = draws(), torch.empty(4, 2000)
    before = x.clone()
    there, fresh = Matrices(x, buffer=buffer), Matrices(x)
    assert all(torch.equal(stat(there), stat(fresh)) for stat in STATS.values())
    assert torch.equal(x, before)


@pytest.mark.parametrize("scale", [1e-36, 1e-12, 0.02, 1.0, 1e30])
def test_root_mean_square_by_itself(scale):
    x = draws(scale)
    expected = ORACLE["rms"](x.double().numpy())
    np.testing.assert_allclose(root_mean_square(x, buffer=torch.empty_like(x)), expected, rtol=1e-5)
    x[1, 5], x[2] = torch.nan, 0
    rms = root_mean_square(x)
    assert rms[1].isnan() and rms[2] == 0
    np.testing.assert_allclose(rms[[0, 3]], expected[[0, 3]], rtol=1e-5)


def test_displacement_explains_the_change_of_the_mean_square():
    start, now = draws(), draws() * 0.9 + 0.01
    squares, dots = displacement(start, now)
    a, b = start.double().numpy(), now.double().numpy()
    np.testing.assert_allclose(squares, ((b - a) ** 2).mean(1), rtol=1e-5)
    np.testing.assert_allclose(dots, (a * (b - a)).mean(1), rtol=1e-5)
    np.testing.assert_allclose(2 * dots + squares, (b**2).mean(1) - (a**2).mean(1), rtol=1e-4)


def test_epsilon_share():
    v = draws().square() * 1e-16
    expected = (1e-8 / (np.sqrt(v.double().numpy() / 0.05) + 1e-8)).mean(1)
    np.testing.assert_allclose(epsilon_share(v, 0.05, 1e-8), expected, rtol=1e-5)


def test_epsilon_rules_where_nothing_has_been_seen():
    v = torch.tensor([[0.0, 0.0], [0.0, 4.0], [1e-45, 1e-38]])
    np.testing.assert_allclose(epsilon_share(v, 1.0, 1e-8), [1, 0.5, 1], rtol=1e-6)


def test_histogram_equals_numpy():
    x = draws(0.02)
    counts, scales = histogram(x, 51)
    for row, count, scale in zip(x.numpy(), counts, scales.tolist(), strict=True):
        expected, _ = np.histogram(row, 51, (-scale, scale))
        assert np.abs(count.numpy() - expected).sum() <= 4, "a value on an edge may fall on either side"
        assert count.sum() == len(row)


def test_histogram_of_what_is_not_finite_is_empty():
    x = draws()
    x[0, 0] = torch.inf
    counts, _ = histogram(x, 5)
    assert counts[0].sum() == 0 and (counts[1:].sum(1) == x.shape[1]).all()
