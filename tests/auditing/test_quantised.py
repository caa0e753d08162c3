"""Quantised weights and their scales are not the weights: left out, with what they are."""

import pytest
import torch
from safetensors.torch import save_file

from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.in_memory import from_memory

BYTES = torch.ones(8, 8, dtype=torch.uint8)
FP8 = torch.ones(8, 8).to(torch.float8_e4m3fn)
SCALES = torch.ones(2, 2)
FORMATS = {
    "bitsandbytes 4 bit": {"q.weight": BYTES, "q.weight.absmax": SCALES, "q.weight.quant_map": torch.ones(16),
                           "q.weight.quant_state.bitsandbytes__nf4": BYTES[0].clone()},
    "bitsandbytes 8 bit": {"q.weight": torch.ones(8, 8, dtype=torch.int8), "q.SCB": torch.ones(8)},
    "GPTQ": {"q.qweight": torch.ones(8, 8, dtype=torch.int32),
             "q.qzeros": torch.ones(2, 2, dtype=torch.int32),
             "q.scales": SCALES.half(), "q.g_idx": torch.ones(8, dtype=torch.int32)},
    "DeepSeek": {"q.weight": FP8, "q.weight_scale_inv": SCALES},
    "compressed-tensors": {"q.weight_packed": torch.ones(8, 2, dtype=torch.int32), "q.weight_scale": SCALES},
    "GPT-OSS": {"experts.gate_up_proj_blocks": BYTES, "experts.gate_up_proj_scales": BYTES.clone()}}


@pytest.mark.parametrize("kind", FORMATS)
def test_none_of_it_is_taken_for_weights(tmp_path, kind):
    state = {**FORMATS[kind], "norm.weight": torch.ones(8), "head.weight": torch.randn(8, 8)}
    save_file(state, tmp_path / "m.safetensors")
    torch.save(state, tmp_path / "m.pt")
    files = (open_checkpoint(tmp_path / f"m.{suffix}") for suffix in ("safetensors", "pt"))
    for source in (*files, from_memory(state)):
        assert set(source.tensors) == {"norm.weight", "head.weight"}
        assert source.skipped.keys() == FORMATS[kind].keys() == source.skipped_shapes.keys()
        assert all(source.skipped_shapes[name] == tuple(state[name].shape) for name in source.skipped)
    assert "left out" in " ".join(audit(state, "normal", 1.0).notes)


def test_fp8_without_scales_is_the_weights(tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(64, 64) * 0.5
    state = {"0.weight": weight.to(torch.float8_e5m2), "1.weight": weight.flip(0)}
    save_file(state, tmp_path / "m.safetensors")
    rows = audit(tmp_path / "m.safetensors", "normal", 0.5).rows
    assert [row.verdict for row in rows] == ["as the recipe says"] * 2


def test_a_scale_of_something_that_is_no_small_number_stays():
    assert set(from_memory({"q.weight": torch.ones(4, 4), "q.weight_scale": torch.ones(4, 4)}).tensors) == {
        "q.weight", "q.weight_scale"}
