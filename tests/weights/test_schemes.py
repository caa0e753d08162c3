"""Every scheme against torch.nn.init, Monte Carlo and the formulas of its source."""

import math

import pytest
import torch

from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import BLOCK, DENSE, EMBEDDINGS, RESIDUAL, Parameter
from variance_dynamics.weights.schemes import SCHEMES

SIGMA = 0.02
FIXED = {"normal", "gpt2", "lir"}  # set by sigma alone, embeddings included


def parameter(role, fan_in=96, fan_out=384, layer=3, depth=12):
    return Parameter(f"some.{role}", role, layer, depth, fan_in, fan_out)


def normal_draws(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# What PyTorch itself fills a weight [fan_out, fan_in] with.
TORCH = {
    "xavier": torch.nn.init.xavier_normal_,
    "kaiming": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "kaiming_fan_out": lambda w: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "lecun": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "orthogonal": lambda w: torch.nn.init.orthogonal_(w, gain=math.sqrt(2)),
    "torch_default": lambda w: w.copy_(torch.nn.Linear(w.shape[1], w.shape[0]).weight),
}


@pytest.mark.parametrize("shape", [(96, 384), (384, 96), (200, 200)])
@pytest.mark.parametrize("name", TORCH)
def test_same_spread_as_torch(name, shape):
    fan_in, fan_out = shape
    scheme, p = SCHEMES[name], parameter("hidden", fan_in, fan_out)
    weight = scheme.sample(normal_draws(fan_in, fan_out), scheme.std(p, SIGMA))
    torch.manual_seed(1)
    with torch.no_grad():
        other = TORCH[name](torch.empty(fan_out, fan_in))
    assert weight.shape == (fan_in, fan_out)
    assert weight.std().item() == pytest.approx(other.std().item(), rel=0.02)
    assert weight.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.25)
    assert abs(weight.mean()) < 4 * weight.std() / math.sqrt(weight.numel())


@pytest.mark.parametrize("role", [*DENSE, *BLOCK, *EMBEDDINGS])
@pytest.mark.parametrize("name", SCHEMES)
def test_draws_have_the_std_that_the_scheme_names(name, role):
    scheme = SCHEMES[name]
    try:
        std = scheme.std(parameter(role), SIGMA)
    except BadInput:
        assert role in DENSE  # schemes made for transformers say nothing about an MLP
        return
    weight = scheme.sample(normal_draws(96, 384), std)
    assert weight.square().mean().sqrt().item() == pytest.approx(std, rel=0.02)
    assert weight.dtype == torch.float32


@pytest.mark.parametrize("name", SCHEMES)
def test_a_role_without_an_entry_raises(name):
    with pytest.raises(BadInput, match=r"some\.norm: role is 'norm': expected"):
        SCHEMES[name].std(parameter("norm"), SIGMA)


@pytest.mark.parametrize("name", SCHEMES)
def test_only_sigma_schemes_move_with_sigma_and_embeddings_stay_at_it(name):
    assert [SCHEMES[name].std(parameter(role), SIGMA) for role in EMBEDDINGS] == [SIGMA, SIGMA]
    moves = SCHEMES[name].std(parameter("q"), SIGMA) != SCHEMES[name].std(parameter("q"), 2 * SIGMA)
    assert moves == (name in FIXED)


def test_gpt2_scales_what_writes_to_the_residual_stream():
    stds = {role: SCHEMES["gpt2"].std(parameter(role), SIGMA) for role in (*BLOCK, *EMBEDDINGS)}
    assert stds == {role: 0.02 / math.sqrt(24) if role in RESIDUAL else 0.02 for role in stds}


def test_published_formulas():
    p = parameter("mlp_in")  # 96 -> 384, layer 3
    xavier = math.sqrt(2 / 480)
    down = parameter("mlp_out", 384, 96)
    assert SCHEMES["small"].std(p, SIGMA) == pytest.approx(math.sqrt(2 / (5 * 96)))
    assert SCHEMES["small"].std(down, SIGMA) == pytest.approx(math.sqrt(2 / (5 * 96)))
    assert SCHEMES["ds_init"].std(p, SIGMA) == pytest.approx(xavier / math.sqrt(3))
    assert SCHEMES["lir"].std(p, SIGMA) == pytest.approx(0.02 / math.sqrt(3))
    assert SCHEMES["mup"].std(p, SIGMA) == pytest.approx(1 / math.sqrt(96))
    assert SCHEMES["mup"].std(down, SIGMA) == pytest.approx(0.5 / math.sqrt(384))


def test_spectral_norm_of_mup_draws():
    """Its condition: the spectral norm is about sqrt(fan_out / fan_in), up to the aspect ratio's root."""
    for fan_in, fan_out in ((64, 1024), (1024, 64)):
        std = SCHEMES["mup"].std(parameter("hidden", fan_in, fan_out), SIGMA)
        norm = torch.linalg.matrix_norm(normal_draws(fan_in, fan_out) * std, 2)
        assert 0.9 < norm / math.sqrt(fan_out / fan_in) < 1.5


def test_torch_default_is_uniform():
    scheme = SCHEMES["torch_default"]
    weight = scheme.sample(normal_draws(300, 300), scheme.std(parameter("hidden", 300, 300), SIGMA))
    bound = 1 / math.sqrt(300)
    deciles = torch.quantile(weight.flatten(), torch.linspace(0, 1, 11))
    assert torch.allclose(deciles, torch.linspace(-bound, bound, 11), atol=0.02 * bound)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (3, 40, 40)])
def test_orthogonal_preserves_length_times_gain(shape):
    scheme = SCHEMES["orthogonal"]
    weight = scheme.sample(normal_draws(*shape), scheme.std(parameter("hidden", *shape[-2:]), SIGMA))
    tall = weight if shape[-2] >= shape[-1] else weight.mT
    assert torch.allclose(tall.mT @ tall, 2 * torch.eye(tall.shape[-1]), atol=1e-5)


@pytest.mark.parametrize("width", [3, 64, 100, 127, 768])
def test_the_control_is_kaiming_to_the_last_bit(width):
    sizes = [(784, width), (width, width), (width, width), (width, 10)]
    roles = ["hidden", "hidden", "hidden", "readout"]
    layers = [parameter(roles[i], *sizes[i], layer=i + 1, depth=4) for i in range(4)]
    z = normal_draws(width, width)
    for p in layers:
        control, kaiming = (SCHEMES[name].std(p, SIGMA) for name in ("xavier_sqrt2", "kaiming"))
        assert control == kaiming
        assert SCHEMES["xavier"].std(p, SIGMA) < kaiming
        assert torch.equal(SCHEMES["xavier_sqrt2"].sample(z, control), SCHEMES["kaiming"].sample(z, kaiming))


def test_the_control_is_xavier_times_sqrt2_between_unequal_layers():
    p = parameter("hidden", 64, 128, 2, 4)
    xavier = SCHEMES["xavier"].std(p, SIGMA)
    assert SCHEMES["xavier_sqrt2"].std(p, SIGMA) == pytest.approx(math.sqrt(2) * xavier)
