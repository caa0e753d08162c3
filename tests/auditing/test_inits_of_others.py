"""Right inits of other people exit with 0, and each fault that was reported exits with 1 and is named."""

import pytest
import torch

from auditing.inits_of_others import RIGHT, WRONG
from networks import transformer
from variance_dynamics import assert_initialized, audit
from variance_dynamics.auditing.report import alarms_as_text
from variance_dynamics.base.errors import BadInput

SEEDS = 200


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_init_passes_by_its_recipe_and_without_one(name):
    build, recipe = RIGHT[name]
    model = build()
    for report in (audit(model, recipe), audit(model)):
        assert report.exit_code == 0, alarms_as_text(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm_in_200_seeds(name):
    build, recipe = RIGHT[name]
    for seed in range(SEEDS):
        report = audit(build(seed), recipe if seed % 2 else "auto")
        assert report.exit_code == 0, f"seed {seed}: {alarms_as_text(report)}"


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_an_alarm_without_any_option_and_is_named(name):
    build, words = WRONG[name]
    report = audit(build())
    assert report.exit_code == 1 and words in alarms_as_text(report), alarms_as_text(report)


def test_assert_initialized_raises_with_the_alarms_alone():
    assert_initialized(RIGHT["torchtitan"][0](), "torchtitan")
    with pytest.raises(AssertionError, match=r"layers\.0\.attention\.wq\.weight: off, rank 1 of its first "
                                             r"64") as error:
        assert_initialized(WRONG["rank 1"][0](), "torchtitan")
    assert len(str(error.value).splitlines()) < 6


def test_a_model_prints_as_a_table():
    text = str(audit(transformer("gpt2")))
    assert text.splitlines()[2].split()[:3] == ["layer", "role", "tensor"] and "AuditRow" not in text


@pytest.mark.parametrize("kinds", ["int8", "uint8", "int32"])
def test_weights_that_are_left_out_exit_with_2(kinds):
    """fp8, bitsandbytes, GPTQ: what is left may be right, but the model is not judged."""
    state = transformer("llama").state_dict()
    halves = {name: value.to(getattr(torch, kinds)) if "mlp" in name else value for name,
              value in state.items()}
    report = audit(halves, "llama")
    assert report.exit_code == 2 and len(report.left_out) == 6 and not report.alarms, alarms_as_text(report)


def test_matrices_of_unknown_role_exit_with_2():
    model = transformer("llama")
    model.model.layers[0].mystery = torch.nn.Linear(32, 8, bias=False)
    report = audit(model)
    assert report.exit_code == 2 and report.unjudged == ("model.layers.0.mystery.weight",)
    assert audit(model, patterns={"mystery": "ignore"}).exit_code == 0


def test_a_nearer_recipe_is_named_beside_the_alarms():
    report = audit(WRONG["init never ran (litgpt 759)"][0]())
    assert "nearest recipe: pytorch, fits" in " ".join(report.notes)
    assert "the init never ran" in " ".join(report.notes)


def test_xavier_of_fused_q_k_and_v_is_off_and_not_said_to_be_left_in_place():
    """nn.MultiheadAttention's default and a deliberate xavier_uniform_ are the same draws."""
    notes = {row.note.rpartition("; ")[2] for row in audit(RIGHT["torch layers"][0](), "normal").alarms
             if "in_proj_weight" in row.parameter.name}
    assert notes == {"it is xavier of the whole fused tensor: draw each part"}


def test_an_outlier_is_not_explained_by_another_recipe():
    model = RIGHT["torchtitan"][0]()
    model.layers[0].attention["wq"].weight.data[0, 0] = 1.0
    (row,) = audit(model, "torchtitan").alarms
    assert "a weight of 50 std" in row.note and "it is" not in row.note


def test_wang_init_is_recognised_and_not_said_to_be_mup_s():
    assert audit(RIGHT["neox"][0]()).recipe == "neox"


def test_huge_numbers_are_short():
    state = {name: value * 1e37 for name, value in RIGHT["torchtitan"][0]().state_dict().items()}
    assert max(map(len, str(audit(state, "torchtitan")).split())) < 60


def test_a_model_without_a_number_names_no_recipe_that_explains_it():
    state = {name: value * float("nan") for name, value in RIGHT["torchtitan"][0]().state_dict().items()}
    report = audit(state)
    assert report.exit_code == 1 and len(report.alarms) == len(report.rows)
    assert "no weights tell another" in str(report).splitlines()[0] and "99%" not in str(report)


def test_a_model_on_meta_is_refused_with_what_to_do():
    with torch.device("meta"):
        empty = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for source in (empty, empty.state_dict()):
        with pytest.raises(BadInput, match=r"0\.weight: 2 of 2 parameters are on the meta device"):
            audit(source)
