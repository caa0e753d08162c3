"""The batched MLPs, compared with PyTorch modules for one model at a time, in float64."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from study.mlp import net as mlp
from study.mlp.net import Mlps, Workspace

FEATURES, WIDTH, CLASSES, SAMPLES, MODELS = 5, 7, 3, 11, 4


@pytest.fixture(params=[2, 4])
def modules(request):
    torch.manual_seed(0)
    sizes = [FEATURES, *[WIDTH] * (request.param - 1), CLASSES]
    return [sequential(sizes).double() for _ in range(MODELS)]


def sequential(sizes):
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def linears(module):
    return [layer for layer in module if isinstance(layer, nn.Linear)]


def batched(modules):
    layers = zip(*map(linears, modules), strict=True)
    pairs = [(torch.stack([each.weight.detach() for each in layer]),
              torch.stack([each.bias.detach() for each in layer])) for layer in layers]
    return Mlps([weight for weight, _ in pairs], [bias for _, bias in pairs])


@pytest.fixture
def batch():
    x = torch.randn(SAMPLES, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(SAMPLES) % CLASSES


def test_matrices_are_those_of_the_network():
    matrices = mlp.matrices(FEATURES, WIDTH, 4, CLASSES)
    assert [(p.fan_in, p.fan_out) for p in matrices] == [(5, 7), (7, 7), (7, 7), (7, 3)]
    assert [p.role for p in matrices] == ["hidden", "hidden", "hidden", "readout"]
    assert [(p.layer, p.depth) for p in matrices] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_logits(modules, batch):
    x, _ = batch
    expected = torch.stack([module(x).mT for module in modules])
    mlps = batched(modules)
    assert torch.allclose(mlp.forward(mlps, x.mT, Workspace(mlps, SAMPLES)), expected, atol=1e-12)
    assert torch.allclose(mlp.log_probabilities(mlps, x, block=4), expected.log_softmax(1), atol=1e-12)


def test_loss_and_gradients_are_autograd_s(modules, batch):
    x, y = batch
    mlps, scale = batched(modules), torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64)
    work = Workspace(mlps, SAMPLES)
    one_hot = F.one_hot(y, CLASSES).double().mT
    logits = mlp.forward(mlps, x.mT, work)
    losses = mlp.cross_entropy(logits, one_hot, scale.view(-1, 1, 1) / SAMPLES, work.deltas[-1])
    gradients = {}

    def update(layer, delta, inputs):
        total = torch.full_like(mlps.weights[layer], torch.nan)  # beta = 0 must not read it
        gradients[layer] = mlp.accumulate(total, delta, inputs, beta=0, alpha=1), delta.sum(-1)

    mlp.backward(mlps, x.mT, work, update)
    for i, module in enumerate(modules):
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        assert losses[i] == pytest.approx(loss.item(), rel=1e-12)
        for layer, linear in enumerate(linears(module)):
            assert torch.allclose(gradients[layer][0][i], scale[i] * linear.weight.grad, atol=1e-13)
            assert torch.allclose(gradients[layer][1][i], scale[i] * linear.bias.grad, atol=1e-13)


def test_an_update_in_place_does_not_change_what_reaches_the_layers_below(modules, batch):
    x, y = batch
    one_hot, scale = F.one_hot(y, CLASSES).double().mT, torch.ones(MODELS, 1, 1, dtype=torch.float64)
    seen = []
    for spoil in (False, True):
        mlps = batched(modules)
        work, deltas = Workspace(mlps, SAMPLES), {}
        mlp.cross_entropy(mlp.forward(mlps, x.mT, work), one_hot, scale, work.deltas[-1])

        def update(layer, delta, inputs, mlps=mlps, deltas=deltas, spoil=spoil):
            deltas[layer] = delta.clone()
            if spoil:
                mlps.weights[layer].fill_(torch.nan)

        mlp.backward(mlps, x.mT, work, update)
        seen.append(deltas)
    assert all(torch.equal(seen[0][layer], seen[1][layer]) for layer in seen[0])


def test_second_moments(modules, batch):
    x, _ = batch
    mlps = batched(modules)
    single = Mlps([weight.float() for weight in mlps.weights], [bias.float() for bias in mlps.biases])
    moments = mlp.second_moments(single, x.float())
    assert moments.dtype == torch.float64
    for i, module in enumerate(modules):
        values, h = [], x
        for layer in module:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                values.append(h.square().mean().item())
        assert moments[:, i].tolist() == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("std", [1e4, 1e-6])
def test_second_moments_far_beyond_float32(std):
    """With fan-in 256 a layer multiplies the second moment by 128 std^2, on average over draws."""
    z = torch.randn(9, 256, 256, generator=torch.Generator().manual_seed(2))
    x = torch.randn(20, 256, generator=torch.Generator().manual_seed(3))
    mlps = Mlps([layer[None] * std for layer in z], [torch.zeros(1, 256)] * 9)
    exponent = mlp.second_moments(mlps, x)[-1].log10().item()
    assert abs(exponent) > 45
    assert exponent == pytest.approx(9 * math.log10(128 * std**2) + math.log10(2), abs=0.5)


def test_keep_leaves_the_others_as_they_are(modules, batch):
    mlps = batched(modules)
    before = mlp.log_probabilities(mlps, batch[0])
    mlps.keep(torch.tensor([0, 2]))
    assert len(mlps) == 2
    assert torch.allclose(mlp.log_probabilities(mlps, batch[0]), before[[0, 2]], atol=1e-12)
