"""Each deliberate fault raises an alarm for its matrix alone, which names it."""

import math

import pytest
import torch
from torch import nn

from networks import CNN, USUAL, NanoGPT, drawn, mlp, shapes, transformer
from variance_dynamics.auditing.audit import audit
from variance_dynamics.roles.find_roles import find_roles


def only_alarm(model, name, *args):
    """The row of the one matrix that raises an alarm, which must be `name`."""
    report = audit(model, *args)
    assert [row.parameter.name for row in report.alarms] == [name] and report.exit_code == 1
    return report.alarms[0]


FAULTY = {"gpt2": "transformer.h.1.mlp.c_fc.weight", "gpt_neox": "gpt_neox.layers.1.attention.dense.weight",
          "llama": "model.layers.0.mlp.up_proj.weight", "bert": "bert.encoder.layer.1.output.dense.weight",
          "vit": "vit.layers.0.attention.q_proj.weight", "mlp": "1.0.weight", "cnn": "conv2.weight"}


def correct(kind):
    """A model without a fault, and the recipe that it was drawn by."""
    if kind in USUAL:
        return transformer(kind, width=64), USUAL[kind]
    return drawn({"mlp": mlp, "cnn": CNN}[kind](), "kaiming", seed=0), "kaiming"


@pytest.mark.parametrize(("kind", "name"), FAULTY.items())
@pytest.mark.parametrize("named", [False, True])
def test_one_layer_at_pytorch_s_default_one_zeroed_and_one_off_by_a_tenth(kind, name, named):
    model, recipe = correct(kind)
    args = (recipe,) if named else ()
    weight = model.get_parameter(name).data
    right = weight.clone()
    for factor in (1.1, 0.9):
        weight.copy_(right * factor)
        row = only_alarm(model, name, *args)
        assert row.verdict == "off" and row.ratio == pytest.approx(factor, abs=0.03)
    weight.zero_()
    row = only_alarm(model, name, *args)
    assert (row.verdict, row.note) == ("never initialised", "all zero")
    nn.init.kaiming_uniform_(weight.T if kind == "gpt2" else weight, a=math.sqrt(5))
    row = only_alarm(model, name, *args)
    assert (row.verdict, row.note) == ("never initialised", "PyTorch's default left in place")


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_a_fault_in_one_part_of_a_fused_tensor_is_found_in_that_part(family):
    model = transformer(family, width=64)
    piece = next(p for p in find_roles(shapes(model), model.config.to_dict()).pieces
                 if p.parameter.role == "k" and p.parameter.layer == 2)
    piece.of(model.get_parameter(piece.tensor).data).mul_(1.1)
    assert only_alarm(model, piece.parameter.name).verdict == "off"


@pytest.mark.parametrize("kind", ["nano", "gpt2", "gpt_neox"])
def test_the_fused_xavier_trap(kind):
    """Xavier over the fused [3d, d] matrix has half the variance of three separate ones."""
    sizes = {"width": 64, "layers": 4}
    model = drawn(NanoGPT(**sizes) if kind == "nano" else transformer(kind, **sizes), "xavier", seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith(("c_attn.weight", "query_key_value.weight")):
            nn.init.xavier_uniform_(parameter)
    report = audit(model, "xavier")
    assert {row.parameter.role for row in report.alarms} == {"q", "k", "v"} and len(report.alarms) == 12
    assert all("fused tensor" in row.note for row in report.alarms)
    assert report.alarms[0].ratio == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_a_tenth_is_found_in_any_seed_at_width_64():
    model = NanoGPT(width=64)
    name = "transformer.h.0.attn.c_proj.weight"
    for seed in range(20):
        drawn(model, "gpt2", seed).get_parameter(name).data.mul_(0.9)
        assert only_alarm(model, name, "gpt2").verdict == "off"


def test_small_errors_in_all_layers_are_found_together():
    """Each matrix by itself has a sampling error of more than 3%."""
    model = drawn(NanoGPT(width=32, layers=24), "gpt2", seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith("attn.c_proj.weight"):
            parameter.data.mul_(1.05)
    report = audit(model, "gpt2")
    assert {row.parameter.role for row in report.alarms} == {"attn_out"} and len(report.alarms) == 24
    assert "over all 24 of this role together" in report.alarms[0].note


@pytest.mark.parametrize(("change", "note"), [
    (lambda w: w.fill_(0.02), "constant 0.02"), (lambda w: w[3].fill_(math.nan), "64 values NaN or infinite"),
    (lambda w: w.add_(0.01), "standard errors from 0"), (lambda w: w[0, 0].fill_(1.0), "a weight of 100 std"),
    (lambda w: w.mul_(2), "without the residual scaling"),
    (lambda w: w.mul_(0.01), "the variance where the std"),
    (lambda w: nn.init.trunc_normal_(w, std=0.01, a=-0.02, b=0.02), "cut at two std")])
def test_faults_are_named(change, note):
    model = NanoGPT(width=64)
    name = "transformer.h.0.attn.c_proj.weight"
    with torch.no_grad():
        change(model.get_parameter(name))
    row = only_alarm(model, name, "gpt2")
    assert note in row.note


def test_bfloat16_changes_no_verdict():
    model = NanoGPT(width=64)
    name = "transformer.h.1.mlp.c_proj.weight"
    nn.init.kaiming_uniform_(model.get_parameter(name), a=math.sqrt(5))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        row = only_alarm(model.to(dtype), name)
        assert row.note == "PyTorch's default left in place"


def test_an_embedding_at_pytorch_s_default():
    model = NanoGPT(width=64)
    nn.init.normal_(model.transformer["wpe"].weight)
    assert only_alarm(model, "transformer.wpe.weight").note == "PyTorch's default left in place"


def test_rows_of_zeros_are_no_cut_normal():
    model, recipe = correct("gpt2")
    name = FAULTY["gpt2"]
    weight = model.get_parameter(name).data
    weight[: len(weight) // 4] = 0
    assert "cut at two std" not in only_alarm(model, name, recipe).note
