"""Every architecture of tests/architectures.py: what its matrices are, against what the layers say."""

import math

import pytest
import torch
from torch import nn

import architecture_table
from architectures import ARCHITECTURES, EXPERT, EXPERTS, INNER, LAYERS, WIDTH, from_transformers
from variance_dynamics import initialize
from variance_dynamics.roles.find_roles import find_roles
from variance_dynamics.roles.of_model import config_of, roles_of
from variance_dynamics.weights.parameter import RESIDUAL, ROLES, VECTOR_ROLES
from variance_dynamics.weights.schemes import kaiming

READ = ("q", "k", "v", "q_down", "kv_down", "mixer_in", "mlp_in", "router")
"""Roles that read the residual stream."""
OTHER_WIDTHS = {  # some read or write another width: a latent, another tower, a later stage, positions
    "SwinForImageClassification",
    "ConvNeXt",
    "timm MLP-Mixer",
    "nn.MultiheadAttention, kdim",
    "ResNetForImageClassification",
    "RecurrentGemmaForCausalLM",
}
LATENT = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "MiniCPM3ForCausalLM", "DeepSeek, original"}
DEPTHS = {
    "AlbertForMaskedLM": 1,
    "nn.MultiheadAttention": 1,
    "nn.MultiheadAttention, kdim": 1,
    "timm Swin": 4,
    "ConvNeXt": 4,
    "SwinForImageClassification": 2,
}
UNBLOCKED = {
    "ResNetForImageClassification",
    "nn.LSTM",
    "nn.LSTM, projected",
    "nn.GRU",
    "nn.RNN",
    "MLP",
    "CNN, grouped",
}
every = pytest.mark.parametrize("name", ARCHITECTURES)


@every
def test_every_parameter_has_a_role_and_every_value_of_a_matrix_is_in_one_piece(name):
    model = ARCHITECTURES[name]()
    roles = roles_of(model)
    assert not roles.unknown, [piece.parameter.name for piece in roles.unknown]
    assert {piece.parameter.role for piece in roles.pieces} <= set(ROLES)
    assert (
        set(roles.vector_roles.values()) <= set(VECTOR_ROLES) and tuple(roles.vector_roles) == roles.vectors
    )
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        for piece in roles.pieces:
            view = piece.of(parameters[piece.tensor])
            assert view.numel() == math.prod(piece.shape)
            view.add_(1)
    counted = {key for key, value in parameters.items() if (value == 1).all()}
    assert counted == set(parameters) - set(roles.vectors)
    assert all((parameters[vector] == 0).all() for vector in roles.vectors)


@every
def test_names_alone_say_the_same_as_the_live_module(name):
    model = ARCHITECTURES[name]()
    shapes = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert find_roles(shapes, config_of(model)).pieces == roles_of(model).pieces


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "GPTBigCode, multi-head"])
def test_without_a_config_a_role_is_the_same_or_unknown(name):
    """But for one: GPTBigCode interleaves the heads of a c_attn that has nanoGPT's name and shape."""
    model = ARCHITECTURES[name]()
    shapes = {key: tuple(value.shape) for key, value in model.named_parameters()}
    known = {piece.parameter.name: piece for piece in roles_of(model).pieces}
    for piece in find_roles(shapes).pieces:
        assert piece.note or piece == known[piece.parameter.name]


@every
def test_fans_are_those_of_the_layers(name):
    model = ARCHITECTURES[name]()
    for piece in roles_of(model).pieces:
        layer = model.get_submodule(piece.tensor.rpartition(".")[0])
        if isinstance(layer, nn.Linear):
            assert piece.parameter.fan_in == layer.in_features
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            assert piece.parameter.fan_in == layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        assert (
            piece.size[1] == piece.shape[0] if piece.input_axes == tuple(range(1, len(piece.shape))) else True
        )


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in OTHER_WIDTHS | UNBLOCKED])
def test_blocks_read_and_write_the_residual_stream(name):
    """Experts too, whatever the order of their axes: no other size of these models is that of the stream."""
    pieces = roles_of(ARCHITECTURES[name]()).pieces
    latent = ("q", "k", "v") if name in LATENT else ()
    for parameter in (piece.parameter for piece in pieces):
        if parameter.role in READ and parameter.role not in latent:
            assert parameter.fan_in == WIDTH, parameter
        if parameter.role in RESIDUAL:
            assert parameter.fan_out == WIDTH, parameter


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in UNBLOCKED])
def test_layers_count_from_one_and_depth_is_the_number_of_blocks(name):
    depth = DEPTHS.get(name, LAYERS)
    inside = [
        piece.parameter
        for piece in roles_of(ARCHITECTURES[name]()).pieces
        if piece.parameter.role in RESIDUAL
    ]
    assert {parameter.depth for parameter in inside} == {depth}
    assert {parameter.layer for parameter in inside} == set(range(1, depth + 1))


@every
def test_values_are_written_with_the_inputs_as_rows(name):
    """A matrix of its row numbers, written by `inputs_first`, is the same for all of an output's inputs."""
    model = ARCHITECTURES[name]()
    for piece in roles_of(model).pieces:
        rows, columns = piece.size
        with torch.no_grad():
            view = piece.inputs_first(model.get_parameter(piece.tensor))
            view.copy_(torch.arange(rows * columns).float().reshape(view.shape))
        stored = piece.of(model.get_parameter(piece.tensor)).detach()
        linear = len(piece.shape) == 2 and piece.input_axes == (1,)
        if linear:  # [out, in]: the first row of what is stored is the first column of the matrix
            torch.testing.assert_close(stored.reshape(columns, rows)[0], torch.arange(rows).float() * columns)


