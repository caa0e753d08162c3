"""Which weights decay, and the learning rate by its formula."""

import math

import pytest

from study.gpt2.model import GPT2, Shape
from study.gpt2.optimizers import adamw, lr_at
from tiny_gpt2 import tiny_run


def test_every_matrix_decays_and_no_vector():
    model = GPT2(Shape(n_layer=2, n_head=2, n_embd=8, n_ctx=8, vocab_size=10))
    optimizer = adamw(model, tiny_run(weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    matrices = {p.name for p in model.matrices()}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.3 if name in matrices else 0), name


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_warmup_then_schedule(schedule):
    run = tiny_run(schedule=schedule, lr=1e-2, min_lr_ratio=0.1, warmup_steps=10, steps=110)
    lrs = [lr_at(step, run) for step in range(run.steps)]
    assert lrs[:10] == pytest.approx([1e-2 * (i + 1) / 10 for i in range(10)])
    if schedule == "constant":
        assert set(lrs[10:]) == {1e-2}
    else:
        expected = [1e-3 + 9e-3 * math.cos(math.pi * i / 99 / 2) ** 2 for i in range(100)]
        assert lrs[10:] == pytest.approx(expected)
        assert lrs[-1] == pytest.approx(1e-3)


def test_without_warmup_and_with_nothing_else():
    assert lr_at(0, tiny_run(warmup_steps=0, lr=1e-2)) == pytest.approx(1e-2)
    run = tiny_run(warmup_steps=12, steps=12, lr=1e-2)
    assert lr_at(11, run) == pytest.approx(1e-2)
