"""Roles against what the networks do: a piece that claims to be q is one if zeroing it flattens attention."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from architectures import ARCHITECTURES, from_transformers
from networks import CNN, FAMILIES, NanoGPT, mlp, shapes, transformer
from study.gpt2.model import GPT2
from study.gpt2.model import Shape as Gpt2Shape
from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.find_roles import find_roles
from variance_dynamics.weights.parameter import BLOCK
from variance_dynamics.weights.schemes import kaiming, kaiming_fan_out


def roles_in(model, **options):
    config = model.config.to_dict() if hasattr(model, "config") else None
    return find_roles(shapes(model), config, **options)


def roles_of(model, **options):
    return [piece.parameter.role for piece in roles_in(model, **options).pieces]


def zeroed(model, role):
    for piece in roles_in(model).pieces:
        if piece.parameter.role == role:
            with torch.no_grad():
                piece.of(model.get_parameter(piece.tensor)).zero_()
    return model


def attentions(model):
    """[layer][batch, head, T, T] on fixed inputs."""
    torch.manual_seed(1)
    vit = model.config.model_type == "vit"
    inputs = torch.randn(2, 3, 16, 16) if vit else torch.randint(1, 101, (2, 9))
    with torch.no_grad():
        return torch.stack(model(inputs, output_attentions=True).attentions)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("role", ["q", "k"])
def test_zeroing_queries_or_keys_makes_attention_uniform(family, role):
    before, after = attentions(transformer(family)), attentions(zeroed(transformer(family), role))
    causal = family not in ("bert", "vit")
    allowed = torch.ones_like(after).tril() if causal else torch.ones_like(after)
    torch.testing.assert_close(after, allowed / allowed.sum(-1, keepdim=True))
    assert not torch.allclose(before, after, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_zeroing_values_leaves_first_attention_as_it_is_and_its_output_empty(family):
    model, seen = zeroed(transformer(family), "v"), []
    outputs = [piece.tensor for piece in roles_in(model).pieces if piece.parameter.role == "attn_out"]
    module = model.get_submodule(outputs[0].removesuffix(".weight"))
    module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    after = attentions(model)
    assert seen[0].abs().max() == 0
    torch.testing.assert_close(after[0], attentions(transformer(family))[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_of_a_transformer_has_every_role(family):
    roles = roles_in(transformer(family, layers=3))
    assert not roles.unknown
    for layer in (1, 2, 3):
        inside = [p.parameter for p in roles.pieces if p.parameter.layer == layer]
        assert {p.role for p in inside if p.role in BLOCK} == set(BLOCK)
        assert {p.depth for p in inside} == {3}
    assert sum(p.parameter.role == "position" for p in roles.pieces) == (family in ("gpt2", "bert", "vit"))


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_cover_every_matrix_once(family):
    model = transformer(family)
    for parameter in model.parameters():
        parameter.data.zero_()
    roles = roles_in(model)
    for piece in roles.pieces:
        view = piece.of(model.get_parameter(piece.tensor).data)
        assert view.numel() == int(np.prod(piece.shape))
        view.add_(1)
    named = set(roles.vectors)
    assert all((p == 1).all() for name, p in model.named_parameters() if name not in named)
    assert all((p == 0).all() for name, p in model.named_parameters() if name in named)


FUSED = {**dict.fromkeys(("CodeGenForCausalLM", "Falcon, new", "Falcon, multi-query", "GPTBigCodeForCausalLM",
                          "GPTBigCode, multi-head", "Phi3ForCausalLM", "DebertaForMaskedLM",
                          "ModernBertForMaskedLM", "GPTJForCausalLM"), "qkv"),
         **dict.fromkeys(("DeepseekV3ForCausalLM", "MiniCPM3ForCausalLM"), "qv")}
"""Families whose heads are fused, interleaved or apart -> the roles whose zeros show in attention.

