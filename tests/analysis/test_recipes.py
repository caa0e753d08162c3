"""Recipes against theory's formulas and the measurements that they quote."""

import numpy as np
import pandas as pd
import pytest

import adam_noise
from imports import ROOT
from variance_dynamics import params
from variance_dynamics.analysis import claims, e3, effects, recipes, verdicts
from variance_dynamics.analysis.params import AnalyzeParams

PARAMS = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
NO_CELLS = claims.cells(effects.none(), PARAMS)


@pytest.fixture(scope="module")
def tables():
    runs = []
    for arm, std, loss in (("gpt2", 0.02, 5.0), ("std_005", 0.005, 4.5)):
        for seed in range(2):
            frames, knobs = adam_noise.run(arm, seed, steps=30, layers=2, elements=400, std=std)
            val = pd.DataFrame([(arm, seed, 30, "val_loss", loss + seed)],
                               columns=["arm", "seed", "step", "stat", "value"])
            runs.append(({**frames, "losses": pd.concat([frames["losses"], val])}, knobs))
    found = e3.tables(e3.measure(*adam_noise.together(*runs)), PARAMS)
    ratios = {"R": 0.64, "R_lo": 0.25, "R_hi": 1.0}
    return {**found, "e3_final": found["e3_final"].assign(**ratios)}


def edges(depth, lower, upper, optimizer="sgd"):
    return [("digits", optimizer, depth, 64, *end) for end in (("lower", lower), ("upper", upper))]


def lines(tables, cells=NO_CELLS):
    return recipes.table(tables, cells, PARAMS).set_index(["part", "quantity"])


def test_mlp_stds_are_kaiming_s_within_the_band_common_to_all_cells():
    rows = [*edges(2, 0.1, 50.0), *edges(4, 0.5, 4.0), *edges(4, 0.7, 3.0, "adamw"), *edges(8, 0.8, 1.2)]
    table = pd.DataFrame(rows, columns=["dataset", "optimizer", "depth", "width", "edge", "axis"])
    found = recipes.table({"e1_edges": table}, NO_CELLS, PARAMS)
    stds = found[found["quantity"] == "std (Kaiming)"]
    critical = np.sqrt(2 / np.array(PARAMS.recipes.mlp_sizes[:-1]))
    assert stds["value"].to_numpy() == pytest.approx(critical)
    own = 2 ** (1 / 8)  # 3 layers are nearest to 4 in ratio
    assert stds["lo"].to_numpy() == pytest.approx(0.7 / own * critical)
    assert stds["hi"].to_numpy() == pytest.approx(3.0 / own * critical)
    assert stds["basis"].str.contains("4 layers, common to all widths of digits adamw, digits sgd").all()
    apart = table.assign(axis=np.where(table["edge"] == "lower", 9.0, table["axis"]))
    assert recipes.table({"e1_edges": apart}, NO_CELLS, PARAMS)["lo"].isna().all()


def test_kaiming_or_xavier_quotes_the_claim_and_theory():
    rows = [("e2_kaiming_faster", "sgd", True, seed, -0.7, np.nan, "") for seed in range(3)]
    cells = claims.cells(pd.DataFrame(rows, columns=verdicts.COLUMNS), PARAMS)
    found = lines({}, cells)
    ratio = found.loc[("optimizer sgd", "steps with Kaiming / with Xavier")]
    assert ratio["value"] == pytest.approx(np.exp(-0.7)) and "e2_kaiming_faster" in ratio["basis"]
    logits = found.loc[("logits", "scale with Kaiming / with Xavier"), "value"]
    sizes = np.array(PARAMS.recipes.mlp_sizes)
    assert logits == pytest.approx(np.sqrt(np.prod(1 + sizes[1:] / sizes[:-1])))


def test_gpt2_s_std_is_the_one_that_trained_best(tables):
    found = lines(tables)
    blocks = found.xs("initial std", level="quantity")
    assert blocks["value"].tolist() == pytest.approx([0.005, 0.005 / np.sqrt(2 * PARAMS.recipes.n_layer)])
    assert blocks["basis"].str.contains("0.005: 5.000, 0.02: 5.500; lowest").all()
    alone = lines({name: table[table["arm"] == "gpt2"] for name, table in tables.items()})
    assert alone.xs("initial std", level="quantity")["value"].iloc[0] == 0.02
    assert "the only std that was run" in alone.xs("initial std", level="quantity")["basis"].iloc[0]


def test_what_lr_and_decay_imply(tables):
    found, target = lines(tables), PARAMS.recipes
    ends = found.xs("std at constant lr, in the end", level="quantity")
    settled = np.sqrt(target.lr / (2 * target.weight_decay))
    assert ends.loc["every matrix", "value"] == pytest.approx(settled, rel=1e-3)
    measured = ends.loc["v", ["value", "lo", "hi"]] / settled
    assert measured.tolist() == pytest.approx([0.8, 0.5, 1.0], rel=1e-3)
    steps = found.xs("steps until init is forgotten (e-fold)", level="quantity")
    assert steps["value"].item() == pytest.approx(1 / (target.lr * target.weight_decay), rel=1e-3)
    assert "e3_convergence: gap in variance" in steps["basis"].item()


def test_every_line_names_its_basis(tables):
    found = recipes.table(tables, NO_CELLS, PARAMS)
    assert list(found.columns) == recipes.COLUMNS and (found["basis"].str.len() > 0).all()
    assert recipes.table({}, NO_CELLS, PARAMS)["basis"].str.contains("no band was measured").any()
