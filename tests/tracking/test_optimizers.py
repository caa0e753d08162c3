"""The tracker with every kind of optimizer, and with several at once, against float64 numpy."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lion import Lion
from networks import mlp, transformer
from variance_dynamics import Tracker
from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.of_model import roles_of

ALL = ["weights", "gradients", "updates", "settings", "budget"]
TERMS = ["budget_alignment", "budget_injection", "budget_decay"]
LR, WD = 0.02, 0.5


def table(tracker):
    return tracker.frame().set_index(["stat", "name", "step"]).value


def gradients(model, step, without=()):
    """Random ones on every parameter, but None on some."""
    generator = torch.Generator().manual_seed(step)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
        parameter.grad = None if name in without else drawn


def square(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 32, bias=False)).to(dtype)


def rms(values):
    return float(np.sqrt((np.asarray(values) ** 2).mean()))


def test_muon_beside_adamw_on_a_gpt_against_a_hand_computation():
    model = transformer("gpt2").double().train()
    tokens = torch.randint(0, 101, (4, 16), generator=torch.Generator().manual_seed(0))
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and ".h." in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and ".h." in n)]
    muon = torch.optim.Muon(inside, lr=LR, weight_decay=0.1)
    adamw = torch.optim.AdamW([{"params": [p for p in rest if p.ndim == 2], "weight_decay": 0.2},
                               {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0}], lr=1e-3)
    tracker = Tracker(model, [muon, adamw], every=1, measure=ALL)
    pieces = roles_of(model).pieces
    seen = []
    for _ in range(4):
        model.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        before = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
        grads = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
        muon.step()
        adamw.step()
        seen.append((before, grads, {n: p.detach().numpy().copy() for n, p in model.named_parameters()}))
    measured, checked = table(tracker), 0
    updates = {n: adam_updates(n, [grads for _, grads, _ in seen]) for n in ("transformer.wte.weight",)}
    for step, (before, grads, after) in enumerate(seen, start=1):
        for piece in pieces:
            w, g, now = (piece.of(each[piece.tensor]).ravel() for each in (before, grads, after))
            lr, wd = (LR, 0.1) if ".h." in piece.tensor else (1e-3, 0.2)
            u = -(now - (1 - lr * wd) * w) / lr
            if piece.tensor in updates:
                np.testing.assert_allclose(u, updates[piece.tensor][step - 1].ravel(), rtol=1e-6, atol=1e-9)
            central = now - now.mean()
            expected = {
                "std": now.std(), "mean": now.mean(), "rms": rms(now), "absmax": np.abs(now).max(),
                "kurtosis": (central**4).mean() / now.var() ** 2 - 3, "grad_norm": np.linalg.norm(g),
                "update_rms": rms(u), "lr": lr, "weight_decay": wd,
                "budget_alignment": -2 * lr * (1 - lr * wd) * (w * u).mean(),
                "budget_injection": lr**2 * (u**2).mean(),
                "budget_decay": ((1 - lr * wd) ** 2 - 1) * (w**2).mean()}
            for stat, value in expected.items():
                got = measured[stat, piece.parameter.name, step]
                assert got == pytest.approx(value, rel=1e-6, abs=1e-12), (stat, piece.parameter.name, step)
                checked += 1
            change = (now**2).mean() - (w**2).mean()
            terms = sum(measured[term, piece.parameter.name, step] for term in TERMS)
            assert terms == pytest.approx(change, rel=1e-4), piece.parameter.name
    assert checked == 4 * len(pieces) * 12
    assert set(measured.xs("epsilon_share").dropna().index.get_level_values("name")) == {
        "transformer.wte.weight", "transformer.wpe.weight"}


def adam_s(name, grads, betas=(0.9, 0.999), eps=1e-8):
    """Adam's updates of one parameter."""
    m = v = 0.0
    for step, each in enumerate(grads, start=1):
        m = betas[0] * m + (1 - betas[0]) * each[name]
        v = betas[1] * v + (1 - betas[1]) * each[name] ** 2
        yield m / (1 - betas[0] ** step) / (np.sqrt(v / (1 - betas[1] ** step)) + eps)


def adam_updates(*arguments):
    return list(adam_s(*arguments))


