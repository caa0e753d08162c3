"""Whole audits: correct models raise no alarm, each fault is found, for it alone, and told by its name."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import CNN, FAMILIES, NanoGPT, mlp, shapes, transformer
from variance_dynamics.auditing.audit import audit
from variance_dynamics.errors import BadInput
from variance_dynamics.init.schemes import SCHEMES
from variance_dynamics.tracking.find_roles import find_roles

SEEDS = 200
USUAL = {"gpt2": "gpt2", "gpt_neox": "normal", "llama": "normal", "mistral": "normal", "bert": "normal",
         "vit": "normal"}


def verdicts(model, *args, **options):
    return {row.parameter.name: row.verdict for row in audit(model, *args, **options).rows}


def note_of(report, name):
    return next(row.note for row in report.rows if row.parameter.name == name)


def dense(init, seed=0):
    """An MLP and a CNN in one, each weight drawn by a function of torch.nn.init."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3), nn.Linear(64, 128), nn.Linear(128, 10))
    for module in model:
        init(module.weight)
        nn.init.zeros_(module.bias)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_own_init_passes_and_is_recognised(family):
    report = audit(transformer(family, width=64))
    assert not report.alarms and report.exit_code == 0
    assert report.recipe == USUAL[family] and report.fits[0].probability > 0.99 and report.sigma == 0.02


@pytest.mark.parametrize(("init", "recipe"), [
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), "kaiming"),
    (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), "kaiming"),
    (lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), "kaiming_fan_out"),
    (nn.init.xavier_normal_, "xavier"), (nn.init.xavier_uniform_, "xavier"),
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), "lecun"),
    (lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), "torch_default"),
    (lambda w: nn.init.trunc_normal_(w, std=0.02), "normal")])
def test_torch_s_own_init_passes_and_is_recognised(init, recipe):
    report = audit(dense(init))
    assert not report.alarms and report.recipe == recipe and report.fits[0].probability > 0.9
    assert not audit(dense(init), recipe).alarms


def test_torch_s_own_layers_at_their_defaults_are_recognised():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 3)
    model = nn.ModuleDict({"embedding": nn.Embedding(100, 64), "encoder": encoder, "head": nn.Linear(64, 10)})
    report = audit(model)
    assert not report.alarms and report.recipe == "torch_default" and len(report.rows) == 2 + 3 * 6
    assert {row.note for row in audit(model, "xavier").alarms} == {"PyTorch's default left in place"}


def drawn(model, recipe, seed, std=0.02):
    """`model` drawn anew by a scheme, slice by slice."""
    config = model.config.to_dict() if hasattr(model, "config") else None
    generator = torch.Generator().manual_seed(seed)
    scheme = SCHEMES[recipe]
    for piece in find_roles(shapes(model), config).pieces:
        view = piece.of(model.get_parameter(piece.tensor).data)
        z = torch.randn(math.prod(piece.shape), generator=generator).view(view.shape)
        view.copy_(scheme.sample(z, scheme.std(piece.parameter, std)))
    return model


@pytest.mark.parametrize("recipe", [name for name in SCHEMES if name != "orthogonal"])
def test_no_alarm_by_any_scheme(recipe):
    model = NanoGPT()
    assert not [seed for seed in range(10) if audit(drawn(model, recipe, seed), recipe).alarms]


def test_no_alarm_in_200_seeds_of_a_small_transformer():
    model = NanoGPT(width=16)
    assert not [seed for seed in range(SEEDS) if audit(drawn(model, "gpt2", seed), "gpt2").alarms]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_alarm_in_200_seeds_of_any_family(family):
    for seed in range(SEEDS):
        report = audit(transformer(family, seed=seed))
        assert not report.alarms and report.recipe == USUAL[family], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("make", [CNN, mlp, NanoGPT])
def test_no_alarm_in_200_seeds_of_other_networks(make):
    recipe = "gpt2" if make is NanoGPT else "torch_default"
    for seed in range(SEEDS):
        report = audit(make(seed=seed))
        assert not report.alarms and report.recipe == recipe, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in SCHEMES if name != "orthogonal"])
def test_no_alarm_in_200_seeds_of_any_scheme(recipe):
    for model in (NanoGPT(), transformer("gpt2")):
        assert not [seed for seed in range(SEEDS) if audit(drawn(model, recipe, seed), recipe).alarms]


def only_alarm(model, name, *args):
    """The row of the one matrix that raises an alarm, which must be `name`."""
    report = audit(model, *args)
    assert [row.parameter.name for row in report.alarms] == [name] and report.exit_code == 1
    return report.alarms[0]


FAULTY = {"gpt2": "transformer.h.1.mlp.c_fc.weight", "gpt_neox": "gpt_neox.layers.1.attention.dense.weight",
          "llama": "model.layers.0.mlp.up_proj.weight", "bert": "bert.encoder.layer.1.output.dense.weight",
          "vit": "vit.layers.0.attention.q_proj.weight"}


