"""Training many models at once, compared with PyTorch's modules and optimizers on one model at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mlp.small_grid import OPTIONS, group, labelled, normal
from study.mlp import grid
from study.mlp.ensemble import Dataset, Ensemble
from study.mlp.grid import Variant
from study.mlp.params import TrainingPlan
from study.mlp.updates import UPDATES

STEPS, EVERY = 30, 7
PLAN = TrainingPlan(STEPS, EVERY, eval_rows=1000)
CURVES = ("train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy")
LAYERS = ("grad_norm", "second_moment")
TORCH = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.01, foreach=False),
}


@pytest.fixture
def data():
    return Dataset(labelled())


def train(models, data, optimizer="sgd", plan=PLAN, **kinds):
    some = group(models, optimizer, **kinds)
    return grid.train(some, some.models, data, plan, OPTIONS[optimizer])


def module_of(some, model, data):
    """The same initial weights in nn.Linear layers."""
    mlps = grid.initial(some, (model,), data)
    layers = []
    for weight, bias in zip(mlps.weights, mlps.biases, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight[0].clone(), bias[0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loop(some, model, data):
    """One model trained as one writes it by hand: its losses, its gradient norms and its module."""
    module = module_of(some, model, data)
    optimizer = TORCH[some.optimizer](module.parameters(), model.lr)
    order = grid.batches(some.seed, some.dataset, len(data.y["train"]), some.batch_size, STEPS)
    losses, norms = [], []
    for step, rows in enumerate(order):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(data.x["train"][rows]), data.y["train"][rows])
        loss.backward()
        losses.append(loss.item())
        if step % EVERY == 0:
            norms.append([p.grad.norm().item() for p in module.parameters() if p.dim() == 2])
        optimizer.step()
    return losses, norms, module


@pytest.mark.parametrize("optimizer", UPDATES)
def test_same_curves_as_a_plain_loop(optimizer, data):
    lr = {"sgd": 0.3, "momentum": 0.05, "adamw": 0.03}[optimizer]
    models = [*normal(0.5, lr=lr), Variant("kaiming", math.nan, lr), Variant("lecun", math.nan, 0.7 * lr)]
    measured = train(models, data, optimizer)
    for i, model in enumerate(models):
        losses, norms, module = loop(group(models, optimizer), model, data)
        assert measured["train_loss"][:, i] == pytest.approx(losses, rel=2e-4, abs=1e-5)
        assert losses[-1] < 0.9 * losses[0]
        assert measured["grad_norm"][:, :, i] == pytest.approx(np.array(norms), rel=2e-3, abs=1e-5)
        with torch.no_grad():
            logits = module(data.x["test"])
            loss = F.cross_entropy(logits, data.y["test"]).item()
        assert measured["test_loss"][i] == pytest.approx(loss, rel=1e-3)
        assert measured["test_accuracy"][i] == (logits.argmax(1) == data.y["test"]).float().mean().item()


@pytest.mark.parametrize("optimizer", UPDATES)
def test_a_model_does_not_depend_on_its_company(optimizer, data):
    models = normal(0.1, 0.3, 0.5, 1.0, lr=0.02)
    together = train(models, data, optimizer)
    for i in range(len(models)):
        alone = train([models[i]], data, optimizer)
        for name in (*CURVES, *LAYERS):
            assert together[name][..., i] == pytest.approx(alone[name][..., 0], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("optimizer", UPDATES)
def test_a_diverged_model_is_recorded_and_disturbs_nobody(optimizer, data):
    lr = 0.01
    wild, calm = Variant("normal", 1e14, lr), Variant("normal", 0.3, lr)  # the logits overflow at once
    measured = train([calm, wild, calm], data, optimizer)
    alone = train([calm], data, optimizer)
    for name in (*CURVES, *LAYERS):
        assert np.isfinite(measured[name][..., [0, 2]]).all()
        assert measured[name][..., 2] == pytest.approx(alone[name][..., 0], rel=1e-3, abs=1e-5)
    assert not np.isfinite(measured["train_loss"][:, 1]).any()
    assert np.isnan(measured["train_loss"][1:, 1]).all()
    assert np.isnan(measured["val_loss"][1:, 1]).all()
    assert np.isnan(measured["test_loss"][1]) and np.isnan(measured["test_accuracy"][1])
    assert np.isfinite(measured["second_moment"][:, 1]).all()  # in float64


def test_divergence_later_leaves_what_came_before(data):
    calm, slow = Variant("normal", 0.3, 0.05), Variant("normal", 3.0, 1e4)
    measured = train([slow, calm], data)
    losses = measured["train_loss"][:, 0]
    alive = np.isfinite(losses)
    first = alive.argmin()
    assert 0 < first < STEPS and alive[:first].all() and np.isnan(losses[first + 1 :]).all()
    at = np.array(PLAN.eval_steps)
    assert np.isnan(measured["val_loss"][at > first, 0]).all()
    assert np.isfinite(measured["val_loss"][0, 0])
    assert np.isfinite(measured["train_loss"][:, 1]).all()


def test_a_group_of_diverged_models_ends_early_with_full_records(data):
    steps_done = []
    some = group(normal(1e14, 1e15))
    order = grid.batches(0, "clusters", 90, 16, STEPS)
    mlps = grid.initial(some, some.models, data)
    update = UPDATES["sgd"](mlps, torch.tensor([0.1, 0.1]))
    record = Ensemble(mlps, update, data, order, PLAN).run(steps_done.append)
    assert sum(steps_done) == STEPS
    assert record.train_loss.shape == (STEPS, 2)


def test_losses_start_at_ln_k_when_signals_vanish(data):
    measured = train(normal(1e-4), data, depth=8)
    assert measured["train_loss"][:, 0] == pytest.approx(math.log(3), rel=0.05)
    assert measured["val_loss"][0, 0] == pytest.approx(math.log(3), rel=1e-5)


def test_evaluation_uses_at_most_so_many_rows(data):
    few = train(normal(0.5), data, plan=TrainingPlan(STEPS, EVERY, eval_rows=10))
    module = module_of(group(normal(0.5)), normal(0.5)[0], data)
    with torch.no_grad():
        expected = F.cross_entropy(module(data.x["val"][:10]), data.y["val"][:10]).item()
    assert few["val_loss"][0, 0] == pytest.approx(expected, rel=1e-5)


def test_eval_steps_end_at_the_end():
    assert TrainingPlan(20, 10, eval_rows=1).eval_steps == [0, 10, 20]
    assert TrainingPlan(15, 10, eval_rows=1).eval_steps == [0, 10, 15]