@pytest.mark.parametrize("make, coupled", [
    (lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=WD), False),
    (lambda p: torch.optim.Muon(p, lr=LR, weight_decay=WD), False),
    (lambda p: torch.optim.Adafactor(p, lr=LR, weight_decay=WD), False),
    (lambda p: Lion(p, lr=LR, weight_decay=WD), False),
    (lambda p: torch.optim.NAdam(p, lr=LR, weight_decay=WD, decoupled_weight_decay=True), False),
    (lambda p: torch.optim.Adam(p, lr=LR, weight_decay=WD), True),
    (lambda p: torch.optim.SGD(p, lr=LR, weight_decay=WD), True)])
def test_decoupled_decay_is_no_part_of_the_update_and_coupled_decay_is(make, coupled):
    model, plain = square(), square()
    optimizer, without = make(model.parameters()), make(plain.parameters())
    for group in without.param_groups:
        group["weight_decay"] = 0.0
    tracker, other = (Tracker(m, o, every=1, measure=ALL) for m, o in ((model, optimizer), (plain, without)))
    before = model[0].weight.detach().double().numpy().copy()
    for each, step in ((model, optimizer), (plain, without)):
        gradients(each, 0)
        step.step()
    got, alone = table(tracker), table(other)
    if coupled and isinstance(optimizer, torch.optim.SGD):
        expected = rms(model[0].weight.grad.double().numpy() + WD * before)
        assert got["update_rms", "0.weight", 1] == pytest.approx(expected, rel=1e-4)
    else:
        assert got["update_rms", "0.weight", 1] == pytest.approx(alone["update_rms", "0.weight", 1], rel=1e-4)
    assert np.isnan(got["weight_decay", "0.weight", 1]) == coupled
    assert (got["budget_decay", "0.weight", 1] == 0) == coupled
    change = rms(model[0].weight.detach().double().numpy()) ** 2 - rms(before) ** 2
    assert sum(got[term, "0.weight", 1] for term in TERMS) == pytest.approx(change, rel=1e-4)


def test_a_decay_of_unknown_kind_is_said_once_and_stays_in_the_update():
    class Fancy(torch.optim.Optimizer):
        def step(self, closure=None):
            pass

    model = square()
    with pytest.warns(UserWarning, match="weight decay of Fancy: not known whether it is decoupled") as said:
        Tracker(model, Fancy(model.parameters(), {"lr": LR, "weight_decay": WD}))
    assert len(said) == 1
    Tracker(model, Fancy(model.parameters(), {"lr": LR, "weight_decay": 0.0}))
    Tracker(model, Fancy(model.parameters(), {"lr": LR, "weight_decay": WD, "weight_decouple": True}))


def test_without_a_gradient_there_is_no_update_and_no_decay():
    model = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(3)))  # one stack, as experts are
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WD)
    tracker = Tracker(model, optimizer, every=1, measure=ALL)
    gradients(model, 0, without=["1.weight"])
    optimizer.step()
    got = table(tracker)
    assert got["update_rms", "1.weight", 1] == 0 and got["budget_decay", "1.weight", 1] == 0
    assert np.isnan(got["grad_norm", "1.weight", 1]) and np.isnan(got["epsilon_share", "1.weight", 1])
    for name in ("0.weight", "2.weight"):
        assert got["update_rms", name, 1] == pytest.approx(1, rel=1e-3)
        assert got["epsilon_share", name, 1] < 1e-3 and got["budget_decay", name, 1] < 0


def test_a_step_that_a_fused_optimizer_skips_is_an_update_of_0():
    model = square()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WD, fused=True)
    tracker = Tracker(model, optimizer, every=1, measure=ALL)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    scaler.scale(torch.zeros(1))
    gradients(model, 0)
    model[0].weight.grad[0, 0] = np.inf
    scaler.step(optimizer)
    got = table(tracker)
    assert got["update_rms", "0.weight", 1] == 0 and got["budget_decay", "0.weight", 1] == 0


