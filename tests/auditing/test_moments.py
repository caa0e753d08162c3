"""Streamed moments against scipy on the whole array."""

import numpy as np
import pytest
import torch
from scipy import stats

from variance_dynamics.auditing.tensors import chunks, float64, measure


@pytest.mark.parametrize("shape", [(7, 5), (2000, 1500), (3, 40, 50), (11,)])
@pytest.mark.parametrize(("mean", "scale"), [(0, 0.02), (1000, 0.5), (0, 1e-20)])
def test_one_pass_equals_whole_array(shape, mean, scale):
    values = np.random.default_rng(0).normal(mean, scale, shape)
    moments = measure(values, "F64")
    assert (moments.count, moments.low, moments.high) == (values.size, values.min(), values.max())
    np.testing.assert_allclose([moments.mean, moments.std], [values.mean(), values.std()], rtol=1e-9)
    assert moments.kurtosis == pytest.approx(float(stats.kurtosis(values, axis=None)), rel=1e-6)


def test_bfloat16_is_read_from_its_bits():
    values = torch.tensor([0.0, -1.5, 3.25e-5, float("nan"), float("-inf")], dtype=torch.bfloat16)
    bits = values.view(torch.uint16).numpy()
    np.testing.assert_array_equal(float64(bits, "BF16"), values.double().numpy())


def test_not_finite_values_are_counted_and_left_out():
    moments = measure(np.array([[1.0, np.nan], [3.0, -np.inf]]), "F64")
    assert (moments.broken, moments.count, moments.mean, moments.std) == (2, 2, 2.0, 1.0)


def test_constant_and_empty():
    assert measure(np.full((300, 300), 0.1, np.float32), "F32").constant
    empty = measure(np.empty((0, 4)), "F64")
    assert empty.count == 0 and not empty.constant


def test_padding_rows_are_left_out_on_request():
    values = np.random.default_rng(0).normal(size=(50, 8))
    values[3] = 0
    moments = measure(values, "F64", skip_empty_rows=True)
    assert moments.empty_rows == 1 and moments.count == 49 * 8
    assert moments.std == pytest.approx(np.delete(values, 3, 0).std())


def test_chunks_stay_small_and_hold_everything():
    values = np.arange(70_000.0).reshape(700, 10, 10)[:, ::2]
    parts = list(chunks(values, "F64", elements=1000))
    assert max(part.size for part in parts) <= 1000
    np.testing.assert_array_equal(np.concatenate(parts).ravel(), values.ravel())
