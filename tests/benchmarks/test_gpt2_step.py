"""The benchmark of GPT-2's step compares what is equal: the peers have our losses."""

import math

import pytest
from torch.utils.flop_counter import FlopCounterMode

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_ctx": 16, "vocab_size": 64, "batch_size": 4,
        "micro_batch_size": 2}


@pytest.fixture
def gpt2_step():
    import gpt2_step

    return gpt2_step


def test_the_peers_losses_are_ours(gpt2_step):
    steps = gpt2_step.steppers(compiled=False, **TINY)
    known = {gpt2_step.OURS, gpt2_step.FP32, gpt2_step.EAGER, gpt2_step.NANO}
    assert set(gpt2_step.check(steps)) == known
    assert steps[gpt2_step.EAGER][0]() == pytest.approx(math.log(64), abs=0.1)


def test_a_difference_is_noticed(gpt2_step):
    steps = gpt2_step.steppers(compiled=False, **TINY)
    steps[gpt2_step.EAGER][0]()  # one step ahead
    with pytest.raises(AssertionError, match="transformers"):
        gpt2_step.check(steps)


def test_the_products_are_those_of_a_step(gpt2_step):
    """6 N P, and 12 N T D for attention: Kaplan et al. 2020, arXiv 2001.08361, with the head."""
    products = gpt2_step.Products(gpt2_step.undisturbed("cpu", **TINY), 2)
    with FlopCounterMode(display=False) as counter:
        products()
    weights = 2 * 12 * 16 * 16 + 64 * 16
    assert counter.get_total_flops() == 6 * 32 * weights + 2 * 12 * 32 * 16 * 16


def test_when_compiling_pays(gpt2_step):
    measured = {gpt2_step.OURS: [4.0, 4.0, 5.0], gpt2_step.OURS_COMPILED: [5.0, 9.0, 5.0]}
    assert gpt2_step.pays(measured, 40.0) == {"pays_from_steps": 800}, "0.05 s a step"
    assert gpt2_step.pays(measured | {gpt2_step.OURS: [6.0]}, 40.0) == {}


def test_no_step_is_measured_with_a_dump(gpt2_step):
    training = gpt2_step.Ours(gpt2_step.undisturbed("cpu", **TINY)).training
    assert not any(training.dumped(step) for step in range(1, 1000))