def test_each_matrix_is_measured_after_the_steps_of_its_own_optimizer():
    """A GAN whose discriminator makes two steps for each of the generator."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"generator": nn.Linear(6, 6), "critic": nn.Linear(6, 6)})
    first, second = (torch.optim.SGD(model[part].parameters(), lr=LR) for part in ("generator", "critic"))
    tracker = Tracker(model, [first, second], every=2)
    stds = {"generator.weight": [], "critic.weight": []}
    for step in range(4):
        gradients(model, step)
        for _ in range(2):
            second.step()
            stds["critic.weight"].append(model["critic"].weight.detach().double().std(correction=0).item())
        first.step()
        stds["generator.weight"].append(model["generator"].weight.detach().double().std(correction=0).item())
    got = table(tracker)["std"]
    for name, steps in (("generator.weight", [2, 4]), ("critic.weight", [2, 4, 6, 8])):
        assert list(got[name].index) == [0, *steps]
        assert list(got[name][1:]) == pytest.approx([stds[name][step - 1] for step in steps], rel=1e-5)


def test_a_run_of_several_optimizers_goes_on_from_its_state():
    def run(stop):
        model = mlp()
        weights = list(model.parameters())
        optimizers = [torch.optim.SGD(weights[:2], lr=LR), torch.optim.AdamW(weights[2:], lr=LR)]
        options = {"every": 2, "measure": ["weights", "updates", "displacement"], "windows": [3]}
        tracker = Tracker(model, optimizers, **options)
        for step in range(6):
            if step == stop:
                state = tracker.state_dict()
                tracker.close()
                tracker = Tracker(model, optimizers, start=stop, **options)
                tracker.load_state_dict(state)
            gradients(model, step)
            for optimizer in optimizers:
                optimizer.step()
        return tracker.frame()

    pd.testing.assert_frame_equal(run(3), run(None))
    with pytest.raises(BadInput, match="state is that of 2 optimizers: expected 1"):
        Tracker(mlp()).load_state_dict({"steps": [1, 1], "records": [], "anchors": {}})


def test_matrices_of_no_optimizer_are_named():
    model = mlp()
    optimizer = torch.optim.AdamW(model[0].parameters())
    with pytest.warns(UserWarning, match=r"1\.0\.weight, 2\.weight: updated by no .*\[muon, adamw\]"):
        Tracker(model, optimizer)
    model[1].requires_grad_(False), model[2].requires_grad_(False)
    Tracker(model, optimizer)  # frozen: nothing to say


def test_a_group_that_is_added_later_is_followed():
    model = mlp()
    model[1].requires_grad_(False), model[2].requires_grad_(False)
    optimizer = torch.optim.AdamW(model[0].parameters(), lr=LR)
    tracker = Tracker(model, optimizer, every=1, measure=["weights", "updates", "displacement"], windows=[1])
    for step in range(2):
        gradients(model, step)
        optimizer.step()
        if step == 0:
            model.requires_grad_(True)
            optimizer.add_param_group({"params": [*model[1].parameters(), *model[2].parameters()]})
    got = table(tracker)
    assert np.isnan(got["update_rms", "2.weight", 1])
    assert got["update_rms", "2.weight", 2] == pytest.approx(1, rel=1e-3), "Adam's first update is a sign"
    assert got["delta_ms_init", "2.weight", 2] == pytest.approx(LR**2, rel=0.02)


def test_replaced_parameters_are_followed_and_said_where_no_optimizer_has_them():
    model, other = mlp(), mlp(seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    tracker = Tracker(model, optimizer, every=1)
    model.load_state_dict({name: value.clone() for name, value in other.state_dict().items()}, assign=True)
    gradients(model, 0)
    with pytest.warns(UserWarning, match=r"2\.weight: replaced while .* expected an optimizer") as said:
        optimizer.step()
        optimizer.step()
    assert len(said) == 1
    got = table(tracker)
    std = other[2].weight.detach().double().std(correction=0).item()
    assert got["std", "2.weight", 1] == pytest.approx(std, rel=1e-5)
    optimizer.param_groups[0]["params"] = list(model.parameters())
    gradients(model, 1)
    optimizer.step()
    assert table(tracker)["update_rms", "2.weight", 3] == pytest.approx(1, rel=1e-3)


def test_float32_copies_of_the_weights_are_measured_in_their_place():
    model = mlp().bfloat16()
    copies = [nn.Parameter(p.detach().float()) for p in model.parameters()]
    optimizer = torch.optim.AdamW(copies, lr=1e-6, weight_decay=0.0)
    tracker = Tracker(model, optimizer, every=1)
    for copy in copies:
        copy.grad = torch.ones_like(copy)
    optimizer.step()
    for parameter, copy in zip(model.parameters(), copies, strict=True):
        parameter.data.copy_(copy)
    got = table(tracker)
    assert got["update_rms", "2.weight", 1] == pytest.approx(1, rel=0.1), "bfloat16 would hide it"
    assert got["grad_norm", "2.weight", 1] == pytest.approx(model[2].weight.numel() ** 0.5)


@pytest.mark.parametrize("missing", ["lr", "betas", "weight_decay"])
def test_groups_without_a_setting_raise_nothing_in_the_user_s_step(missing):
    class Bare(torch.optim.AdamW):
        def step(self, closure=None):
            kept = self.param_groups[0].pop(missing)
            self.state[self.param_groups[0]["params"][0]] |= {"exp_avg_sq": torch.ones(32, 32), "step": 1.0}
            self.kept = kept

    model = square()
    optimizer = Bare(model.parameters(), lr=LR)
    tracker = Tracker(model, optimizer, every=1, measure=ALL)
    gradients(model, 0)
    optimizer.step()
    got = table(tracker)
    assert np.isnan(got["update_rms", "0.weight", 1]) == (missing == "lr")
    assert np.isnan(got["lr", "0.weight", 1]) == (missing == "lr")
    assert (("epsilon_share", "0.weight", 1) in got.index) == (missing != "betas")


@pytest.mark.parametrize("optimizer, message", [
    (torch.optim.SGD(nn.Linear(2, 2).parameters()), r"optimizer \(SGD\): none of its parameters is in"),
    ([torch.optim.SGD(nn.Linear(2, 2).parameters())] * 2, "holds one optimizer twice"),
    (object(), "optimizer is of type object: expected a torch optimizer")])
def test_wrong_optimizers_are_refused(optimizer, message):
    with pytest.raises(BadInput, match=message):
        Tracker(mlp(), optimizer)


def test_of_two_the_wrong_one_is_named():
    model = mlp()
    optimizers = [torch.optim.SGD(each.parameters()) for each in (model, nn.Linear(2, 2))]
    with pytest.raises(BadInput, match=r"optimizer 2 \(SGD\): none of its parameters"):
        Tracker(model, optimizers)


def test_a_tracker_that_saw_no_step_says_so_and_an_error_comes_first():
    model = mlp()
    weights = list(model.parameters())
    optimizers = [torch.optim.SGD(weights[:2]), torch.optim.AdamW(weights[2:])]
    tracker = Tracker(model, optimizers)
    gradients(model, 0)
    optimizers[0].step()
    with pytest.warns(UserWarning, match="no step of AdamW was seen"):
        tracker.close()
    with pytest.warns(UserWarning, match=r"no step of step\(\) was seen"):
        Tracker(model).close()
    with pytest.raises(ZeroDivisionError), Tracker(model, optimizers):  # and no warning
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["run.parquet", "run.jsonl"])
def test_a_table_that_exists_is_never_overwritten(name, tmp_path):
    model, path = mlp(), tmp_path / name
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    gradients(model, 0)
    with Tracker(model, optimizer, every=1, path=path) as first:
        optimizer.step()
    kept, weight = path.read_bytes(), model[2].weight.detach().clone()
    second = Tracker(model, optimizer, every=1, path=path)
    for act in (optimizer.step, second.flush, second.close):
        with pytest.raises(BadInput, match=r"run\..*, a file that exists: expected a new name, or load_"):
            act()
    assert path.read_bytes() == kept and torch.equal(weight, model[2].weight)
    resumed = Tracker(model, optimizer, every=1, path=path)
    resumed.load_state_dict(first.state_dict())
    optimizer.step()
    resumed.close()
    assert path.read_bytes() != kept and set(resumed.frame().step) == {0, 1, 2}


class Gated(nn.Module):
    """A matrix that no pattern knows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.query_key_value, self.head = nn.Linear(8, 8), nn.Linear(8, 2)  # 8 rows are no three parts

    def forward(self, x):
        return self.head(torch.tanh(self.query_key_value(x)))


def test_tracking_breaks_no_graph_also_of_unknown_parameters():
    def run(compiled):
        model = Gated()
        called = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        with pytest.warns(UserWarning, match="no role known of .*query_key_value"):
            tracker = Tracker(called, optimizer, every=1, measure=ALL)
        for step in range(3):
            optimizer.zero_grad()
            x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
            called(x).square().mean().backward()
            optimizer.step()
        return tracker.frame()

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = run(True)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    compiled = compiled.assign(name=compiled.name.str.removeprefix("_orig_mod."))
    pd.testing.assert_frame_equal(compiled, run(False), rtol=1e-4)
