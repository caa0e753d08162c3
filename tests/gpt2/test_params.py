"""Precedence of section, preset and arm, and one line for what is wrong."""

import pytest

from study.gpt2.params import resolve
from tiny_gpt2 import tiny_run
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import SCHEDULES


def test_every_arm_of_every_preset_resolves(tree):
    for preset in tree["gpt2_presets"]:
        for arm in tree["gpt2_arms"]:
            run = resolve(tree, arm, preset)
            assert run.n_layer == 12, (preset, arm)


def test_the_arm_wins_over_the_preset_and_the_preset_over_the_section(tree):
    tree["gpt2"] |= {"lr": 0.1, "weight_decay": 0.2, "std": 0.3}
    tree["gpt2_presets"]["cpu"] |= {"weight_decay": 0.4, "std": 0.5}
    tree["gpt2_arms"]["gpt2"] = {"std": 0.6, "dumps": {"every": 7}}
    run = resolve(tree, "gpt2")
    assert (run.lr, run.weight_decay, run.std) == (0.1, 0.4, 0.6)
    assert run.dumps.every == 7 and run.dumps.windows == tree["gpt2"]["dumps"]["windows"]


@pytest.mark.parametrize(("section", "change", "message"), [
    ("gpt2", {"lr": 0.0}, "gpt2.lr is 0.0"),
    ("gpt2", {"device": "gpu"}, "gpt2.device is 'gpu'"),
    ("gpt2", {"scheme": "he"}, "gpt2.scheme is 'he': expected one of normal, "),
    ("gpt2", {"std": "0.02"}, "gpt2.std is '0.02'"),
    ("gpt2", {"preset": "tpu"}, "gpt2.preset names 'tpu': expected one of cpu, gpt2"),
    ("gpt2", {"arms": []}, "gpt2.arms"),
    ("gpt2", {"seeds": [1, 1]}, "expected entries that differ"),
    ("cpu", {"n_head": 3}, "n_head is 3: expected a divisor of n_embd, 128"),
    ("cpu", {"micro_batch_size": 5}, "micro_batch_size is 5: expected a divisor of batch_size, 16"),
    ("cpu", {"warmup_steps": 501}, "warmup_steps is 501: expected at most steps, 500"),
    ("cpu", {"n_layer": 5}, "dumps.histogram_layer is 6: expected at most n_layer, 5"),
    ("gpt2", {"dropout": 1.0}, "gpt2.dropout is 1.0"),
    ("cpu", {"n_heads": 4}, "n_heads is 4: expected no such key"),
])
def test_bad_values_end_in_one_line(tree, section, change, message):
    (tree["gpt2"] if section == "gpt2" else tree["gpt2_presets"][section]).update(change)
    with pytest.raises(BadInput) as problem:
        resolve(tree, "gpt2")
    assert message in str(problem.value) and "\n" not in str(problem.value)


def test_unknown_arm(tree):
    with pytest.raises(BadInput, match=r"gpt2\.arms names 'gpt3': expected one of gpt2, std_005"):
        resolve(tree, "gpt3")


def test_tiny_runs_of_the_tests_are_valid():
    assert tiny_run("std_1").std == 0.1


def test_every_schedule_that_has_a_formula_is_accepted():
    assert {tiny_run(schedule=name).schedule for name in SCHEDULES} == set(SCHEDULES)
    with pytest.raises(BadInput, match=r"schedule is 'cosin': expected one of cosine, linear"):
        tiny_run(schedule="cosin")
