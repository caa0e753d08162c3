"""Schemes on anyone's model, judged by the audit, which does not know how they are drawn.

Then on given matrices, against the schemes' own formulas.
"""

import math

import pytest
import torch
from torch import nn

from networks import CNN, FAMILIES, NanoGPT, mlp, transformer
from study.gpt2.model import GPT2, Shape
from variance_dynamics import audit, initialize
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import torch_seed
from variance_dynamics.weights.parameter import BLOCK, RESIDUAL, Parameter
from variance_dynamics.weights.schemes import SCHEMES, scaled_normal

BUILT = {**{family: lambda family=family: transformer(family) for family in FAMILIES},
         "nano": NanoGPT, "mlp": mlp, "cnn": CNN}


@pytest.mark.parametrize("kind", BUILT)
def test_every_parameter_is_set_and_the_audit_finds_nothing(kind):
    model = BUILT[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    done = initialize(model, "kaiming", seed=1)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    report = audit(model, "kaiming")
    assert not report.alarms and not report.broken, [row.note for row in report.alarms]
    names = {row.piece.tensor for row in done.rows} | {*done.ones, *done.zeros}
    assert names == {name for name, _ in model.named_parameters()} and not done.left
    assert [row.parameter.name for row in report.rows if row.verdict != "tied"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_on_a_fused_model(scheme):
    model = transformer("gpt2")
    initialize(model, scheme)
    report = audit(model, scheme)
    if scheme == "orthogonal":  # its std has no sampling error; embeddings are normal
        ratios = [row.ratio for row in report.rows if row.ratio and row.parameter.role in (*BLOCK, "readout")]
        assert ratios == pytest.approx([1] * 12, abs=0.002)
    else:
        assert not report.alarms, [row.note for row in report.alarms]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_given_matrices_get_the_same_bytes_as_those_found_by_name(scheme):
    """The study gives its matrices, and a scheme draws them; by name the recipe of that scheme does."""
    one, other = (GPT2(Shape(n_layer=2, n_head=2, n_embd=16, n_ctx=8, vocab_size=32)) for _ in range(2))
    initialize(one, scheme, seed=3, matrices=one.matrices())
    initialize(other, scheme, seed=3)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
    for parameter in one.matrices():
        z = torch.randn(parameter.fan_in, parameter.fan_out,
                        generator=torch.Generator().manual_seed(torch_seed(3, "init", parameter.name)))
        table = parameter.role in ("embedding", "position")
        sample = scaled_normal if table else SCHEMES[scheme].sample
        drawn = sample(z, SCHEMES[scheme].std(parameter, 0.02))
        assert torch.equal(one.get_parameter(parameter.name), drawn if table else drawn.T), parameter.name


def gpt2(scheme="gpt2", std=0.02, seed=0, fill=math.nan):
    """The study's GPT-2, whose matrices are given."""
    model = GPT2(Shape(n_layer=3, n_head=2, n_embd=48, n_ctx=40, vocab_size=200))
    for parameter in model.parameters():
        nn.init.constant_(parameter, fill)
    initialize(model, scheme, seed, std, matrices=model.matrices())
    return model


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_leaves_nothing_out_and_gives_its_own_std(scheme):
    model = gpt2(scheme)
    for parameter in model.matrices():
        values = model.get_parameter(parameter.name).detach().double()
        expected = SCHEMES[scheme].std(parameter, 0.02)
        error = 5 / math.sqrt(2 * values.numel())
        assert values.square().mean().sqrt().item() == pytest.approx(expected, rel=error), parameter.name
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            expected = 1.0 if name.endswith("weight") else 0.0
            assert (parameter == expected).all(), name


def test_gpt2_scales_what_writes_to_the_residual_stream():
    model = gpt2(std=0.5)
    block = [p for p in model.matrices() if p.role in BLOCK]
    stds = {p.role in RESIDUAL: model.get_parameter(p.name).std().item() for p in block}
    assert stds[False] / stds[True] == pytest.approx(math.sqrt(2 * 3), rel=0.1)


def test_the_same_seed_draws_the_same_z_for_each_std_and_scaled_normal():
    one, other, kaiming = gpt2(std=0.02), gpt2(std=0.04), gpt2("kaiming")
    for parameter in one.matrices():
        first, second = one.get_parameter(parameter.name), other.get_parameter(parameter.name)
        torch.testing.assert_close(second, 2 * first, rtol=1e-6, atol=0)
        ratio = kaiming.get_parameter(parameter.name) / first
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-5, atol=0)


def test_another_seed_and_another_matrix_draw_otherwise():
    one, other = gpt2(seed=0), gpt2(seed=1)
    assert (one.wte.weight != other.wte.weight).float().mean() > 0.99
    assert (one.h[0].attn.q.weight != one.h[0].attn.k.weight).float().mean() > 0.99


def test_draws_lie_as_fan_in_by_fan_out():
    """nn.Linear keeps [fan_out, fan_in]: the first unit's incoming weights are the first column of z."""
    model = gpt2("normal", std=1.0)
    parameter = next(p for p in model.matrices() if p.role == "mlp_in")
    z = torch.randn(parameter.fan_in, parameter.fan_out,
                    generator=torch.Generator().manual_seed(torch_seed(0, "init", parameter.name)))
    assert torch.equal(model.get_parameter(parameter.name)[0], z[:, 0])


@pytest.mark.parametrize("scheme", ["orthogonal", "torch_default"])
def test_embeddings_are_normal_under_every_sampler(scheme):
    """A bounded or an orthogonal sampler is for layers that multiply."""
    assert torch.equal(gpt2(scheme).wte.weight, gpt2("normal").wte.weight)


@pytest.mark.parametrize(("matrices", "message"), [
    ([], r"0\.weight: parameter without a role: expected"),
    ([Parameter("0.weight", "gate", 1, 1, 4, 6)], "role is 'gate'"),
    ([Parameter("0.weight", "q", 1, 1, 6, 4)], r"shape is \(6, 4\): expected one with .* \(6, 4\)"),
    ([Parameter("0.bias", "q", 1, 1, 6, 4)], r"0\.bias: shape is \(6,\): expected one with fan_in"),
    ([Parameter("1.weight", "q", 1, 1, 4, 6)], r"1\.weight: no such parameter: expected one of 0\.weight"),
])
def test_given_matrices_that_do_not_fit_the_model(matrices, message):
    net = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(BadInput, match=message):
        initialize(net, "gpt2", matrices=matrices)


def test_orthogonal_parts_of_a_fused_tensor_are_each_orthogonal():
    model = transformer("gpt2")
    initialize(model, "orthogonal")
    fused = model.transformer.h[0].attn.c_attn.weight.detach()
    for part in fused.split(32, dim=1):
        torch.testing.assert_close(part.T @ part, 2 * torch.eye(32), rtol=1e-4, atol=1e-4)


def test_layers_of_heads_that_are_interleaved():
    model = transformer("gpt_neox")
    rows = initialize(model, "orthogonal").rows
    k = next(row.piece for row in rows if row.piece.parameter.role == "k")
    values = k.of(model.get_parameter(k.tensor).detach()).reshape(32, 32)
    torch.testing.assert_close(values @ values.T, 2 * torch.eye(32), rtol=1e-4, atol=1e-4)


def test_padding_stays_zero():
    model = nn.Sequential(nn.Embedding(10, 4, padding_idx=3), nn.Linear(4, 2))
    initialize(model, "normal")
    assert (model[0].weight[3] == 0).all() and (model[0].weight[2] != 0).all()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.temperature = nn.Parameter(torch.ones(()))


def test_nothing_is_left_out_in_silence():
    model = Odd()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(BadInput, match=r"temperature: parameter without a role: expected a bias or"):
        initialize(model, "kaiming")
    odd = NanoGPT()
    odd.transformer["h"][0].extra = nn.Linear(4, 4)
    with pytest.raises(BadInput, match=r"extra\.weight: no pattern knows this name: expected patterns"):
        initialize(odd, "kaiming")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), "nothing is changed before all is known"
    done = initialize(model, "kaiming", patterns={"temperature": "ignore"})
    assert done.left == ("temperature",) and str(done).endswith("; left as they are: temperature")


def test_bad_input():
    every = r"recipe is 'kaimin': expected one of normal, .* \(did you mean kaiming\?\)"
    with pytest.raises(BadInput, match=every):
        initialize(mlp(), "kaimin")
    for std in (-0.02, 0.0, float("nan")):
        with pytest.raises(BadInput, match=rf"std is {std}: expected a number above 0"):
            initialize(mlp(), "normal", std=std)
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(BadInput, match=r"0\.weight: parameter holds no memory: expected model\.to_empty"):
        initialize(empty, "kaiming")


def test_an_embedding_bag_is_an_embedding():
    model = nn.Sequential(nn.EmbeddingBag(100, 32), nn.Linear(32, 4))
    assert [(row.piece.parameter.role, row.std) for row in initialize(model, "kaiming").rows] == [
        ("embedding", 0.02), ("readout", math.sqrt(2 / 32))]
