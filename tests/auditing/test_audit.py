"""Whole audits: ties, std and config, which recipe, what is unknown, what cannot be judged."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import NanoGPT, drawn, mlp, transformer
from variance_dynamics.auditing.audit import audit
from variance_dynamics.base.errors import BadInput


def verdicts(model, *args, **options):
    return {row.parameter.name: row.verdict for row in audit(model, *args, **options).rows}


def test_ties_are_judged_once_in_memory_and_as_copies_in_a_file(tmp_path):
    model = NanoGPT()
    assert verdicts(model)["lm_head.weight"] == "tied"
    save_file({name: value.clone() for name, value in model.state_dict().items()}, tmp_path / "m.safetensors")
    stored = verdicts(tmp_path / "m.safetensors")
    assert {stored["lm_head.weight"], stored["transformer.wte.weight"]} == {"as the recipe says", "tied"}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_head_that_is_tied_and_not_stored_is_said(tmp_path, family):
    transformer(family, tie_word_embeddings=family == "gpt2").save_pretrained(tmp_path)
    assert ("tied to the embedding" in " ".join(audit(tmp_path).notes)) == (family == "gpt2")


def test_nan_in_a_bias_is_an_alarm():
    model = NanoGPT()
    model.transformer["ln_f"].bias.data[0] = math.nan
    report = audit(model)
    assert report.broken == ("transformer.ln_f.bias",) and report.exit_code == 1


def test_a_std_of_one_s_own_is_an_alarm_with_the_std_to_name_and_a_named_one_is_held_to():
    model = drawn(NanoGPT(width=64), "gpt2", seed=0, std=0.03)
    report = audit(model)
    assert report.recipe == "gpt2" and report.sigma == 0.02 and report.exit_code == 1
    assert "nearest recipe: gpt2 with std 0.03" in " ".join(report.notes)
    assert audit(model, "gpt2", std=0.03).exit_code == 0 and audit(model, std=0.03).exit_code == 0
    assert audit(model, "gpt2").exit_code == 1


def test_a_std_that_is_given_is_judged_without_a_recipe_too():
    """And with a recipe that uses none it is refused."""
    assert audit(NanoGPT(width=64), std=0.01).exit_code == 1
    assert audit(transformer("llama", width=64), std=0.01).exit_code == 1
    with pytest.raises(BadInput, match=r"std is 0\.01: recipe kaiming uses none"):
        audit(mlp(), "kaiming", std=0.01)


def test_a_config_s_initializer_range_is_the_std():
    assert not audit(transformer("llama", width=64, initializer_range=0.05), "normal").alarms


def test_recipes_that_these_shapes_cannot_tell_apart_are_named_together():
    torch.manual_seed(0)
    report = audit({f"{i}.weight": torch.randn(64, 64) / 8 for i in range(3)})
    assert report.recipe == "lecun" and {"xavier", "mup"} <= set(report.fits[0].same)


def test_recipes_that_few_weights_can_hardly_tell_apart_share_the_certainty():
    """LeCun's and Xavier's std differ by 2% here, and 400 weights tell 3.5%."""
    torch.manual_seed(1)
    report = audit({"0.weight": torch.randn(19, 21) * math.sqrt(1 / 20)})
    assert 0.1 < report.fits[0].probability < 0.9


def test_trained_measures_without_a_verdict():
    model = transformer("llama")
    for parameter in model.parameters():
        parameter.data.mul_(3)
    report = audit(model, trained=True)
    assert {row.verdict for row in report.rows} == {"measured"} and report.exit_code == 0
    wild = audit({name: value * (1 + i) for i, (name, value) in enumerate(model.state_dict().items())})
    assert wild.exit_code == 1 and len(wild.alarms) > 5


def test_a_trained_model_is_pointed_out():
    model = transformer("bert")
    model.bert.embeddings.LayerNorm.weight.data[0] = 1.1
    assert "looks trained" in " ".join(audit(model).notes)


def test_unknown_matrices_are_named_and_judged_only_for_being_empty():
    state = {**NanoGPT().state_dict(), "transformer.h.0.extra.weight": torch.randn(8, 8),
             "transformer.h.1.extra.weight": torch.zeros(8, 8)}
    judged = verdicts(state)
    assert judged["transformer.h.0.extra.weight"] == "not judged"
    assert judged["transformer.h.1.extra.weight"] == "never initialised"
    assert verdicts(state, patterns={"extra": "ignore"}).keys().isdisjoint({"transformer.h.0.extra.weight"})


def test_heads_given_by_hand_open_interleaved_tensors():
    state = transformer("gpt_neox").state_dict()
    assert sum(v == "not judged" for v in verdicts(state).values()) == 2
    assert "not judged" not in verdicts(state, heads=4).values()


def test_a_wrapper_hides_no_config():
    assert "not judged" not in verdicts(nn.ModuleDict({"module": transformer("gpt_neox")})).values()


def test_a_study_s_control_is_not_offered_as_an_explanation():
    fit = audit(drawn(mlp((64, 128, 10)), "kaiming", seed=0)).fits[0]
    assert fit.recipe == "kaiming" and "xavier_sqrt2" not in fit.same


@pytest.mark.parametrize(("arguments", "message"), [
    ({"recipe": "kaimng"}, "did you mean kaiming"), ({"recipe": "Glorot"}, "did you mean xavier"),
    ({"recipe": "he"}, "did you mean kaiming"), ({"recipe": "zzz"}, "expected one of normal, lecun"),
    ({"std": -1.0}, "expected a number above 0"), ({"std": math.nan}, "expected a number above 0"),
    ({"heads": 0}, "heads is 0: expected 1 or more")])
def test_bad_arguments(arguments, message):
    with pytest.raises(BadInput, match=message):
        audit(NanoGPT(), **arguments)


def test_a_recipe_that_is_about_none_of_the_roles():
    with pytest.raises(BadInput, match="roles are hidden, readout"):
        audit(mlp(), "small")


def test_no_matrix_at_all():
    with pytest.raises(BadInput, match="no weight matrix"):
        audit({"norm.weight": torch.ones(4)})


class Sharded(torch.Tensor):
    def to_local(self):
        return self


@pytest.mark.parametrize(("source", "message"), [
    (None, "source: a NoneType: expected a state dict"), ({"epoch": 3}, "source: keys epoch: expected"),
    ({"w": torch.ones(4, 4).as_subclass(Sharded)}, "w: tensor is sharded: expected a full state dict")])
def test_what_is_no_model_in_memory(source, message):
    with pytest.raises(BadInput, match=message):
        audit(source)


def test_a_loaded_checkpoint_is_opened_as_its_file_is():
    state = transformer("gpt_neox").state_dict()
    report = audit({"model": state, "model_args": {"num_attention_heads": 4}, "iter": 3}, "normal")
    assert {row.verdict for row in report.rows} == {"as the recipe says"}
