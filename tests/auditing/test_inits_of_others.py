"""Right inits of other people exit with 0, and each fault that was reported exits with 1 and is named."""

import pytest
import torch

from auditing.inits_of_others import RIGHT, WRONG
from networks import transformer
from variance_dynamics import assert_initialized, audit
from variance_dynamics.auditing.report import alarms_as_text

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