The keys of latent attention have another part, by position.
"""


@pytest.mark.parametrize(("name", "role"), [(name, role) for name, roles in FUSED.items() for role in roles])
def test_zeroed_pieces_are_what_the_forward_pass_takes_them_for(name, role):
    """Without q or k attention is uniform; without v its output projection reads zeros."""
    model = ARCHITECTURES[name]()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.normal_(0, 0 if key.endswith("bias") else 0.25)
    seen = []
    for piece in roles_in(zeroed(model, role)).pieces:
        if piece.parameter.role == "attn_out" and piece.tensor.endswith("weight"):
            module = model.get_submodule(piece.tensor.removesuffix(".weight"))
            module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        outputs = model(torch.arange(1, 10)[None], output_attentions=True)
    if role == "v":
        assert seen and all((each == 0).all() for each in seen)
        return
    causal = "Masked" not in name
    allowed = torch.ones(9, 9).tril() if causal else torch.ones(9, 9)
    for each in outputs.attentions:
        torch.testing.assert_close(each, (allowed / allowed.sum(-1, keepdim=True)).expand_as(each))


def test_fans_of_conv1d_linear_and_grouped_heads():
    def fans(model, role):
        parameters = (piece.parameter for piece in roles_in(model).pieces)
        return next((p.fan_in, p.fan_out) for p in parameters if p.role == role)

    for model in (transformer("gpt2"), NanoGPT()):
        assert fans(model, "q") == fans(model, "attn_out") == (32, 32)
        assert (fans(model, "mlp_in"), fans(model, "mlp_out")) == ((32, 128), (128, 32))
        assert (fans(model, "embedding"), fans(model, "position")) == ((101, 32), (24, 32))
    assert fans(transformer("llama"), "k") == (32, 16)
    assert fans(transformer("llama"), "mlp_out") == (64, 32)
    assert fans(transformer("gpt_neox"), "v") == (32, 32)


def test_our_own_gpt2_says_the_same_of_itself():
    model = GPT2(Gpt2Shape(n_layer=3, n_head=2, n_embd=16, n_ctx=8, vocab_size=50))
    parameters = {p.parameter.name: p.parameter for p in roles_in(model).pieces}
    assert parameters == {p.name: p for p in model.matrices()}


def test_plain_mlp_and_cnn():
    assert roles_of(mlp()) == ["hidden", "hidden", "readout"]
    roles = roles_in(CNN())
    assert [p.parameter.role for p in roles.pieces] == ["conv", "conv", "readout"]
    assert [(p.parameter.layer, p.parameter.depth) for p in roles.pieces] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, 3),
                                   nn.Conv2d(8, 8, 3, groups=8)])
@pytest.mark.parametrize(("mode", "formula"), [("fan_in", kaiming), ("fan_out", kaiming_fan_out)])
def test_fans_are_torch_s(layer, mode, formula):
    """Its uniform draws lie within sqrt(3) std, and thousands of them come close."""
    parameter = roles_in(nn.Sequential(layer)).pieces[0].parameter
    torch.manual_seed(0)
    draws = [nn.init.kaiming_uniform_(torch.empty_like(layer.weight), mode=mode, nonlinearity="relu")
             for _ in range(1000)]
    largest = max(draw.abs().max().item() for draw in draws)
    assert formula(parameter) == pytest.approx(largest / 3**0.5, rel=1e-3)


def test_wrappers_leave_roles_and_names_alone():
    plain = roles_in(NanoGPT())
    wrapped = find_roles({f"_orig_mod.module.{name}": shape for name, shape in shapes(NanoGPT()).items()})
    assert [p.parameter for p in wrapped.pieces] == [p.parameter for p in plain.pieces]


def test_an_unknown_matrix_is_named_so_and_a_pattern_settles_it():
    named = {**shapes(NanoGPT()), "transformer.h.1.memory.keys": (64, 32)}
    (piece,) = find_roles(named).unknown
    assert piece.parameter.name == "transformer.h.1.memory.keys" and piece.note
    settled = find_roles(named, patterns={r"memory\.keys": "hidden"})
    assert not settled.unknown
    assert len(find_roles(named, patterns={r"memory\.keys": "ignore"}).pieces) == len(settled.pieces) - 1


def test_interleaved_heads_without_their_number_are_unknown_not_guessed():
    roles = find_roles(shapes(transformer("gpt_neox")))
    assert {p.tensor.split(".")[-2] for p in roles.unknown} == {"query_key_value"}
    assert "number of heads" in roles.unknown[0].note


def test_names_that_only_look_like_attention_do_not_make_a_transformer():
    roles = find_roles({"policy.fc1.weight": (8, 4), "policy.fc2.weight": (8, 8), "value.weight": (1, 8)})
    assert [p.parameter.role for p in roles.pieces] == ["hidden", "hidden", "readout"]


def test_buffers_norms_and_biases_are_no_matrices():
    attention = {f"h.0.attn.{part}.weight": (8, 8) for part in "qkv"}
    roles = find_roles({**attention, "h.0.attn.bias": (1, 1, 24, 24), "h.0.attn.q.bias": (8,),
                        "rotary_emb.inv_freq": (4,), "h.0.scale": (8, 1, 1)})
    assert [p.parameter.role for p in roles.pieces] == ["q", "k", "v"]
    assert roles.vectors == ("h.0.attn.q.bias", "h.0.scale")


@pytest.mark.parametrize(("name", "role"), [
    ("encoder.block.0.layer.0.SelfAttention.o.weight", "attn_out"),
    ("layers.0.attention.wo.weight", "attn_out"),
    ("blocks.0.attn.proj.weight", "attn_out"), ("layers.0.feed_forward.w3.weight", "mlp_in"),
    ("blocks.0.mlp.fc1.weight", "mlp_in"), ("transformer.layer.0.ffn.lin2.weight", "mlp_out"),
    ("model.decoder.layers.1.fc2.weight", "mlp_out"), ("patch_embed.proj.weight", "patch"),
    ("tok_embeddings.weight", "embedding"), ("output.weight", "readout"), ("lm_head.weight", "readout"),
    ("bert.pooler.dense.weight", "hidden"), ("h.0.mlp.router.weight", "router")])
def test_spellings_of_other_libraries(name, role):
    stack = name.split(".0.")[0].split(".1.")[0] if ".0." in name or ".1." in name else "h"
    attention = {f"{stack}.{i}.attention.{part}": (8, 8) for i in (0, 1) for part in ("wq", "wk", "wv")}
    roles = find_roles({**attention, name: (8, 8)})
    assert next(p.parameter.role for p in roles.pieces if p.tensor == name) == role


@given(heads=st.integers(1, 6), groups=st.integers(1, 6), size=st.integers(1, 4))
def test_contiguous_grouped_heads_divide_the_rows(heads, groups, size):
    rows = (heads + 2 * groups) * size
    config = {"num_attention_heads": heads, "num_key_value_heads": groups}
    pieces = find_roles({"layers.0.self_attn.qkv_proj.weight": (rows, 5)}, config).pieces
    assert [p.shape[0] for p in pieces] == [heads * size, groups * size, groups * size]
    tensor = np.arange(rows * 5).reshape(rows, 5)
    np.testing.assert_array_equal(np.concatenate([p.of(tensor) for p in pieces]), tensor)


@pytest.mark.parametrize(("patterns", "message"), [({"(": "q"}, "expected a regular expression"),
                                                   ({"wq": "query"}, "expected one of q, k, v")])
def test_bad_patterns_are_refused_in_one_line(patterns, message):
    with pytest.raises(BadInput, match=message):
        find_roles({"wq": (2, 2)}, patterns=patterns)


def test_what_is_not_known_in_a_network_of_blocks_is_unknown_and_named():
    """Even where no q, k and v are complete: the network was taken for an MLP."""
    block = {"attn.alpha_one": (8, 8), "attn.alpha_two": (8, 8), "mlp.up_proj": (16, 8),
             "mlp.down_proj": (8, 16)}
    named = {f"layers.{i}.{part}.weight": shape for i in (0, 1) for part, shape in block.items()}
    roles = find_roles({**named, "lm_head.weight": (20, 8)})
    assert [piece.parameter.name for piece in roles.unknown] == [name for name in named if "alpha" in name]
    assert all(piece.note for piece in roles.unknown)
    assert [p.parameter.role for p in roles.pieces if not p.note] == ["mlp_in", "mlp_out"] * 2 + ["readout"]
    assert {p.parameter.depth for p in roles.pieces} == {2}


@pytest.mark.parametrize("name", ["layers.0.mystery.weight", "h.3.thing.weight", "model.blocks.1.odd.weight",
                                  "encoder.attention.thing.weight", "transformer.layer.0.x.weight"])
def test_names_of_blocks_are_never_taken_for_an_mlp(name):
    roles = find_roles({name: (8, 8), "other.weight": (8, 8)})
    assert {piece.parameter.role for piece in roles.pieces} == {"unknown"}


def test_fc_2_leads_in_beside_a_proj_and_else_out():
    shapes = {f"layers.0.mlp.fc_{i}.weight": (8, 8) for i in (1, 2)}
    assert [p.parameter.role for p in find_roles(shapes).pieces] == ["mlp_in", "mlp_out"]
    gated = find_roles({**shapes, "layers.0.mlp.proj.weight": (8, 8)})
    assert [p.parameter.role for p in gated.pieces] == ["mlp_in", "mlp_in", "mlp_out"]


def test_a_list_of_plain_layers_is_an_mlp():
    roles = find_roles({f"layers.{i}.weight": (8, 8) for i in (0, 2, 4)})
    assert [piece.parameter.role for piece in roles.pieces] == ["hidden", "hidden", "readout"]


def test_patterns_leave_the_depth_of_a_mixture_of_experts_alone():
    """A user's pattern made the depth the number of matrices: 27 where the model has 3 layers."""
    model = from_transformers("DeepseekV3ForCausalLM", num_hidden_layers=3)
    pieces = roles_in(model, patterns={"gate.weight": "ignore", "kv_a_proj": "hidden"}).pieces
    assert {piece.parameter.depth for piece in pieces} == {3}


