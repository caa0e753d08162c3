"""Variance of signals and gradients against float64 ReLU networks drawn at random."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import propagation as theory

SIZES = [[30, 64, 64, 64, 10], [100, 128, 32, 64, 5], [64, 100, 7]]


def networks(sizes, stds, draws, input_second_moment=1.0, seed=0):
    """Mean square pre-activations and squared norms of weight gradients, [draws, L] each.

    The gradients are those of a random direction in the outputs, with one unit per output.
    """
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(draws, sizes[0], 1, generator=random, dtype=torch.float64)
    x *= (input_second_moment * sizes[0] / (x**2).sum(1, keepdim=True)) ** 0.5
    weights = [std * torch.randn(draws, o, i, generator=random, dtype=torch.float64)
               for i, o, std in zip(sizes, sizes[1:], stds, strict=False)]
    inputs, outputs, hidden = [x], [], x
    for weight in weights:
        outputs.append((weight @ hidden).requires_grad_())
        hidden = torch.relu(outputs[-1])
        inputs.append(hidden)
    direction = torch.randn(outputs[-1].shape, generator=random, dtype=torch.float64)
    slopes = torch.autograd.grad((direction * outputs[-1]).sum(), outputs)
    norms = [(d**2).sum((1, 2)) * (h**2).sum((1, 2)) for d, h in zip(slopes, inputs, strict=False)]
    moments = [(z**2).mean((1, 2)) for z in outputs]
    return [torch.stack(each, 1).detach().numpy() for each in (moments, norms)]


def agree(samples, expected):
    """Their means, within four standard errors."""
    error = 4 * samples.std(0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - expected) < error)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_forward_and_backward(sizes, scale):
    stds = [scale * np.sqrt((1 + layer % 2) / fan_in) for layer, fan_in in enumerate(sizes[:-1])]
    moments, norms = networks(sizes, stds, 200, input_second_moment=0.7)
    agree(moments, theory.forward_second_moment(sizes, stds, 0.7))
    error = np.sqrt(sizes[-1])
    agree(norms, np.array(theory.gradient_norm(sizes, stds, 0.7, error)) ** 2)


@pytest.mark.parametrize("fan_in, std", [(128, 0.125), (256, 0.0884), (512, 0.0625), (1024, 0.0442)])
def test_critical_std_keeps_the_second_moment(fan_in, std):
    kept = theory.critical_std(fan_in)
    assert kept == pytest.approx(std, rel=1e-3)
    first = np.sqrt(2.0 / fan_in)  # q_1 = 2
    assert theory.forward_second_moment([fan_in] * 5, [first, kept, kept, kept]) == pytest.approx([2.0] * 4)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_natural_axis_is_the_logits_rms_to_the_power_of_depth(sizes):
    a = theory.natural_axis(0.1, sizes, 0.7)
    assert theory.forward_second_moment(sizes, 0.1, 0.7)[-1] == pytest.approx(a ** (2 * (len(sizes) - 1)))
    moments, _ = networks(sizes, [0.1] * (len(sizes) - 1), 400, 0.7)
    assert np.sqrt(moments[:, -1].mean()) == pytest.approx(a ** (len(sizes) - 1), rel=0.1)


def test_bad_input_is_refused():
    with pytest.raises(BadInput, match="2 stds for sizes"):
        theory.forward_second_moment([3, 4, 5, 6], [0.1, 0.2])


@pytest.mark.parametrize("sizes, logits, loss_rate", [
    ([64] * 5, 4, 8), ([13, 64, 64, 3], 3.52, None), ([784, 256, 128, 10], 1.4646, None)])
def test_kaiming_over_xavier(sizes, logits, loss_rate):
    ratio = theory.kaiming_xavier_ratio(sizes)
    assert ratio.logits == pytest.approx(logits, rel=1e-3)
    assert loss_rate is None or ratio.loss_rate == pytest.approx(loss_rate)


@pytest.mark.parametrize("sizes", [[13, 32, 32, 3], [32] * 6])
def test_kaiming_over_xavier_in_networks(sizes):
    fans = list(pairwise(sizes))
    kaiming = networks(sizes, [np.sqrt(2 / i) for i, _ in fans], 300)
    xavier = networks(sizes, [np.sqrt(2 / (i + o)) for i, o in fans], 300)  # the same draws
    ratio = theory.kaiming_xavier_ratio(sizes)
    assert np.sqrt(kaiming[0][:, -1].mean() / xavier[0][:, -1].mean()) == pytest.approx(ratio.logits)
    assert kaiming[1].sum(1).mean() / xavier[1].sum(1).mean() == pytest.approx(ratio.loss_rate, rel=0.1)
