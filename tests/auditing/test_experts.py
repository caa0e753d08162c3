"""Mixtures of experts: each expert is drawn and judged as a matrix of its own."""

import math

import pytest
import torch
import transformers

from variance_dynamics import audit, initialize

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
         "vocab_size": 101, "head_dim": 16}


def made(family):
    sizes = {
        "Mixtral": {**SIZES, "intermediate_size": 96, "num_local_experts": 4},
        "GptOss": {**SIZES, "intermediate_size": 96, "num_local_experts": 4, "num_experts_per_tok": 2},
        "DeepseekV3": {**SIZES, "num_key_value_heads": 4, "intermediate_size": 128,
                       "moe_intermediate_size": 48,
                       "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
                       "first_k_dense_replace": 1, "q_lora_rank": 32, "kv_lora_rank": 24,
                       "qk_rope_head_dim": 8,
                       "qk_nope_head_dim": 16, "v_head_dim": 16},
    }[family]
    if family != "GptOss":
        del sizes["head_dim"]
    torch.manual_seed(0)
    return getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**sizes))


FAMILIES = {"Mixtral": (3, 4, 96), "GptOss": (3, 4, 96), "DeepseekV3": (2, 8, 48)}
"""Family -> blocks with experts, experts in each, width of an expert."""


@pytest.mark.parametrize("family", FAMILIES)
def test_under_kaiming_each_expert_has_sqrt_2_over_fan_in(family):
    model, (blocks, experts, wide) = made(family), FAMILIES[family]
    rows = [row for row in initialize(model, "kaiming").rows if "experts." in row.piece.parameter.name
            and "shared" not in row.piece.parameter.name]
    assert len(rows) == 3 * blocks * experts
    for row in rows:
        fan_in = {"mlp_in": 64, "mlp_out": wide}[row.piece.parameter.role]
        assert row.std == math.sqrt(2 / fan_in)
        assert row.drawn == pytest.approx(row.std, rel=5 / math.sqrt(2 * 64 * wide))
    assert audit(model, "kaiming").exit_code == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_under_gpt2_the_residual_projections_are_scaled_by_the_true_depth(family):
    model = made(family)
    stds = {row.piece.parameter.role: row.std for row in initialize(model, "gpt2").rows}
    assert stds["attn_out"] == stds["mlp_out"] == 0.02 / math.sqrt(2 * 3) and stds["mlp_in"] == 0.02
    assert audit(model, "gpt2").exit_code == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_their_own_init_passes_and_one_expert_off_is_named(family):
    model = made(family)
    assert audit(model).exit_code == 0, str(audit(model))
    weight = next(parameter for name, parameter in model.named_parameters()
                  if name.endswith("experts.down_proj"))
    weight.data[2] *= 25
    report = audit(model)
    assert report.exit_code == 1 and len(report.alarms) == 1 and "2" in report.alarms[0].parameter.name
