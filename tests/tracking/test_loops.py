"""The public tracker in training loops of other people's making, against float64 numpy."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from networks import CNN, FAMILIES, NanoGPT, mlp, transformer
from variance_dynamics import Tracker
from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.of_model import roles_of

LR = 1e-3


def adamw(model, **changes):
    return torch.optim.AdamW(model.parameters(), lr=LR, **changes)


def features(step, rows=16):
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(step))


def update(model, optimizer, step, parts=1, clip=None):
    optimizer.zero_grad()
    for part in features(step).chunk(parts):
        (model(part).square().mean() / parts).backward()
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def table(tracker):
    return tracker.frame().set_index(["stat", "name", "step"]).value


@pytest.fixture(scope="module")
def plain():
    model = mlp()
    optimizer = adamw(model)
    with Tracker(model, optimizer, every=2) as tracker:
        for step in range(5):
            update(model, optimizer, step)
    return tracker.frame()


def test_the_loop_is_left_alone_and_its_own_steps_are_counted(plain):
    assert list(plain.columns) == ["step", "name", "layer", "role", "stat", "value"]
    assert plain.groupby("stat").step.unique().map(list).to_dict() == {
        **{stat: [0, 2, 4] for stat in ("std", "mean", "rms", "absmax", "kurtosis", "lr", "weight_decay")},
        "rows": [0], "columns": [0],
        **{stat: [2, 4] for stat in ("grad_norm", "grad_kurtosis", "update_rms", "epsilon_share")}}
    alone = mlp()
    optimizer = adamw(alone)
    for step in range(4):
        update(alone, optimizer, step)
    last = plain[(plain.step == 4) & (plain.stat == "std")].set_index("name").value
    for name, std in last.items():
        assert std == pytest.approx(alone.get_parameter(name).detach().double().numpy().std(), rel=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "nano"])
def test_q_k_and_v_are_measured_apart_in_every_family(family):
    model = NanoGPT() if family == "nano" else transformer(family)
    stds = Tracker(model).frame().query("stat == 'std'")
    q = stds[stds.role == "q"].value
    assert len(q) == 2 and set(stds.role) >= {"q", "k", "v", "attn_out", "mlp_in", "mlp_out"}
    pieces = [p for p in roles_of(model).pieces if p.parameter.role == "q"]
    expected = [p.of(model.get_parameter(p.tensor).detach()).double().numpy().std() for p in pieces]
    np.testing.assert_allclose(q, expected, rtol=1e-5)


def test_interleaved_heads_of_neox_against_the_layout_by_hand():
    model = transformer("gpt_neox")
    stds = Tracker(model).frame().query("stat == 'std' and layer == 1").set_index("role").value
    fused = model.get_parameter("gpt_neox.layers.0.attention.query_key_value.weight").detach().double()
    for i, role in enumerate("qkv"):
        heads = fused.reshape(4, 3, 8, 32)[:, i]
        assert stds[role] == pytest.approx(heads.numpy().std(), rel=1e-5)


def test_what_no_pattern_knows_is_tracked_as_it_is_and_said():
    model = nn.Sequential(nn.Bilinear(4, 5, 6), nn.Bilinear(4, 5, 6), nn.Linear(6, 2))
    with pytest.warns(UserWarning, match=r"no role known of 0\.weight, 1\.weight: tracked whole"):
        tracker = Tracker(model)
    assert table(tracker)["std", "0.weight", 0] == pytest.approx(
        model[0].weight.detach().double().numpy().std(), rel=1e-5)
    known = Tracker(model, patterns={"^0": "embedding", "^1": "ignore"}).frame()
    assert dict(zip(known.name, known.role, strict=True)) == {"0.weight": "embedding", "2.weight": "readout"}


def test_convolutions():
    stds = Tracker(CNN()).frame().query("stat == 'std'")
    assert list(stds.name) == ["conv1.weight", "conv2.weight", "fc.weight"]
    assert list(stds.role) == ["conv", "conv", "readout"]


def test_gradients_are_sums_over_micro_batches_as_the_optimizer_gets_them(plain):
    model = mlp()
    optimizer = adamw(model)
    tracker = Tracker(model, optimizer, every=2)
    for step in range(5):
        update(model, optimizer, step, parts=4)
    whole = plain.set_index(["stat", "name", "step"]).value
    np.testing.assert_allclose(table(tracker).grad_norm, whole.grad_norm, rtol=1e-4)
    optimizer = adamw(model)
    clipped = Tracker(model, optimizer, every=1)
    update(model, optimizer, 0, clip=1e-3)
    norms = table(clipped).grad_norm
    assert np.sqrt((norms**2).sum()) <= 1e-3
    optimizer.zero_grad()
    model(features(0)).square().mean().backward()
    norm = sum(p.grad.square().sum() for p in model.parameters() if p.ndim == 2).sqrt().item()
    clipped.before_step()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()
    assert np.sqrt((table(clipped).grad_norm.xs(2, level="step") ** 2).sum()) == pytest.approx(norm, rel=1e-5)


def test_a_closure_computes_the_gradients_first(plain):
    model = mlp()
    optimizer = adamw(model)
    tracker = Tracker(model, optimizer, every=2)
    for step in range(5):
        def closure(step=step):
            optimizer.zero_grad()
            loss = model(features(step)).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
    pd.testing.assert_frame_equal(tracker.frame(), plain)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_unscaled_under_amp(plain, fused):
    model = mlp()
    optimizer = adamw(model, fused=fused)
    tracker = Tracker(model, optimizer, every=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(5):
        optimizer.zero_grad()
        scaler.scale(model(features(step)).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
    expected = plain.set_index(["stat", "name", "step"]).value
    np.testing.assert_allclose(table(tracker).grad_norm, expected.grad_norm, rtol=1e-3)


def test_after_a_skipped_step_the_gradients_are_those_of_the_update():
    model = nn.Linear(4, 3)
    optimizer = adamw(model)
    tracker = Tracker(model, optimizer, every=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for gradient in (np.nan, 1.0):
        scaler.scale(torch.zeros(1))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        scaler.unscale_(optimizer)
        tracker.before_step()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update(1.0)
    assert tracker.steps == 1
    assert table(tracker)["grad_norm", "weight", 1] == pytest.approx(12**0.5)


def test_a_compiled_model_gives_the_same_table(plain):
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    optimizer = adamw(compiled)
    tracker = Tracker(compiled, optimizer, every=2)
    for step in range(5):
        update(compiled, optimizer, step)
    pd.testing.assert_frame_equal(tracker.frame(), plain, rtol=1e-4)
    with pytest.raises(BadInput, match=r"activations of a compiled model: expected the model before"):
        Tracker(compiled, optimizer, measure=["activations"])


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = mlp()

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.inside, x, use_reentrant=False)


def test_activations_and_checkpointing():
    model = Checkpointed()
    optimizer = adamw(model)
    tracker = Tracker(model, optimizer, every=2, measure=["activations"])
    outputs = []
    handle = model.inside[0][0].register_forward_hook(lambda m, i, o: outputs.append(o.detach().double()))
    for step in range(4):
        update(model, optimizer, step, parts=2)
        model.eval()
        model(features(99))
        model.train()
    handle.remove()
    values = table(tracker)
    assert set(values.index.get_level_values("step")) == {2, 4}
    for step in (2, 4):
        first = outputs[5 * (step - 1)].numpy()  # two micro batches, each computed again, and one evaluation
        assert values["activation_std", "inside.0.0.weight", step] == pytest.approx(first.std(), rel=1e-5)
        assert values["activation_mean", "inside.0.0.weight", step] == pytest.approx(first.mean(), rel=1e-3)


def test_activations_of_a_fused_layer_come_apart():
    model = nn.ModuleDict({"attn": nn.ModuleDict({"c_attn": nn.Linear(8, 24), "c_proj": nn.Linear(8, 8)})})
    tracker = Tracker(model, adamw(model), every=1, measure="activations")
    out = model["attn"]["c_attn"](torch.randn(5, 3, 8)).detach().double().numpy()
    tracker.optimizers[0].step()
    values = table(tracker)
    for i, role in enumerate("qkv"):
        assert values["activation_std", f"attn.c_attn.weight[{role}]", 1] == pytest.approx(
            out[..., 8 * i : 8 * i + 8].std(), rel=1e-5)
    assert np.isnan(values["activation_std", "attn.c_proj.weight", 1]), "it has not been called"


def test_without_an_optimizer_the_loop_says_when():
    model = mlp()
    tracker = Tracker(model, every=3)
    for _ in range(7):
        tracker.step()
    assert list(tracker.frame().step.unique()) == [0, 3, 6]
    assert list(Tracker(model, schedule=lambda step: step == 5, start=5).frame().step.unique()) == [5]


@pytest.mark.parametrize("name", ["run.parquet", "run.jsonl"])
def test_files_hold_the_table_also_after_a_resume(name, tmp_path, monkeypatch):
    monkeypatch.setattr("variance_dynamics.tracking.tracker.FLUSH", 2)

    def read():
        if name.endswith("parquet"):
            return pd.read_parquet(tmp_path / name)
        return pd.DataFrame([json.loads(line) for line in (tmp_path / name).read_text().splitlines()])

    model = mlp()
    optimizer = adamw(model)
    options = {"every": 1, "path": tmp_path / name, "windows": [2],
               "measure": ["weights", "displacement"]}
    first = Tracker(model, optimizer, **options)
    for step in range(4):
        update(model, optimizer, step)
    assert set(read().step) == {0, 1, 2, 3}
    state = first.state_dict()
    first.close()
    second = Tracker(model, optimizer, start=4, **options)
    second.load_state_dict(state)
    for step in range(4, 7):
        update(model, optimizer, step)
    second.close()
    update(model, optimizer, 7)
    pd.testing.assert_frame_equal(read(), second.frame(), rtol=1e-12)
    unbroken = mlp()
    optimizer = adamw(unbroken)
    whole = Tracker(unbroken, optimizer, **options | {"path": None})
    for step in range(7):
        update(unbroken, optimizer, step)
    pd.testing.assert_frame_equal(second.frame(), whole.frame())


@pytest.mark.parametrize("options, message", [
    ({"every": 0}, r"every is 0: expected a whole number of steps"),
    ({"every": 2.5}, r"every is 2\.5: expected"),
    ({"measure": ["weight"]}, r"measure holds 'weight': expected some of weights, gradients"),
    ({"measure": "gradients"}, r"measure holds 'gradients', optimizer is None: expected"),
    ({"windows": [0]}, r"windows holds 0: expected whole numbers of steps"),
    ({"windows": [2]}, r'windows is \[2\], without "displacement" in measure'),
    ({"path": "run.csv"}, r"path is 'run\.csv': expected a name that ends in \.parquet or \.jsonl"),
    ({"patterns": {"x": "queries"}}, r"role is 'queries': expected one of"),
])
def test_bad_input_in_one_line(options, message):
    with pytest.raises(BadInput, match=message):
        Tracker(mlp(), **options)


def test_nothing_to_track_and_a_step_too_many():
    with pytest.raises(BadInput, match="LayerNorm: no weight matrix to track"):
        Tracker(nn.LayerNorm(4))
    model = mlp()
    with pytest.raises(BadInput, match=r"its own step is watched"):
        Tracker(model, adamw(model)).step()
