"""Correct models raise no alarm: of other people's init, of every scheme, in 200 seeds."""

import math

import pytest
import torch
from torch import nn

from networks import CNN, FAMILIES, USUAL, NanoGPT, drawn, mlp, transformer
from variance_dynamics.auditing import sampling
from variance_dynamics.auditing.audit import audit
from variance_dynamics.weights.schemes import SCHEMES

SEEDS = 200


def dense(init, seed=0):
    """An MLP and a CNN in one, each weight drawn by a function of torch.nn.init."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3), nn.Linear(64, 128), nn.Linear(128, 10))
    for module in model:
        init(module.weight)
        nn.init.zeros_(module.bias)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_own_init_passes_and_is_recognised(family):
    report = audit(transformer(family, width=64))
    assert not report.alarms and report.exit_code == 0
    assert report.recipe == USUAL[family] and report.sigma == 0.02


@pytest.mark.parametrize(("init", "recipe"), [
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), "kaiming"),
    (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), "kaiming"),
    (lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), "kaiming_fan_out"),
    (nn.init.xavier_normal_, "xavier"), (nn.init.xavier_uniform_, "xavier"),
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), "lecun"),
    (lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), "pytorch"),
    (lambda w: nn.init.trunc_normal_(w, std=0.02), "normal")])
def test_torch_s_own_init_passes_and_is_recognised(init, recipe):
    report = audit(dense(init))
    assert not report.alarms and report.recipe == recipe and report.fits[0].probability > 0.9
    assert not audit(dense(init), recipe).alarms


def torch_layers():
    """Three layers of torch's own transformer, each made anew."""
    layers = [nn.TransformerEncoderLayer(64, 4, 128, batch_first=True) for _ in range(3)]
    return nn.ModuleDict({"embedding": nn.Embedding(100, 64), "layers": nn.ModuleList(layers),
                          "head": nn.Linear(64, 10)})


def test_torch_s_own_layers_at_their_defaults_are_recognised():
    torch.manual_seed(0)
    model = torch_layers()
    report = audit(model)
    assert report.exit_code == 0 and report.recipe == "pytorch" and len(report.rows) == 2 + 3 * 6
    notes = {row.note for row in audit(model, "kaiming").alarms}
    assert {note.partition(" x")[0] for note in notes} == {"PyTorch's default left in place", "std"}


@pytest.mark.parametrize("recipe", [name for name in SCHEMES if name != "orthogonal"])
def test_no_alarm_by_any_scheme(recipe):
    model = NanoGPT()
    assert not [seed for seed in range(10) if audit(drawn(model, recipe, seed), recipe).alarms]


def test_no_alarm_in_200_seeds_and_as_many_as_said_where_more_are_allowed(monkeypatch):
    """At 0.3 for a model: 3 tests of 14 matrices and one of 6 roles take 0.3 / 75 each; 15 rows take 5.

    The test of kurtosis raises fewer, as the kurtosis of normal draws has a short lower tail.
    """
    model = NanoGPT(width=16)
    assert not [seed for seed in range(SEEDS) if audit(drawn(model, "gpt2", seed), "gpt2").exit_code]
    monkeypatch.setattr(sampling, "FALSE_ALARM", 0.3)
    alarmed = sum(audit(drawn(model, "gpt2", seed), "gpt2").exit_code for seed in range(SEEDS))
    expected = 1 - math.exp(-0.3 * (3 * 14 + 6) / 75)
    assert alarmed / SEEDS == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / SEEDS))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_alarm_in_200_seeds_of_any_family(family):
    for seed in range(SEEDS):
        report = audit(transformer(family, seed=seed))
        assert not report.alarms and report.recipe == USUAL[family], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("make", [CNN, mlp, NanoGPT])
def test_no_alarm_in_200_seeds_of_other_networks(make):
    recipe = "gpt2" if make is NanoGPT else "pytorch"
    for seed in range(SEEDS):
        report = audit(make(seed=seed))
        assert not report.alarms and report.recipe == recipe, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in SCHEMES if name != "orthogonal"])
def test_no_alarm_in_200_seeds_of_any_scheme(recipe):
    for model in (NanoGPT(), transformer("gpt2")):
        assert not [seed for seed in range(SEEDS) if audit(drawn(model, recipe, seed), recipe).alarms]
