"""E1's grid: it is as large as the study needs, and refined around the critical std."""

import math

import numpy as np
import pytest

from study.base import params
from study.mlp.experiments import mlp_sweep_groups, std_grid
from study.mlp.params import MlpSweepParams, Stds
from variance_dynamics.base.errors import BadInput

STDS = Stds(low=1e-4, high=10.0, per_decade=6, refined_per_decade=24, refined_below=3.0, refined_above=4.0)


@pytest.fixture
def section(tree):
    return params.section(tree, "mlp_sweep", MlpSweepParams)


def test_grid_is_log_spaced_and_refined_around_the_critical_std():
    grid = std_grid(STDS, width=128)
    steps = np.diff(np.log10(grid))
    assert (grid[0], grid[-1]) == (1e-4, pytest.approx(10))
    middle = np.sqrt(np.multiply(grid[1:], grid[:-1]))
    fine = (middle > 0.125 / 2.7) & (middle < 0.125 * 3.6)
    coarse = (middle < 0.125 / 4.5) | (middle > 0.125 * 6)
    assert steps[fine] == pytest.approx(1 / 24)
    assert steps[coarse] == pytest.approx(1 / 6)
    assert steps.max() < 1 / 6 + 1e-9


def test_widths_share_one_lattice():
    coarse = set(std_grid(STDS, 64)) & set(std_grid(STDS, 256))
    assert {round(math.log10(std) * 6, 6) for std in coarse} >= {float(i) for i in range(-24, 7)}


def test_the_default_grid_is_as_large_as_the_study_needs(section):
    groups = mlp_sweep_groups(section, ["wine", "digits"])
    assert section.stds.low <= 1e-4 and section.stds.high >= 10
    assert section.stds.per_decade >= 6 and section.stds.refined_per_decade >= 24
    for dataset, widths in (("digits", {64, 128, 256}), ("wine", {64})):
        of = [g for g in groups if g.dataset == dataset]
        assert {g.width for g in of} >= widths
        assert {g.depth for g in of} >= {2, 4, 8}
        assert {g.optimizer for g in of} >= {"sgd", "adamw"}
        assert len({g.seed for g in of}) >= 5
        assert len(of) == len(set(of))


def test_models_of_a_group_differ_in_std_alone(section):
    for some in mlp_sweep_groups(section, ["digits"])[:4]:
        stds = [model.std for model in some.models]
        assert stds == sorted(set(stds))
        assert {(m.scheme, m.lr, m.shared) for m in some.models} == {("normal", some.models[0].lr, True)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stds": {"refined_per_decade": 25}}, "expected a multiple of per_decade, 6"),
        ({"stds": {"high": 1e-5}}, "high is 1e-05: expected at least low, 0.0001"),
        ({"stds": {"low": 0.0}}, "mlp_sweep.stds.low is 0.0"),
        ({"depths": [1]}, "mlp_sweep.depths.0 is 1"),
        ({"depths": [4, 4]}, "expected entries that differ"),
        ({"optimizers": {"sgd": {"lr": 0}}}, "mlp_sweep.optimizers.sgd.lr is 0"),
        ({"optimizers": {"sgd": None, "adamw": None}}, "no optimizer: expected one of sgd, momentum, adamw"),
        ({"optimizers": {"lion": {"lr": 1}}}, "mlp_sweep.optimizers.lion"),
        ({"seeds": 0}, "mlp_sweep.seeds is 0"),
        ({"tasks": {"wine": {"batch_size": "32"}}}, "mlp_sweep.tasks.wine.batch_size is '32'"),
    ],
)
def test_bad_values_are_named(tree, change, message):
    with pytest.raises(BadInput, match=r"^params\.yaml: ") as problem:
        params.section(params.merged(tree, {"mlp_sweep": change}), "mlp_sweep", MlpSweepParams)
    assert message in str(problem.value)


def test_an_optimizer_can_be_left_out(tree):
    section = params.section(
        params.merged(tree, {"mlp_sweep": {"optimizers": {"adamw": None}}}), "mlp_sweep", MlpSweepParams
    )
    assert list(section.optimizers.chosen()) == ["sgd"]
