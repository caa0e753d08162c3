"""Recipes: which rule decides, what users may write, and that each built-in one is drawn as it is judged."""

import math

import pytest
import torch

from networks import CNN, FAMILIES, NanoGPT, mlp, transformer
from variance_dynamics import audit, initialize
from variance_dynamics.auditing.report import alarms_as_text
from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.built_in import BUILT_IN, KINDS
from variance_dynamics.recipes.named import recipe_named, recipe_of_config, recipes_for
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.schemes import SCHEMES

VALUES = {"std": 0.02, "d_model": 64.0}


def law(entries, name="layers.1.attention.wo.weight", role="attn_out"):
    laws = recipe_named(entries).laws(Parameter(name, role, 2, 4, 64, 128), VALUES)
    return str(laws[0]) if laws else ""


@pytest.mark.parametrize(("entries", "expected"), [
    ({"matrices": "std"}, "normal, std 0.02"), ({"attn_out": 1}, "normal, std 1"), ({"attn_out": 0}, "all 0"),
    ({"attn_out": "zero"}, "all 0"), ({"attn_out": "constant(1e-6)"}, "all 1e-06"), ({"mlp_in": 1}, ""),
    ({"attn_out": "uniform(1/sqrt(3*fan_in))"}, "uniform, std 0.072169"),
    ({"attn_out": "truncated(.02, 3)"}, "truncated cut at 3 std, std 0.019732"),
    ({"attn_out": "between(0, .02)"}, "uniform, std 0.0057735"), ({"attn_out": "any"}, "any"),
    ({"attn_out": "orthogonal(sqrt(1/max(fan_in, fan_out)))"}, "orthogonal, std 0.088388"),
    ({"attn_out": ".02/sqrt(2*depth)"}, "normal, std 0.0070711"), ({"q, attn_out": 3}, "normal, std 3"),
    ({"wo": 5, "attn_out": 1}, "normal, std 5"), ({"w": 5, "attn_out": 1}, "normal, std 1"),
    ({"attn_out": 1, "residual": 2, "matrices": 3}, "normal, std 1"),
    ({"residual": 2, "matrices": 3}, "normal, std 2"),
    ({"matrices, embeddings": 3, "residual": 2}, "normal, std 2"),
    ({"like": "gpt2", "q": 1}, "normal, std 0.0070711"),
    ({"like": "gpt2", "residual": "zero"}, "all 0"),
    ({"matrices": "k / 2", "values": {"k": 3}}, "normal, std 1.5"),
    ({"scheme": "kaiming"}, "normal, std 0.17678"), ({"attention.wo": ".5*layer"}, "normal, std 1")])
def test_the_rule_that_decides(entries, expected):
    assert law(entries) == expected


@pytest.mark.parametrize(("entries", "message"), [
    ({"atn_out": 1}, "'atn_out' is no role: expected attn_out, or for a pattern"),
    ({}, "expected roles or patterns"),
    ({"q": "norml(1)"}, r"law is 'norml': expected one of normal, .*did you mean normal"),
    ({"q": "truncated(1)"}, "1 numbers: expected 2"), ({"q": True}, "rule is True"),
    ({"q": None}, "rule is None"),
    ({"q": []}, "no rule"), ({"q": {"std": 1}}, "rule is"), ({"norm": 1}, "expected zero, one, constant"),
    ({"(": 1}, "expected a role or a pattern"), ({"q": "1 +"}, "recipe of your own: q: formula"),
    ({"q": 1, "scheme": "kaimin"}, "scheme is 'kaimin'"), ({"q": 1, "like": "gtp2"}, "did you mean gpt2"),
    ({"q": 1, "values": 3}, "values is 3"), ({"q": 1, "values": {"a": "b"}}, "values: formula 'b': b is "
                                                                             "not known"),
    ({1: 1}, "expected roles or patterns")])
def test_a_recipe_that_cannot_be_read(entries, message):
    with pytest.raises(BadInput, match=message) as error:
        recipe_named(entries)
    assert "\n" not in str(error.value)


def test_a_negative_std_and_a_name_without_a_value_are_refused_when_they_are_used():
    with pytest.raises(BadInput, match=r"rule '1 - 2': std is -1: expected 0 or more"):
        law({"attn_out": "1 - 2"})
    with pytest.raises(BadInput, match=r"formula 'd_kv': d_kv is not known here"):
        law({"attn_out": "d_kv"})


@pytest.mark.parametrize(("text", "message"), [
    ("q: 1\nq: 2\n", "'q' occurs 2 times"), ("- 1\n", "no mapping"), ("", "no mapping"),
    ("q: [1", "expected YAML"),
    ("q: !!python/object/apply:os.system [true]\n", "expected YAML"), ("[" * 5000, "expected YAML"),
    ("#" * 200_000, "200,000 bytes"), ("q: norml(1)\n", "did you mean normal")])
