"""The tracker against AdamW worked out again in float64 numpy."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from variance_dynamics.base import schedules
from variance_dynamics.roles.find_roles import find_roles
from variance_dynamics.tracking import stacks
from variance_dynamics.tracking.arguments import OF_MATRICES
from variance_dynamics.tracking.tracker import Tracker
from variance_dynamics.weights.parameter import Parameter

STEPS, LR, DECAY, BETAS, EPS, CLIP = 12, 3e-3, 0.1, (0.9, 0.95), 1e-8, 0.5
DUMPS = [0, 1, 2, 5, 10, 12]
MATRICES = [Parameter("0.weight", "embedding", 0, 2, 20, 8), Parameter("1.weight", "q", 1, 2, 8, 8),
            Parameter("2.weight", "mlp_in", 1, 2, 8, 24), Parameter("3.weight", "mlp_out", 2, 2, 24, 8),
            Parameter("4.weight", "k", 2, 2, 8, 8)]


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8), nn.Linear(8, 24), nn.Linear(24, 8), nn.Linear(8, 8)]
    return nn.Sequential(nn.Embedding(20, 8), *layers)


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)


def float64(tensor):
    return tensor.detach().double().numpy().copy()


def tracker_of(model, optimizer, dumps=DUMPS, measure=OF_MATRICES, windows=(), matrices=MATRICES):
    """Of the given matrices, whatever their names."""
    return Tracker(model, optimizer, matrices=matrices, measure=measure, schedule=schedules.at(dumps),
                   windows=windows)


def values_of(tracker):
    return tracker.frame().set_index(["stat", "role", "step"]).value


def train(model, optimizer, tracker=None, first=0, last=STEPS):
    """Updates first+1 .. last on data that depend on the step only; weights and gradients in float64."""
    weights, gradients = [], []
    for step in range(first + 1, last + 1):
        weights.append({p.name: float64(model.get_parameter(p.name)) for p in MATRICES})
        generator = torch.Generator().manual_seed(step)
        loss = model(torch.randint(0, 20, (32,), generator=generator)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        gradients.append({p.name: float64(model.get_parameter(p.name).grad) for p in MATRICES})
        if tracker is not None:
            tracker.before_step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    weights.append({p.name: float64(model.get_parameter(p.name)) for p in MATRICES})
    return weights, gradients


@pytest.fixture(scope="module")
def tracked():
    model = network()
    optimizer = adamw(model)
    tracker = tracker_of(model, optimizer, windows=(2, 5))
    weights, gradients = train(model, optimizer, tracker)
    table = values_of(tracker)
    assert table.index.is_unique
    return table, weights, gradients, model


def clipped(model, gradients):
    """The gradients after clipping by the norm over all parameters, biases included: worked out once more."""
    other = network()
    scales = []
    optimizer = adamw(other)
    for step in range(1, STEPS + 1):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        other(torch.randint(0, 20, (32,), generator=generator)).square().sum().backward()
        norm = np.sqrt(sum((p.grad.double() ** 2).sum().item() for p in other.parameters()))
        scales.append(min(1, CLIP / (norm + 1e-6)))
        torch.nn.utils.clip_grad_norm_(other.parameters(), CLIP)
        optimizer.step()
    return [{name: g * scale for name, g in at.items()} for at, scale in zip(gradients, scales, strict=True)]


def test_weight_statistics(tracked):
    table, weights, _, _ = tracked
    for p in MATRICES:
        for step in DUMPS:
            w = weights[step][p.name]
            assert table["std", p.role, step] == pytest.approx(w.std(), rel=1e-5)
            assert table["mean", p.role, step] == pytest.approx(w.mean(), abs=1e-6)
            assert table["absmax", p.role, step] == pytest.approx(np.abs(w).max(), rel=1e-6)


def test_gradients_are_measured_before_clipping(tracked):
    table, _, gradients, _ = tracked
    for p in MATRICES:
        for step in DUMPS[1:]:
            g = gradients[step - 1][p.name]
            assert table["grad_norm", p.role, step] == pytest.approx(np.linalg.norm(g), rel=1e-5)
            kurtosis = ((g - g.mean()) ** 4).mean() / g.var() ** 2 - 3
            assert table["grad_kurtosis", p.role, step] == pytest.approx(kurtosis, rel=1e-4, abs=1e-4)
    assert ("grad_norm", "q", 0) not in table.index


def test_update_rms_and_epsilon_share_are_adam_s(tracked):
    """u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps), before lr and decay."""
    table, _, gradients, model = tracked
    for p in MATRICES:
        m = v = 0.0
        for step, at in enumerate(clipped(model, gradients), start=1):
            m = BETAS[0] * m + (1 - BETAS[0]) * at[p.name]
            v = BETAS[1] * v + (1 - BETAS[1]) * at[p.name] ** 2
            root = np.sqrt(v / (1 - BETAS[1] ** step))
            update = m / (1 - BETAS[0] ** step) / (root + EPS)
            if step in DUMPS:
                share = (EPS / (root + EPS)).mean()
                expected = {"update_rms": np.sqrt((update**2).mean()), "epsilon_share": share}
                for stat, value in expected.items():
                    assert table[stat, p.role, step] == pytest.approx(value, rel=1e-3)


def test_displacements_over_windows_and_from_the_start(tracked):
    table, weights, _, _ = tracked
    for p in MATRICES:
        windows = [(str(w), step - w, step) for w in (2, 5) for step in range(w, STEPS + 1, w)]
        for name, a, b in [*windows, *(("init", 0, step) for step in DUMPS[1:])]:
            start, moved = weights[a][p.name], weights[b][p.name] - weights[a][p.name]
            assert table[f"delta_ms_{name}", p.role, b] == pytest.approx((moved**2).mean(), rel=1e-4)
            dot = (start * moved).mean()
            assert table[f"delta_dot_{name}", p.role, b] == pytest.approx(dot, rel=1e-3, abs=1e-9)
    assert ("delta_ms_2", "q", 5) not in table.index and ("delta_ms_init", "q", 0) not in table.index


def test_tracking_does_not_change_training(tracked):
    _, weights, _, _ = tracked
    model = network()
    alone, _ = train(model, adamw(model))
    for name, value in alone[-1].items():
        assert np.array_equal(value, weights[-1][name])


def test_resumed_tables_are_the_same(tracked):
    table = tracked[0]
    model = network()
    optimizer = adamw(model)
    first = tracker_of(model, optimizer, windows=(2, 5))
    train(model, optimizer, first, last=7)
    first.close()
    optimizer.load_state_dict(optimizer.state_dict())  # replaces its param_groups
    second = tracker_of(model, optimizer, windows=(2, 5))
    second.load_state_dict(first.state_dict())
    train(model, optimizer, second, first=7)
    pd.testing.assert_series_equal(values_of(second), table)


def test_other_optimizers_frozen_weights_and_half_precision():
    model = network().bfloat16()
    model[3].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LR)
    tracker = tracker_of(model, optimizer, [0, 1])
    before = model[1].weight.detach().double()
    model(torch.arange(20)).square().sum().backward()
    optimizer.step()
    table = values_of(tracker)
    update = (model[1].weight.detach().double() - before) / LR
    assert table["update_rms", "q", 1] == pytest.approx(update.square().mean().sqrt().item(), rel=1e-4)
    assert np.isnan(table["update_rms", "mlp_out", 1]) and np.isnan(table["grad_norm", "mlp_out", 1])
    assert not (table.index.get_level_values("stat") == "epsilon_share").any()


def test_batches_and_shared_memory_change_no_byte(tracked, monkeypatch):
    monkeypatch.setattr(stacks, "CACHED", 100)
    monkeypatch.setattr(stacks, "SHARED", 100)
    model = network()
    optimizer = adamw(model)
    other = tracker_of(model, optimizer, windows=(2, 5))
    assert len(other.stacks) == len(MATRICES)
    train(model, optimizer, other)
    pd.testing.assert_series_equal(values_of(other), tracked[0])


def test_pieces_of_a_fused_tensor_are_measured_apart():
    model = nn.ModuleDict({"attn": nn.ModuleDict({"c_attn": nn.Linear(8, 24), "c_proj": nn.Linear(8, 8)})})
    pieces = find_roles({name: tuple(p.shape) for name, p in model.named_parameters()}).pieces
    optimizer = adamw(model)
    tracker = tracker_of(model, optimizer, [0, 1], matrices=pieces)
    before = float64(model["attn"]["c_attn"].weight)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    table = values_of(tracker)
    fused = model["attn"]["c_attn"].weight
    now, update = float64(fused), (float64(fused) - (1 - LR * DECAY) * before) / LR
    for i, role in enumerate(("q", "k", "v")):
        rows = slice(8 * i, 8 * i + 8)
        norm = np.linalg.norm(float64(fused.grad)[rows])
        assert table["std", role, 1] == pytest.approx(now[rows].std(), rel=1e-5)
        assert table["grad_norm", role, 1] == pytest.approx(norm, rel=1e-5)
        assert table["update_rms", role, 1] == pytest.approx(np.sqrt((update[rows] ** 2).mean()), rel=1e-3)


@pytest.mark.parametrize("optimizer, decoupled", [(torch.optim.Adam, False), (torch.optim.Adam, True)])
def test_decay_is_taken_out_where_the_optimizer_says_it_is_decoupled(optimizer, decoupled):
    model = network()
    adam = optimizer(model.parameters(), lr=LR, weight_decay=30.0, decoupled_weight_decay=decoupled)
    tracker = tracker_of(model, adam, [1])
    model(torch.arange(20)).square().sum().backward()
    adam.step()
    table = values_of(tracker)
    assert table["update_rms", "q", 1] == pytest.approx(1, rel=0.01), "Adam's first update is a sign"


def test_without_a_learning_rate_there_is_no_update():
    model = network()
    optimizer = adamw(model)
    tracker = tracker_of(model, optimizer, [1])
    model(torch.arange(20)).square().sum().backward()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    table = values_of(tracker)
    assert table.update_rms.isna().all() and table.epsilon_share.notna().all()


def test_what_is_measured_is_switched_by_name():
    expected = {"weights": {"std", "mean", "rms", "absmax", "kurtosis"},
                "gradients": {"grad_norm", "grad_kurtosis"}, "updates": {"update_rms", "epsilon_share"},
                "displacement": {"delta_ms_init", "delta_dot_init", "delta_ms_2", "delta_dot_2"}}
    for measure, stats in expected.items():
        model = network()
        optimizer = adamw(model)
        windows = (2,) if measure == "displacement" else ()
        tracker = tracker_of(model, optimizer, [0, 1, 2], [measure], windows)
        train(model, optimizer, tracker, last=2)
        assert set(tracker.frame().stat) == stats


@pytest.mark.cuda
def test_nothing_waits_for_the_device():
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    tracker = tracker_of(model, optimizer, windows=(2, 5))
    for _ in range(1, 6):
        model(torch.arange(20, device="cuda")).square().sum().backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            tracker.before_step()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(tracker.frame())


def test_stacked_experts_are_measured_each_and_have_no_activations():
    """Their layer gives one output for all of them, which is none of theirs."""
    torch.manual_seed(0)
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.randn(3, 10, 8))
    layer.forward = lambda x: x @ layer.weight.sum(0).T
    model = nn.ModuleDict({"experts": nn.ModuleDict({"input_linear": layer})})
    model.forward = lambda x: layer(x)
    optimizer, start = adamw(model), float64(layer.weight)
    tracker = Tracker(model, optimizer, 1, config={"hidden_size": 8}, measure=("weights", "activations"))
    model(torch.randn(4, 8)).square().sum().backward()
    optimizer.step()
    table = tracker.frame()
    stds = table[(table.stat == "std") & (table.step == 0)]
    np.testing.assert_allclose(stds.value, [expert.std() for expert in start], rtol=1e-6)
    assert not any(table.stat.str.startswith("activation"))
