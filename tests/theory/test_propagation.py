"""Forward and backward variance against float64 networks drawn at random, GELU's against quadrature."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import propagation as theory

PHI = {"linear": lambda z: z, "relu": torch.relu,
       "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh")}
SIZES = [[30, 64, 64, 64, 10], [100, 128, 32, 64, 5], [64, 100, 7]]


def networks(sizes, stds, activation, draws, input_second_moment=1.0, seed=0):
    """Mean square pre-activations and gradients, and squared weight-gradient norms, [draws, L] each."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(draws, sizes[0], 1, generator=random, dtype=torch.float64)
    x *= (input_second_moment * sizes[0] / (x**2).sum(1, keepdim=True)) ** 0.5
    weights = [std * torch.randn(draws, o, i, generator=random, dtype=torch.float64)
               for i, o, std in zip(sizes, sizes[1:], stds, strict=False)]
    inputs, outputs, hidden = [x], [], x
    for weight in weights:
        outputs.append((weight @ hidden).requires_grad_())
        hidden = PHI[activation](outputs[-1])
        inputs.append(hidden)
    direction = torch.randn(outputs[-1].shape, generator=random, dtype=torch.float64)
    slopes = torch.autograd.grad((direction * outputs[-1]).sum(), outputs)
    norms = [(d**2).sum((1, 2)) * (h**2).sum((1, 2)) for d, h in zip(slopes, inputs, strict=False)]
    return [torch.stack(each, 1).detach().numpy() for each in (
        [(z**2).mean((1, 2)) for z in outputs], [(d**2).mean((1, 2)) for d in slopes], norms)]


def agree(samples, expected, tolerance):
    """Their means, within `tolerance` or four standard errors."""
    error = 4 * samples.std(0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - expected) < np.maximum(error, tolerance * np.array(expected)))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("activation, tolerance", [("linear", 0), ("relu", 0), ("gelu", 0.03)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_forward_and_backward(sizes, activation, tolerance, scale):
    stds = [scale * np.sqrt((1 + layer % 2) / fan_in) for layer, fan_in in enumerate(sizes[:-1])]
    forward, backward, norms = networks(sizes, stds, activation, 200, input_second_moment=0.7)
    agree(forward, theory.forward_second_moment(sizes, stds, 0.7, activation), tolerance)
    agree(backward, theory.backward_second_moment(sizes, stds, 0.7, activation), tolerance)
    error = np.sqrt(sizes[-1])  # a random direction with one unit per output
    agree(norms, np.array(theory.gradient_norm(sizes, stds, 0.7, activation, error)) ** 2, 2 * tolerance)


@pytest.mark.parametrize("second_moment", [1e-3, 0.1, 1.0, 10.0])
def test_gelu_gains_are_the_integrals(second_moment):
    def over_normal(f):
        def integrand(u):
            z = torch.tensor(u * np.sqrt(second_moment), dtype=torch.float64, requires_grad=True)
            return f(z) * stats.norm.pdf(u)
        return integrate.quad(integrand, -10, 10, limit=200)[0]

    def slope(z):
        return torch.autograd.grad(PHI["gelu"](z), z)[0].item() ** 2

    value = over_normal(lambda z: PHI["gelu"](z).item() ** 2) / second_moment
    assert theory.gain("gelu", second_moment) == pytest.approx(value, rel=1e-6)
    assert theory.slope_gain("gelu", second_moment) == pytest.approx(over_normal(slope), rel=1e-6)


def test_gelu_lies_between_its_linear_and_its_relu_limit():
    assert theory.gain("gelu", 0.0) == pytest.approx(theory.slope_gain("gelu", 0.0)) == pytest.approx(0.25)
    assert [theory.gain("gelu", 1e9), theory.slope_gain("gelu", 1e9)] == pytest.approx([0.5, 0.5], rel=2e-3)
    assert [theory.gain("relu"), theory.slope_gain("relu", 9.0)] == pytest.approx([0.5, 0.5], rel=1e-9)


@pytest.mark.parametrize("fan_in, std", [(128, 0.125), (256, 0.0884), (512, 0.0625), (1024, 0.0442)])
def test_critical_std_keeps_the_second_moment(fan_in, std):
    assert theory.critical_std(fan_in) == pytest.approx(std, rel=1e-3)
    for activation in theory.ACTIVATIONS:
        kept = theory.critical_std(fan_in, activation, 2.0)
        first = np.sqrt(2.0 / fan_in)  # q_1 = 2
        assert theory.forward_second_moment([fan_in] * 5, [first, kept, kept, kept], 1.0, activation) == (
            pytest.approx([2.0] * 4))


@pytest.mark.parametrize("std", [0.1, 0.17, 0.2, 0.4])
def test_depth_scale_is_the_e_fold_of_the_second_moment(std):
    moments = theory.forward_second_moment([64] * 21, std)
    folds = abs(np.log(moments[-1] / moments[0]))
    assert folds == pytest.approx(19 / theory.depth_scale(std, 64))
    assert theory.depth_scale(theory.critical_std(64), 64) == np.inf


@pytest.mark.parametrize("sizes", SIZES)
def test_the_natural_axis_is_the_logits_rms_to_the_power_of_depth(sizes):
    a = theory.natural_axis(0.1, sizes, 0.7)
    assert theory.forward_second_moment(sizes, 0.1, 0.7)[-1] == pytest.approx(a ** (2 * (len(sizes) - 1)))
    forward, _, _ = networks(sizes, [0.1] * (len(sizes) - 1), "relu", 400, 0.7)
    assert np.sqrt(forward[:, -1].mean()) == pytest.approx(a ** (len(sizes) - 1), rel=0.1)


def test_bad_input_is_told():
    with pytest.raises(BadInput, match="activation is 'swish': expected one of linear, relu, gelu"):
        theory.gain("swish")
    with pytest.raises(BadInput, match="2 stds for sizes"):
        theory.forward_second_moment([3, 4, 5, 6], [0.1, 0.2])


@pytest.mark.parametrize("sizes, variance, logits, loss_rate", [
    ([64] * 5, [2, 2, 2, 2], 4, 8),
    ([13, 64, 64, 3], [1 + 64 / 13, 2, 1 + 3 / 64], 3.52, None),
    ([784, 256, 128, 10], [1.3265, 1.5, 1.0781], 1.4646, None),
])
def test_kaiming_over_xavier(sizes, variance, logits, loss_rate):
    ratio = theory.kaiming_xavier_ratio(sizes)
    assert ratio.variance == pytest.approx(variance, rel=1e-3)
    assert ratio.logits == pytest.approx(logits, rel=1e-3)
    assert loss_rate is None or ratio.loss_rate == pytest.approx(loss_rate)


@pytest.mark.parametrize("sizes", [[13, 32, 32, 3], [32] * 6])
def test_kaiming_over_xavier_in_networks(sizes):
    fans = list(pairwise(sizes))
    kaiming = networks(sizes, [np.sqrt(2 / i) for i, _ in fans], "relu", 300)
    xavier = networks(sizes, [np.sqrt(2 / (i + o)) for i, o in fans], "relu", 300)  # the same draws
    ratio = theory.kaiming_xavier_ratio(sizes)
    assert np.sqrt(kaiming[0][:, -1].mean() / xavier[0][:, -1].mean()) == pytest.approx(ratio.logits)
    assert kaiming[2].sum(1).mean() / xavier[2].sum(1).mean() == pytest.approx(ratio.loss_rate, rel=0.1)