@pytest.mark.parametrize(("family", "name"), FAULTY.items())
@pytest.mark.parametrize("recipe", ["auto", "named"])
def test_one_layer_at_pytorch_s_default_one_zeroed_and_one_off_by_a_tenth(family, name, recipe):
    args = () if recipe == "auto" else (USUAL[family],)
    model = transformer(family, width=64)
    weight = model.get_parameter(name).data
    correct = weight.clone()
    for factor in (1.1, 0.9):
        weight.copy_(correct * factor)
        row = only_alarm(model, name, *args)
        assert row.verdict == "off" and row.ratio == pytest.approx(factor, abs=0.03)
    weight.zero_()
    row = only_alarm(model, name, *args)
    assert (row.verdict, row.note) == ("never initialised", "all zero")
    nn.init.kaiming_uniform_(weight.T if family == "gpt2" else weight, a=math.sqrt(5))
    row = only_alarm(model, name, *args)
    assert (row.verdict, row.note) == ("never initialised", "PyTorch's default left in place")


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_a_fault_in_one_part_of_a_fused_tensor_is_found_in_that_part(family):
    model = transformer(family, width=64)
    piece = next(p for p in find_roles(shapes(model), model.config.to_dict()).pieces
                 if p.parameter.role == "k" and p.parameter.layer == 2)
    piece.of(model.get_parameter(piece.tensor).data).mul_(1.1)
    assert only_alarm(model, piece.parameter.name).verdict == "off"


def test_the_fused_xavier_trap():
    """Xavier over the fused [3d, d] matrix has half the variance of three separate ones."""
    model = drawn(NanoGPT(width=64, layers=4), "xavier", seed=0)
    for block in model.transformer["h"]:
        nn.init.xavier_uniform_(block.attn["c_attn"].weight)
    report = audit(model)
    assert report.recipe == "xavier"
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
def test_faults_are_told_by_name(change, note):
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


def test_ties_are_judged_once_in_memory_and_as_copies_in_a_file(tmp_path):
    model = NanoGPT()
    assert verdicts(model)["lm_head.weight"] == "tied"
    save_file({name: value.clone() for name, value in model.state_dict().items()}, tmp_path / "m.safetensors")
    found = verdicts(tmp_path / "m.safetensors")
    assert {found["lm_head.weight"], found["transformer.wte.weight"]} == {"as the recipe says", "tied"}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_head_that_is_tied_and_not_stored_is_said(tmp_path, family):
    transformer(family, tie_word_embeddings=family == "gpt2").save_pretrained(tmp_path)
    assert ("tied to the embedding" in " ".join(audit(tmp_path).notes)) == (family == "gpt2")


def test_nan_in_a_bias_is_an_alarm():
    model = NanoGPT()
    model.transformer["ln_f"].bias.data[0] = math.nan
    report = audit(model)
    assert report.broken == ("transformer.ln_f.bias",) and report.exit_code == 1


def test_a_std_of_one_s_own_is_fitted_and_said_so_but_a_named_one_is_held_to():
    model = drawn(NanoGPT(width=64), "gpt2", seed=0, std=0.03)
    found = audit(model)
    assert found.recipe == "gpt2" and found.fits[0].fitted and found.sigma == pytest.approx(0.03, rel=0.02)
    assert not found.alarms and not audit(model, "gpt2", std=0.03).alarms
    assert audit(model, "gpt2").exit_code == 1


def test_a_config_s_initializer_range_is_the_std():
    assert not audit(transformer("llama", width=64, initializer_range=0.05), "normal").alarms


def test_recipes_that_these_shapes_cannot_tell_apart_are_named_together():
    torch.manual_seed(0)
    report = audit({f"{i}.weight": torch.randn(64, 64) / 8 for i in range(3)})
    assert (report.recipe, report.fits[0].same) == ("lecun", ("xavier", "mup"))


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
    with pytest.raises(BadInput, match="no recipe fits"):
        wild = {name: value * (1 + i) for i, (name, value) in enumerate(model.state_dict().items())}
        audit(wild)


def test_a_trained_model_is_pointed_out():
    model = transformer("bert")
    model.bert.embeddings.LayerNorm.weight.data[0] = 1.1
    assert "looks trained" in " ".join(audit(model).notes)


def test_unknown_matrices_are_named_and_judged_only_for_being_empty():
    state = {**NanoGPT().state_dict(), "transformer.h.0.extra.weight": torch.randn(8, 8),
             "transformer.h.1.extra.weight": torch.zeros(8, 8)}
    found = verdicts(state)
    assert found["transformer.h.0.extra.weight"] == "not judged"
    assert found["transformer.h.1.extra.weight"] == "never initialised"
    assert verdicts(state, patterns={"extra": "ignore"}).keys().isdisjoint({"transformer.h.0.extra.weight"})


def test_heads_given_by_hand_open_interleaved_tensors():
    state = transformer("gpt_neox").state_dict()
    assert sum(v == "not judged" for v in verdicts(state).values()) == 2
    assert "not judged" not in verdicts(state, heads=4).values()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"recipe": "kaimng"}, "did you mean kaiming"), ({"recipe": "Glorot"}, "did you mean xavier"),
    ({"recipe": "he"}, "did you mean kaiming"), ({"recipe": "zzz"}, "expected one of auto, normal"),
    ({"std": -1.0}, "expected a number above 0"), ({"std": math.nan}, "expected a number above 0")])
def test_bad_arguments(arguments, message):
    with pytest.raises(BadInput, match=message):
        audit(NanoGPT(), **arguments)


def test_a_recipe_that_is_about_none_of_the_roles():
    with pytest.raises(BadInput, match="roles are hidden, readout"):
        audit(mlp(), "small")


def test_no_matrix_at_all():
    with pytest.raises(BadInput, match="no weight matrix"):
        audit({"norm.weight": torch.ones(4)})
