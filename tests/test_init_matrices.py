"""Every parameter is set by its scheme, none is left out, and draws are paired."""

import math

import pytest
import torch
from torch import nn

from study.gpt2.model import GPT2, Shape
from variance_dynamics.base.errors import BadInput
from variance_dynamics.init_matrices import drawn, initialize
from variance_dynamics.weights.parameter import BLOCK, RESIDUAL, Parameter
from variance_dynamics.weights.schemes import SCHEMES

SHAPE = Shape(n_layer=3, n_head=2, n_embd=48, n_ctx=40, vocab_size=200)


def model(scheme="gpt2", std=0.02, seed=0, fill=math.nan):
    built = GPT2(SHAPE)
    for parameter in built.parameters():
        nn.init.constant_(parameter, fill)
    initialize(built, built.matrices(), scheme, std, seed)
    return built


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_leaves_nothing_out_and_gives_its_own_std(scheme):
    built = model(scheme)
    for parameter in built.matrices():
        values = built.get_parameter(parameter.name).detach().double()
        expected = SCHEMES[scheme].std(parameter, 0.02)
        error = 5 / math.sqrt(2 * values.numel())
        assert values.square().mean().sqrt().item() == pytest.approx(expected, rel=error), parameter.name
    for name, parameter in built.named_parameters():
        if parameter.ndim == 1:
            expected = 1.0 if name.endswith("weight") else 0.0
            assert (parameter == expected).all(), name


def test_gpt2_scales_what_writes_to_the_residual_stream():
    built = model(std=0.5)
    block = [p for p in built.matrices() if p.role in BLOCK]
    stds = {p.role in RESIDUAL: built.get_parameter(p.name).std().item() for p in block}
    assert stds[False] / stds[True] == pytest.approx(math.sqrt(2 * SHAPE.n_layer), rel=0.1)


def test_the_same_seed_draws_the_same_z_for_each_std_and_scaled_normal():
    one, other, kaiming = model(std=0.02), model(std=0.04), model("kaiming")
    for parameter in one.matrices():
        first, second = one.get_parameter(parameter.name), other.get_parameter(parameter.name)
        torch.testing.assert_close(second, 2 * first, rtol=1e-6, atol=0)
        ratio = kaiming.get_parameter(parameter.name) / first
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-5, atol=0)


def test_another_seed_and_another_matrix_draw_otherwise():
    one, other = model(seed=0), model(seed=1)
    assert (one.wte.weight != other.wte.weight).float().mean() > 0.99
    assert (one.h[0].attn.q.weight != one.h[0].attn.k.weight).float().mean() > 0.99


def test_draws_lie_as_fan_in_by_fan_out():
    """A linear layer keeps [fan_out, fan_in]: the first unit's incoming weights are the first column of z."""
    built = model("normal", std=1.0)
    parameter = next(p for p in built.matrices() if p.role == "mlp_in")
    from variance_dynamics.base.seeding import torch_seed

    z = torch.randn(parameter.fan_in, parameter.fan_out,
                    generator=torch.Generator().manual_seed(torch_seed(0, "init", parameter.name)))
    assert torch.equal(built.get_parameter(parameter.name)[0], z[:, 0])


def test_a_parameter_without_a_role_raises():
    built = GPT2(SHAPE)
    built.extra = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(BadInput, match=r"extra: parameter without a role: expected"):
        initialize(built, built.matrices(), "gpt2", 0.02, 0)


def test_a_matrix_left_off_the_list_raises():
    built = GPT2(SHAPE)
    with pytest.raises(BadInput, match=r"mlp\.c_proj\.weight"):
        initialize(built, built.matrices()[:-1], "gpt2", 0.02, 0)


def test_a_role_that_the_scheme_does_not_know_raises():
    net = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(BadInput, match="role is 'gate'"):
        initialize(net, [Parameter("0.weight", "gate", 1, 1, 4, 4)], "gpt2", 0.02, 0)


def test_a_wrong_shape_or_name_raises():
    net = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(BadInput, match=r"shape is \(6, 4\): expected \(4, 6\)"):
        initialize(net, [Parameter("0.weight", "q", 1, 1, 6, 4)], "gpt2", 0.02, 0)
    with pytest.raises(BadInput, match=r"1\.weight: no such parameter"):
        initialize(net, [Parameter("1.weight", "q", 1, 1, 4, 6)], "gpt2", 0.02, 0)


@pytest.mark.parametrize("scheme", ["orthogonal", "torch_default"])
def test_embeddings_are_normal_under_every_sampler(scheme):
    """A bounded or an orthogonal sampler is for layers that multiply: kurtosis -1.2 and -.1, normal is 0."""
    parameter = Parameter("wte", "embedding", 0, 12, 512, 128)
    values = drawn(parameter, scheme, 0.02, seed=0).double()
    assert (values**4).mean() / values.var() ** 2 == pytest.approx(3, abs=0.1)
    normal = drawn(parameter, "gpt2", 0.02, seed=0)
    assert torch.equal(values.float(), normal)
