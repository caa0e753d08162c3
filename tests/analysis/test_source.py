"""What is read of a run of the study: the seeds of an arm are pooled only if they were trained alike."""

import pytest

from study.analysis.source import check_pooled
from variance_dynamics.base.errors import BadInput


def run(arm, seed, **other):
    knobs = {"lr": 1e-3, "dumps": {"every": 25}, "corpus_manifest_sha256": "a" * 64}
    return {"arm": arm, "seed": seed, **knobs, **other}


def test_seeds_of_an_arm_may_differ_in_their_seed_and_arms_in_their_knobs():
    check_pooled([])
    check_pooled([run("gpt2", 0), run("gpt2", 1), run("wd_1", 0, lr=2e-3)])


@pytest.mark.parametrize(("other", "message"), [
    ({"lr": 2e-3}, r"gpt2-0 and gpt2-1: lr is 0.001 and 0.002: expected the same"),
    ({"dumps": {"every": 5}}, r"dumps is \{'every': 25\} and \{'every': 5\}"),
    ({"beta2": 0.99}, r"beta2 is None and 0.99"),
])
def test_seeds_of_an_arm_that_were_trained_with_other_knobs_are_not_pooled(other, message):
    with pytest.raises(BadInput, match=message):
        check_pooled([run("gpt2", 0), run("gpt2", 1, **other)])


def test_runs_on_another_text_are_not_compared():
    with pytest.raises(BadInput, match=r"gpt2-0 and wd_1-0: corpus_manifest_sha256 is 'aaa"):
        check_pooled([run("gpt2", 0), run("wd_1", 0, corpus_manifest_sha256="b" * 64)])