def test_a_file_that_is_no_recipe_gets_one_line(tmp_path, text, message):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        recipe_named(str(tmp_path / "my.yaml"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing():
    with pytest.raises(BadInput, match=r"recipe no\.yaml: no such file"):
        recipe_named("no.yaml")


def test_a_recipe_in_a_file_is_drawn_and_judged(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("source: mine\nmatrices: .03\nresidual: .03/sqrt(2*depth)\nembedding: 1\n"
                    "position: 1e-2\nc_fc: uniform(.04)\n")
    model = NanoGPT(width=64)
    done = initialize(model, file)
    assert {row.std for row in done.rows} == {0.03, 0.03 / math.sqrt(4), 1.0, 0.01, 0.04}
    assert audit(model, file).exit_code == 0 and audit(model, str(file)).recipe == str(file)
    assert audit(model, "gpt2").exit_code == 1


def test_a_pattern_that_matches_nothing_is_said():
    report = audit(NanoGPT(), {"like": "gpt2", "w_query": 1})
    assert report.notes == ("pattern 'w_query' of recipe of your own matches no parameter",)


def test_patterns_that_match_nothing_are_said_when_drawing_too():
    with pytest.warns(UserWarning, match="pattern 'w_query' of recipe of your own matches no parameter"):
        initialize(NanoGPT(), {"like": "gpt2", "w_query": 1})
    with pytest.warns(UserWarning, match="pattern 'w_key' matches no parameter of NanoGPT"):
        initialize(NanoGPT(), "gpt2", patterns={"w_key": "k"})


def test_patterns_of_the_recipe_that_one_is_like_need_not_match():
    notes = audit(NanoGPT(), {"like": "transformers", "embedding": 0.02}).notes
    assert not any("matches no parameter" in note for note in notes)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if recipe_named(name).patterns])
def test_a_pattern_of_one_s_own_comes_before_the_same_of_the_recipe_that_it_is_like(name):
    for pattern in recipe_named(name).patterns:
        own = recipe_named({"like": name, pattern: "normal(.77)"})
        assert [rule.text for rule in own.patterns[pattern]] == ["normal(.77)"]
        assert next(iter(own.patterns)) == pattern


@pytest.mark.parametrize("recipe", [None, 5, ["gpt2"], b"gpt2"])
def test_what_is_no_recipe_gets_one_line(recipe):
    with pytest.raises(BadInput, match=r"expected the name of one, a mapping or a \.yaml file"):
        initialize(NanoGPT(), recipe)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_recipe_has_a_source_and_known_kinds(name):
    recipe = recipe_named(name)
    assert len(recipe.source) > 20 and set(recipe.auto) <= set(KINDS)
    assert recipe.rules or recipe.scheme or recipe.patterns


def test_every_scheme_is_a_recipe_by_the_same_name():
    assert set(SCHEMES) <= set(BUILT_IN) and all(recipe_named(name).scheme == name for name in SCHEMES)


def test_no_model_type_has_two_recipes():
    families = [family for name in BUILT_IN for family in recipe_named(name).families
                if "families" in BUILT_IN[name]]
    assert len(families) == len(set(families)) > 100
    assert recipe_of_config({"model_type": "llama"}).name == "llama"
    assert all(recipe_of_config(config) is None
               for config in ({"model_type": "new"}, {}, {"model_type": ["a"]}))
    assert all(recipes_for(kind) for kind in KINDS)


MODELS = {**{family: lambda family=family: transformer(family, width=64) for family in FAMILIES},
          "nano": lambda: NanoGPT(width=64), "mlp": mlp, "cnn": CNN}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("recipe", BUILT_IN)
def test_what_initialize_draws_by_a_recipe_passes_the_audit_by_it(kind, recipe):
    """Where the recipe is about the model at all, and needs no number that its config has not."""
    model = MODELS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan if recipe != "lora" else 0.5)
    try:
        initialize(model, recipe, seed=5)
    except BadInput as problem:
        assert "role" in str(problem) or "is not known here" in str(problem)
        return
    for parameter in model.parameters():  # what a recipe leaves to itself
        parameter.data.nan_to_num_(0.01)
    report = audit(model, recipe)
    assert report.exit_code == 0, alarms_as_text(report)


@pytest.mark.parametrize(("family", "std"), [("Starcoder2", 0.018042), ("Nemotron", 0.0134)])
def test_initialize_and_audit_take_the_same_std_from_a_config(family, std):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=128,
        vocab_size=101, head_dim=16)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    drawn = initialize(model, "gpt2").rows[0].std
    report = audit(model, "gpt2")
    assert drawn == report.sigma == std and report.exit_code == 0


def test_zero_centred_norms_start_at_0_by_class_and_by_config(tmp_path):
    import transformers

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
             "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 101}
    gemma = transformers.GemmaForCausalLM(transformers.GemmaConfig(**sizes))
    done = initialize(gemma, "kaiming")
    assert not done.ones and "model.norm.weight" in done.zeros
    gemma.save_pretrained(tmp_path)
    assert audit(tmp_path, "kaiming").exit_code == 0
    torch.nn.init.ones_(gemma.model.norm.weight)
    assert [row.name for row in audit(gemma, "kaiming").vector_alarms] == ["model.norm.weight"]