def test_shared_experts_are_no_embedding():
    (piece,) = find_roles({"layers.0.mlp.shared_experts.up_proj.weight": (20, 8)}).pieces
    assert piece.parameter.role == "mlp_in"


def test_stacked_experts_whose_input_nothing_says_are_unknown():
    shapes = {"layers.0.mlp.experts.w1": (4, 20, 8), "layers.0.mlp.experts.w2": (4, 8, 20)}
    roles = find_roles(shapes)
    assert [piece.tensor for piece in roles.unknown] == list(shapes)
    assert "hidden_size" in roles.unknown[0].note
    for width in (8, 20):
        parameters = [piece.parameter for piece in find_roles(shapes, {"hidden_size": width}).pieces]
        assert {p.fan_in if p.role == "mlp_in" else p.fan_out for p in parameters} == {width}


def test_a_hundred_thousand_tensors_take_seconds():
    experts = {f"model.layers.{layer}.mlp.experts.{expert}.{part}.weight": (8, 8)
               for layer in range(60) for expert in range(550)
               for part in ("gate_proj", "up_proj", "down_proj")}
    attention = {f"model.layers.{layer}.self_attn.{part}_proj.weight": (8, 8)
                 for layer in range(60) for part in "qkvo"}
    few, start = dict(list(experts.items())[:9900]), time.process_time()
    find_roles({**attention, **few})
    tenth = time.process_time() - start
    roles = find_roles({**attention, **experts})
    assert not roles.unknown and {piece.parameter.depth for piece in roles.pieces} == {60}
    assert time.process_time() - start < 25 * tenth + 1
