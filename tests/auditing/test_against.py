"""Two models side by side: the same laws or not, whatever the recipe."""

import itertools
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import NanoGPT, transformer
from variance_dynamics import compare
from variance_dynamics.base.errors import BadInput
from variance_dynamics.cli import main


def materialised(forgotten=()):
    """A Llama made on the meta device, given memory, and drawn again but for the `forgotten` parameters."""
    import transformers

    model = transformer("llama", width=64, seed=1)
    with torch.device("meta"):
        empty = transformers.LlamaForCausalLM(model.config)
    empty.to_empty(device="cpu")
    for (name, parameter), drawn in zip(empty.named_parameters(), model.parameters(), strict=True):
        parameter.data.zero_()
        if not any(part in name for part in forgotten):
            parameter.data.copy_(drawn)
    return empty


def test_a_model_that_was_materialised_rightly_has_the_laws_of_the_eager_one():
    compared = compare(materialised(), transformer("llama", width=64))
    assert compared.exit_code == 0 and len(compared.pairs) == 16 and compared.equal == 5, str(compared)


def test_what_was_forgotten_is_named():
    compared = compare(materialised(("layers.1.input_layernorm", "0.mlp.up_proj")),
                       transformer("llama", width=64))
    assert {pair.name: pair.note[:28] for pair in compared.alarms} == {
        "model.layers.0.mlp.up_proj.weight": "all 0, in the second std 0.0",
        "model.layers.1.input_layernorm.weight": "all 0, in the second all 1"}
    assert "2 off, 4 constant and equal" in str(compared)


def shifted(change):
    model = NanoGPT(width=64, seed=3)
    with torch.no_grad():
        change(model.transformer["h"][0].mlp["c_fc"].weight)
    return model


@pytest.mark.parametrize(("change", "note"), [
    (lambda w: w.mul_(1.1), "std x1."), (lambda w: w.add_(0.01), "mean 0.0"),
    (lambda w: w.uniform_(-0.02 * 3**0.5, 0.02 * 3**0.5), "uniform, in the second normal"),
    (lambda w: w[0].fill_(torch.nan), "64 and 0 values NaN")])
def test_each_difference_is_named(change, note):
    alarms = compare(shifted(change), NanoGPT(width=64)).alarms
    assert [pair.name for pair in alarms] == ["transformer.h.0.mlp.c_fc.weight"] and note in alarms[0].note


def test_other_shapes_and_missing_parameters():
    one, two = NanoGPT(), NanoGPT()
    two.lm_head.weight = nn.Parameter(torch.randn(50, 32))
    del two.transformer["h"][1]
    notes = {pair.note for pair in compare(one, two).alarms}
    assert notes == {"only in the first", "shape is [50, 32] in the second"}
    with pytest.raises(BadInput, match="expected models with the same names"):
        compare(NanoGPT(), nn.Sequential(nn.Linear(4, 4)))


def test_no_alarm_between_seeds_of_small_matrices():
    models = [NanoGPT(width=16, seed=seed) for seed in range(20)]
    assert not [1 for one, two in itertools.pairwise(models) if compare(one, two).exit_code]


def test_the_command(tmp_path, capsys):
    for name, model in (("a", materialised(("0.mlp.up_proj",))), ("b", transformer("llama", width=64))):
        save_file(model.state_dict(), tmp_path / f"{name}.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(tmp_path / "a.safetensors"), "--against", str(tmp_path / "b.safetensors"),
              "--json"])
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 == told["exit_code"] and len(told["pairs"]) == 16
    with pytest.raises(SystemExit) as ended:
        main(["audit", "a", "--against", "b", "--recipe", "gpt2"])
    assert ended.value.code == 2 and "without --recipe" in capsys.readouterr().err


def test_a_compiled_model_is_compared_by_the_names_of_the_one_inside():
    compared = compare(torch.compile(NanoGPT(width=64)), NanoGPT(width=64))
    assert compared.exit_code == 0, str(compared)


def test_what_no_moment_shows_is_compared_too():
    other = NanoGPT(width=64)
    blocks = other.transformer["h"]
    blocks[1].attn.load_state_dict(blocks[0].attn.state_dict())
    weight = blocks[0].mlp["c_fc"].weight.data
    weight.copy_(0.02 * torch.randn(len(weight), 1) @ torch.randn(1, 64))
    notes = {pair.name: pair.note for pair in compare(NanoGPT(width=64), other).alarms}
    assert notes["transformer.h.0.mlp.c_fc.weight"].startswith("drawn, in the second rank 1")
    assert notes["transformer.h.1.attn.c_proj.weight"] == (
        "drawn, in the second the same numbers as transformer.h.0.attn.c_proj.weight")
    assert compare(other, other).exit_code == 0


def test_a_tied_head_that_one_file_holds_and_the_other_does_not(tmp_path):
    model = transformer("gpt2", width=64)
    model.save_pretrained(tmp_path / "folder")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    for one, two in itertools.permutations([model, tmp_path / "folder", tmp_path / "model.pt"], 2):
        compared = compare(one, two)
        assert compared.exit_code == 0, str(compared)
