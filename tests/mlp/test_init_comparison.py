"""E2's grid, and the tables that both experiments write."""

import math
from itertools import product

import numpy as np
import pytest

from mlp.small_grid import OPTIONS, group, labelled, normal
from study.base import params
from study.mlp.experiments import init_comparison_groups
from study.mlp.grid import Variant, train_grid
from study.mlp.params import InitComparisonParams, TrainingPlan
from study.mlp.tables import tables
from variance_dynamics.base.errors import BadInput


@pytest.fixture
def section(tree):
    return params.section(tree, "init_comparison", InitComparisonParams)


def test_the_default_grid_is_as_large_as_the_study_needs(section):
    groups = init_comparison_groups(section, ["wine", "digits"])
    asked = {"xavier", "kaiming", "lecun", "torch_default", "orthogonal", "xavier_sqrt2"}
    assert set(section.schemes) >= asked
    assert {g.depth for g in groups} >= {3, 10, 20}
    assert {g.optimizer for g in groups} >= {"sgd", "momentum", "adamw"}
    assert len({g.seed for g in groups}) >= 10
    assert len(groups) == len(set(groups)) == 2 * 3 * 3 * section.seeds
    for some in groups:
        lrs = {model.lr for model in some.models}
        assert len(lrs) >= 5
        pairs = {(model.lr, model.scheme) for model in some.models}
        assert pairs == set(product(lrs, section.schemes))
        assert len({model.lr for model in some.models if model.shared}) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schemes": ["kaiming", "gpt2"]}, "gpt2: expected schemes that fix an MLP's std, lecun, xavier"),
        ({"schemes": ["normal"]}, "normal: expected schemes that fix an MLP's std"),
        ({"schemes": []}, "init_comparison.schemes is []"),
        ({"optimizers": {"sgd": {"lrs": [0.1, 0.1]}}}, "expected entries that differ"),
        ({"optimizers": {"sgd": {"lrs": [-0.1]}}}, "init_comparison.optimizers.sgd.lrs.0 is -0.1"),
        ({"optimizers": {"sgd": {"shared_lr": 0.5}}}, "shared_lr is 0.5: expected one of lrs"),
        ({"optimizers": {"momentum": {"momentum": 1.0}}}, "optimizers.momentum.momentum is 1.0"),
    ],
)
def test_bad_values_are_named(tree, change, message):
    with pytest.raises(BadInput, match=r"^params\.yaml: ") as problem:
        changed = params.merged(tree, {"init_comparison": change})
        params.section(changed, "init_comparison", InitComparisonParams)
    assert message in str(problem.value)


@pytest.fixture
def written():
    unshared = Variant("kaiming", math.nan, 0.2, shared=False)
    groups = [group(normal(0.3, 1e14)), group([unshared], "adamw", depth=2)]
    data, plan = {"clusters": labelled()}, TrainingPlan(steps=9, eval_every=4, eval_rows=30)
    trained = list(train_grid(groups, data, plan, OPTIONS))
    return trained, tables(trained, data, plan), data["clusters"]


def test_models_table(written):
    _, tables_by_name, data = written
    models = tables_by_name["models"]
    assert models["run"].tolist() == [0, 1, 2]
    assert models["scheme"].tolist() == ["normal", "normal", "kaiming"]
    assert models["shared"].tolist() == [True, True, False]
    assert models["std"].tolist()[:2] == [0.3, 1e14] and math.isnan(models["std"][2])
    assert (models["depth"].tolist(), models["classes"].tolist()) == ([3, 3, 2], [3, 3, 3])
    moment = np.mean(data.x["train"].astype(np.float64) ** 2)
    assert models["input_second_moment"].tolist() == pytest.approx([moment] * 3)
    assert (models["run"].dtype, models["std"].dtype) == (np.int32, np.float64)


def test_curves_and_layers_hold_every_measurement_once(written):
    trained, tables_by_name, _ = written
    curves, layers = tables_by_name["curves"], tables_by_name["layers"]
    assert not curves.duplicated(["run", "step", "stat"]).any()
    assert not layers.duplicated(["run", "step", "layer", "stat"]).any()
    assert len(curves) == 3 * (9 + 2 * 4 + 2)
    assert len(layers) == (3 + 3 + 2) * (1 + 3)
    assert (curves["value"].dtype, layers["value"].dtype) == (np.float32, np.float64)
    group_of = {0: (0, 0), 1: (0, 1), 2: (1, 0)}
    at = [0, 4, 8, 9]
    for run, (number, model) in group_of.items():
        arrays = trained[number][1]
        for stat in ("train_loss", "val_loss", "val_accuracy", "test_loss"):
            rows = curves[(curves["run"] == run) & (curves["stat"] == stat)]
            values = np.atleast_2d(arrays[stat])[:, model]
            steps = {"train_loss": list(range(9)), "test_loss": [9]}.get(stat, at)
            assert rows["step"].tolist() == steps
            assert np.array_equal(rows["value"], values, equal_nan=True)
        for layer in range(trained[number][0].depth):
            rows = layers[(layers["run"] == run) & (layers["layer"] == layer + 1)]
            norms = rows[rows["stat"] == "grad_norm"]
            assert norms["step"].tolist() == at[:-1]
            assert np.array_equal(norms["value"], arrays["grad_norm"][:, layer, model], equal_nan=True)
            moments = rows[rows["stat"] == "second_moment"]
            assert moments["value"].tolist() == [arrays["second_moment"][layer, model]]
