"""Groups: all models of a seed have the same draws and minibatches; chunks and cores change nothing."""

import math

import numpy as np
import pytest
import torch

from mlp.small_grid import OPTIONS, group, labelled, normal
from study.mlp import grid
from study.mlp.ensemble import Dataset
from study.mlp.grid import Variant
from study.mlp.params import TrainingPlan
from variance_dynamics.weights.schemes import SCHEMES

PLAN = TrainingPlan(steps=12, eval_every=5, eval_rows=1000)
FIXED = ("xavier", "kaiming", "lecun", "torch_default", "orthogonal", "xavier_sqrt2")


@pytest.fixture
def data():
    return Dataset(labelled())


def schemes(lrs=(0.1,)):
    return [Variant(scheme, math.nan, lr) for lr in lrs for scheme in FIXED]


def test_batches_are_permutations_one_after_another():
    order = grid.batches(3, "clusters", rows=10, batch_size=4, steps=5)
    assert order.shape == (5, 4)
    assert sorted(order.flatten().tolist()) == sorted([*range(10), *range(10)])
    assert sorted(order.flatten()[:10].tolist()) == list(range(10))
    assert torch.equal(order, grid.batches(3, "clusters", rows=10, batch_size=4, steps=5))
    assert not torch.equal(order, grid.batches(4, "clusters", rows=10, batch_size=4, steps=5))


def test_scaled_normals_share_their_draws(data):
    names = ("xavier", "kaiming", "lecun")
    some = group([*normal(0.01, 7.0), *(Variant(name, math.nan, 0.1) for name in names)])
    mlps = grid.initial(some, some.models, data)
    for layer, parameter in enumerate(grid.shape(some, data)):
        stds = [0.01, 7.0, *(SCHEMES[name].std(parameter, math.nan) for name in names)]
        z = mlps.weights[layer] / torch.tensor(stds).view(-1, 1, 1)
        assert torch.allclose(z, z[:1].expand_as(z), rtol=1e-5, atol=1e-6)
        assert mlps.weights[layer].shape == (5, parameter.fan_out, parameter.fan_in)
        assert not mlps.biases[layer].any()


def test_other_schemes_are_made_of_the_same_draws(data):
    names = ("lecun", "torch_default", "orthogonal")
    some = group([Variant(name, math.nan, 0.1) for name in names], width=24)
    mlps = grid.initial(some, some.models, data)
    lecun, uniform, orthogonal = mlps.weights[1].flatten(1)
    assert (lecun.argsort() == uniform.argsort()).all()  # Phi is monotonic
    z = mlps.weights[1][0].double().mT * math.sqrt(24)
    cosine = torch.cosine_similarity(z.flatten(), orthogonal.view(24, 24).double().mT.flatten(), dim=0)
    assert cosine > 0.4  # the orthogonal factor of z correlates with z


def test_draws_depend_on_the_seed_and_not_on_the_optimizer(data):
    model = tuple(normal(0.1))
    first, adamw, other = (
        grid.initial(some, model, data).weights[0]
        for some in (group(model), group(model, "adamw"), group(model, seed=1))
    )
    assert torch.equal(first, adamw)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("optimizer", OPTIONS)
def test_the_control_trains_as_kaiming_bit_for_bit(optimizer, data):
    """They have the same draws, minibatches and std, so that a difference would come from the training."""
    some = group(schemes((0.3, 0.01)), optimizer, depth=6, width=32)
    measured = grid.train(some, some.models, data, PLAN, OPTIONS[optimizer])
    for run in (0, 6):
        kaiming, control, xavier = (run + FIXED.index(name) for name in ("kaiming", "xavier_sqrt2", "xavier"))
        for values in measured.values():
            assert values[..., kaiming].tobytes() == values[..., control].tobytes()
        assert (measured["train_loss"][:, kaiming] != measured["train_loss"][:, xavier]).all()


@pytest.mark.parametrize("optimizer", OPTIONS)
def test_a_model_s_bits_do_not_depend_on_its_place(optimizer):
    """30 times the same model, with sizes that are no multiples of a vector or a block."""
    data = Dataset(labelled(features=13, classes=3, rows=54))
    some = group([Variant("kaiming", math.nan, 0.02)] * 30, optimizer, depth=5, width=64, batch_size=32)
    measured = grid.train(some, some.models, data, PLAN, OPTIONS[optimizer])
    for name, values in measured.items():
        assert all(values[..., i].tobytes() == values[..., 0].tobytes() for i in range(30)), name


@pytest.mark.parametrize("layer_bytes", [1, 3000, 10**9])
def test_chunks_keep_all_models_in_order(layer_bytes, data, monkeypatch):
    monkeypatch.setattr(grid, "LAYER_BYTES", layer_bytes)
    some = group(normal(*np.linspace(0.1, 1, 7)))
    parts = grid.chunks(some, data)
    assert [model for part in parts for model in part] == list(some.models)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts) == {1: 7, 3000: 3, 10**9: 1}[layer_bytes]


def test_neither_cores_nor_chunks_change_the_result(data, monkeypatch):
    groups = [group(normal(0.1, 0.5, 1e14, 1.0), optimizer, seed=seed)
              for optimizer in OPTIONS for seed in range(2)]  # fmt: skip

    def run(cores, layer_bytes):
        monkeypatch.setattr(grid, "all_cores", lambda: cores)
        monkeypatch.setattr(grid, "LAYER_BYTES", layer_bytes)
        return list(grid.train_grid(groups, {"clusters": labelled()}, PLAN, OPTIONS))

    one, four, cut = run(1, 10**9), run(4, 10**9), run(2, 3000)
    assert [some for some, _ in four] == groups
    for (_, a), (_, b), (_, c) in zip(one, four, cut, strict=True):
        for name in a:
            assert a[name].tobytes() == b[name].tobytes()
            assert np.allclose(a[name], c[name], rtol=1e-3, atol=1e-5, equal_nan=True)


def test_flops_count_the_matrix_products(data):
    some = group(normal(0.1), depth=3, width=8, batch_size=16)
    forward = 2 * 16 * (6 * 8 + 8 * 8 + 8 * 3)
    assert grid.flops(some, data) == 3 * forward - 2 * 16 * 6 * 8  # no gradient in the data


def test_an_error_in_a_chunk_reaches_the_caller():
    options = {"sgd": {"unknown": 1}}
    with pytest.raises(TypeError):
        list(grid.train_grid([group(normal(0.1))], {"clusters": labelled()}, PLAN, options))
