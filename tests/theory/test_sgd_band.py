"""The band under SGD against networks that are trained here, and its parts against drawn networks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine
from torch.nn.functional import cross_entropy

from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import sgd_band as bands
from variance_dynamics.theory.propagation import gradient_norm, natural_axis


def task(load):
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:500]
    x, y = x[order], y[order]
    return (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1), y


def forward(weights, x):
    hidden, outputs = x, []
    for weight in weights:
        outputs.append(weight @ hidden)
        hidden = torch.relu(outputs[-1])
    return outputs


def draw(sizes, stds, dtype=torch.float32, seed=0):
    """One network per std, from the same draws: weights [M, fan_out, fan_in]."""
    random = torch.Generator().manual_seed(seed)
    stds = torch.tensor(stds, dtype=dtype).view(-1, 1, 1)
    return [(stds * torch.randn(o, i, generator=random, dtype=dtype)).requires_grad_()
            for i, o in pairwise(sizes)]


def trained_band(x, y, sizes, stds, lr, steps, batch):
    """Smallest and largest std with a final loss below half of ln K, by plain SGD on all of them at once."""
    torch.set_num_threads(1)
    weights, batches = draw(sizes, stds), np.random.default_rng(0)
    inputs, labels, losses = torch.tensor(x.T, dtype=torch.float32), torch.tensor(y), []
    for _ in range(steps):
        index = batches.integers(0, len(x), batch)
        logits = forward(weights, inputs[:, index])[-1]
        loss = cross_entropy(logits, labels[index].expand(len(logits), -1), reduction="none").mean(1)
        losses.append(loss.detach().numpy())
        grads = torch.autograd.grad(loss.sum(), weights)
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight -= lr * grad
    good = np.flatnonzero(np.mean(losses[-steps // 10 :], axis=0) < 0.5 * np.log(sizes[-1]))
    return stds[good[0]], stds[good[-1]]


@pytest.mark.parametrize("load, batch, depth, width, lr, low, high", [
    (load_wine, 32, 4, 32, 0.05, 1.25, 2.5), (load_wine, 32, 8, 32, 0.1, 1.25, 1.5),
    (load_digits, 64, 4, 32, 0.2, 1.6, 3.0), (load_digits, 64, 6, 64, 0.05, 1.6, 2.0)])
def test_the_band_is_where_networks_train(load, batch, depth, width, lr, low, high):
    x, y = task(load)
    sizes = [x.shape[1], *[width] * (depth - 1), int(y.max()) + 1]
    lower, upper = bands.band_edges(sizes, lr, 150, bands.signal(x, y, depth), np.mean(x**2))
    first, last = trained_band(x, y, sizes, np.geomspace(lower / 2, 5 * upper, 28), lr, 150, batch)
    assert 1 / 1.25 < first / lower < low
    assert 0.8 < last / upper < high


def test_the_edges_follow_width_lr_and_steps():
    def edges(width=64, lr=0.05, steps=10_000, depth=4):
        return np.log(bands.band_edges([64, *[width] * (depth - 1), 10], lr, steps, 0.1))

    for depth in (3, 4, 8):
        wider = (edges(256, depth=depth) - edges(64, depth=depth)) / np.log(4)
        assert wider == pytest.approx([-0.5, -0.5], abs=0.02)
        faster = (edges(lr=0.1, depth=depth) - edges(lr=0.05, depth=depth)) / np.log(2)
        assert faster == pytest.approx([-1 / (depth - 2)] * 2, abs=0.02)
        width = np.diff(edges(depth=depth))[0]
        assert width == pytest.approx(np.log((depth - 2) * 0.1 * 10_000) / (depth - 2), rel=0.02)
    assert edges(depth=2)[1] == np.inf


def test_two_layers_are_the_limit_of_more():
    """The lower edge's formula at L - 2 = 0 is the exponential that powers tend to."""
    ratio, steps, beyond = 0.3, 40, 1e-6
    near = (1 + beyond * 0.1 * ratio * steps) ** (-1 / beyond)
    lower = bands.band_edges([64, 64, 10], ratio * 8 / 64 / np.sqrt(0.5), steps, 0.1)[0]
    assert lower * natural_axis(1.0, [64, 64, 10]) == pytest.approx(near, rel=1e-4)


@pytest.mark.parametrize("load, depth", [(load_wine, 3), (load_digits, 2), (load_digits, 4)])
def test_signal_is_what_gradients_share_in_wide_networks(load, depth):
    torch.set_num_threads(1)
    x, y = (part[:300] for part in task(load))
    sizes, std = [x.shape[1], *[300] * (depth - 1), int(y.max()) + 1], 1e-2
    alone = gradient_norm(sizes, std, np.mean(x**2))
    shared = []
    for seed in range(4):
        weights = draw(sizes, [std], torch.float64, seed)
        logits = forward(weights, torch.tensor(x.T))[-1][0].T
        tiny = 1e-6  # logits near 0: all classes equally likely
        loss = cross_entropy(tiny * logits, torch.tensor(y)) / tiny
        grads = torch.autograd.grad(loss, weights)
        shared.append([torch.linalg.matrix_norm(grad[0], 2).item() for grad in grads])
    share = np.mean(shared, axis=0) / alone
    assert np.exp(np.log(share).mean()) == pytest.approx(bands.signal(x, y, depth), rel=0.12)


def test_bad_input_is_refused():
    with pytest.raises(BadInput, match="expected two weight layers or more"):
        bands.band_edges([4, 3], 0.1, 10, 0.1)
    with pytest.raises(BadInput, match="signal of inputs"):
        bands.signal(np.zeros((3, 2)), [0, 1], 2)