STACKED = {
    "MixtralForCausalLM": INNER,
    "Qwen2MoeForCausalLM": EXPERT,
    "Qwen3MoeForCausalLM": EXPERT,
    "OlmoeForCausalLM": INNER,
    "DeepseekV3ForCausalLM": EXPERT,
    "GptOssForCausalLM": INNER,
    "Llama4ForCausalLM": INNER,
    "GraniteMoeForCausalLM": INNER,
}


@pytest.mark.parametrize("name", STACKED)
def test_each_expert_is_a_matrix_with_its_own_fans(name):
    pieces = [
        piece for piece in roles_of(ARCHITECTURES[name]()).pieces if piece.cut and piece.cut.index is not None
    ]
    kinds = {(piece.parameter.role, piece.parameter.fan_in, piece.parameter.fan_out) for piece in pieces}
    assert kinds == {("mlp_in", WIDTH, STACKED[name]), ("mlp_out", STACKED[name], WIDTH)}
    last = [piece for piece in pieces if piece.parameter.layer == LAYERS]
    assert len(last) == 3 * EXPERTS and {piece.cut.index for piece in last} == set(range(EXPERTS))


WIDE = {"hidden_size": 128, "moe_intermediate_size": 64, "intermediate_size": 64}


@pytest.mark.parametrize(
    "name", ["DeepseekV3ForCausalLM", "MixtralForCausalLM", "GptOssForCausalLM", "Llama4ForCausalLM"]
)
def test_each_expert_s_std_under_kaiming_and_under_gpt2(name):
    model = from_transformers(name, **WIDE, num_hidden_layers=3)
    initialize(model, "kaiming", patterns={"gate.weight|router|_down|kv_a|q_a|sinks": "ignore"})
    for piece in _experts(model):
        std = piece.of(model.get_parameter(piece.tensor)).std(correction=0).item()
        assert std == pytest.approx(kaiming(piece.parameter), rel=0.06), piece.parameter
    initialize(model, "gpt2", patterns={"gate.weight|router|_down|kv_a|q_a|sinks": "ignore"})
    for piece in _experts(model):
        residual = math.sqrt(6) if piece.parameter.role in RESIDUAL else 1.0
        assert piece.of(model.get_parameter(piece.tensor)).std().item() == pytest.approx(
            0.02 / residual, rel=0.06
        )


def _experts(model):
    return [piece for piece in roles_of(model).pieces if piece.cut and piece.cut.index is not None]


def test_gpt_oss_interleaves_gate_and_up_as_its_forward_pass_does():
    model = from_transformers("GptOssForCausalLM")
    layer = model.model.layers[0].mlp.experts
    gates = [
        piece
        for piece in roles_of(model).pieces
        if piece.tensor.startswith("model.layers.0") and piece.parameter.name.endswith("[1.gate]")
    ]
    with torch.no_grad():
        layer.gate_up_proj.zero_()
        gates[0].of(layer.gate_up_proj).fill_(1)
    assert (layer.gate_up_proj[1, :, ::2] == 1).all() and layer.gate_up_proj.sum() == WIDTH * INNER


@pytest.mark.parametrize(("kind", "gates"), [("nn.LSTM", "ifgo"), ("nn.GRU", "rzn")])
def test_gates_are_pieces_with_the_fan_of_one_gate(kind, gates):
    pieces = [piece for piece in roles_of(ARCHITECTURES[kind]()).pieces if piece.tensor == "rnn.weight_hh_l0"]
    assert [piece.parameter.name for piece in pieces] == [f"rnn.weight_hh_l0[{gate}]" for gate in gates]
    assert {(piece.parameter.role, piece.parameter.fan_in, piece.parameter.fan_out) for piece in pieces} == {
        ("recurrent_gates", WIDTH, WIDTH)
    }


@pytest.mark.parametrize(
    ("name", "vector", "role"),
    [
        ("GemmaForCausalLM", "model.norm.weight", "norm"),
        ("Qwen3NextForCausalLM", "model.norm.weight", "norm"),
        ("Dinov2ForImageClassification", "dinov2.encoder.layer.0.layer_scale1.lambda1", "scale"),
        ("MambaForCausalLM", "backbone.layers.0.mixer.A_log", "other"),
        ("timm ViT", "blocks.0.ls1.gamma", "scale"),
        ("GptOssForCausalLM", "model.layers.0.mlp.experts.down_proj_bias", "bias"),
        ("TransformerLens", "blocks.0.attn.b_Q", "bias"),
        ("CNN, grouped", "1.weight", "norm"),
        ("CLIPModel", "logit_scale", "other"),
    ],
)
def test_vectors(name, vector, role):
    assert roles_of(ARCHITECTURES[name]()).vector_roles[vector] == role


def test_the_page_shows_what_is_true_now():
    text = architecture_table.PAGE.read_text(encoding="utf-8")
    assert architecture_table.page(text) == text, "run python tests/architecture_table.py (make docs does)"
