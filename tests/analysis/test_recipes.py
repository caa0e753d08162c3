"""Recipes against theory's formulas and the measurements that they quote."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import adam_noise
from imports import ROOT
from study.analysis import e3, recipes
from study.analysis.params import AnalyzeParams
from study.base import params

PARAMS = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)


@pytest.fixture(scope="module")
def tables():
    runs = []
    for arm, std, loss in (("gpt2", 0.02, 5.0), ("std_005", 0.005, 4.5)):
        for seed in range(2):
            frames, knobs = adam_noise.run(arm, seed, steps=30, layers=2, elements=400, std=std)
            apart = 0.02 * (2 * seed - 1) * (arm == "gpt2")
            val = pd.DataFrame([(arm, seed, 30, "val_loss", loss + seed + apart)],
                               columns=["arm", "seed", "step", "stat", "value"])
            others = frames["losses"].query("stat != 'val_loss'")
            runs.append(({**frames, "losses": pd.concat([others, val])}, knobs))
    tables = e3.tables(e3.measure(*adam_noise.together(*runs)), PARAMS)
    ratios = {"R": 0.64, "R_lo": 0.25, "R_hi": 1.0, "time_constants": 0.1, "step": 30}
    return {**tables, "e3_final": tables["e3_final"].assign(**ratios)}


def edges(depth, lower, upper, optimizer="sgd"):
    return [("digits", optimizer, depth, 64, *end) for end in (("lower", lower), ("upper", upper))]


def lines(tables):
    return recipes.table(tables, PARAMS).set_index(["part", "quantity"])


def test_mlp_stds_are_kaiming_s_within_the_band_common_to_all_cells():
    rows = [*edges(2, 0.1, 50.0), *edges(4, 0.5, 4.0), *edges(4, 0.7, 3.0, "adamw"), *edges(8, 0.8, 1.2)]
    table = pd.DataFrame(rows, columns=["dataset", "optimizer", "depth", "width", "edge", "axis"]).assign(n=5)
    mlp = recipes.table({"e1_edges": table}, PARAMS)
    stds = mlp[mlp["quantity"] == "std (Kaiming)"]
    critical = np.sqrt(2 / np.array(PARAMS.recipes.mlp_sizes[:-1]))
    assert stds["value"].to_numpy() == pytest.approx(critical)
    own = 2 ** (1 / 8)  # 3 layers are nearest to 4 in ratio
    assert stds["lo"].to_numpy() == pytest.approx(0.7 / own * critical)
    assert stds["hi"].to_numpy() == pytest.approx(3.0 / own * critical)
    words = "4 layers, common to all widths of digits adamw, digits sgd, n = 5"
    assert stds["basis"].str.contains(words).all()
    apart = table.assign(axis=np.where(table["edge"] == "lower", 9.0, table["axis"]))
    assert recipes.table({"e1_edges": apart}, PARAMS)["lo"].isna().all()


def test_kaiming_or_xavier_quotes_the_nearest_depth_task_by_task():
    columns = ["dataset", "optimizer", "depth", "lr_kind", "measure", "effect", "lo", "hi", "n",
               "censored_kaiming", "censored_xavier", "excluded"]
    rows = [("digits", "sgd", 3, "best", "ln_steps_ratio", -0.7, -0.9, -0.5, 10, 0, 0, False),
            ("wine", "sgd", 3, "best", "ln_steps_ratio", -0.2, -0.3, -0.1, 10, 0, 4, False),
            ("wine", "adamw", 3, "best", "ln_steps_ratio", -9.0, -9.0, -9.0, 10, 9, 9, True),
            ("digits", "sgd", 20, "best", "ln_steps_ratio", -3.0, -4.0, -2.0, 10, 0, 0, False),
            ("digits", "sgd", 3, "shared", "ln_steps_ratio", -5.0, -6.0, -4.0, 10, 0, 0, False),
            ("digits", "sgd", 3, "best", "test_accuracy", 0.1, 0.0, 0.2, 10, 0, 0, False)]
    mlp = recipes.table({"e2_gap": pd.DataFrame(rows, columns=columns)}, PARAMS)
    steps = mlp[mlp["quantity"] == "steps with Kaiming / with Xavier"].set_index("part")
    assert list(steps.index) == ["optimizer sgd"] * 2
    ends = steps[["value", "lo", "hi"]].to_numpy()
    assert ends == pytest.approx(np.exp([[-0.7, -0.9, -0.5], [-0.2, -0.3, -0.1]]))
    quotes = steps["basis"].str.contains("digits at 3 layers, each at its best lr, n = 10")
    assert quotes.tolist() == [True, False]
    assert steps["basis"].str.endswith("a bound").tolist() == [False, True]
    logits = lines({}).loc[("logits", "scale with Kaiming / with Xavier"), "value"]
    sizes = np.array(PARAMS.recipes.mlp_sizes)
    assert logits == pytest.approx(np.sqrt(np.prod(1 + sizes[1:] / sizes[:-1])))


def test_gpt2_s_std_is_the_one_that_trained_best(tables):
    gpt2 = lines(tables)
    blocks = gpt2.xs("initial std", level="quantity")
    assert blocks["value"].tolist() == pytest.approx([0.005, 0.005 / np.sqrt(2 * PARAMS.recipes.n_layer)])
    half = 0.02 * stats.t.ppf(0.975, 1)  # of two seeds, whose differences are .04 apart, if they are paired
    words = (f"with std 0.02 5.500; with 0.005 -0.500 [{-0.5 - half:+.3f}, {-0.5 + half:+.3f}] "
             "(e3_loss_gaps, paired), n = 2, measured at 2 x 64, lr 0.001")
    assert blocks["basis"].str.contains(words, regex=False).all(), blocks["basis"].iloc[0]
    alone = lines({name: table[table["arm"] == "gpt2"] for name, table in tables.items()})
    assert alone.xs("initial std", level="quantity")["value"].iloc[0] == 0.02
    assert "the only std that was run" in alone.xs("initial std", level="quantity")["basis"].iloc[0]


def test_what_lr_and_decay_imply(tables):
    gpt2, target = lines(tables), PARAMS.recipes
    ends = gpt2.xs("std at constant lr, in the end", level="quantity")
    settled = np.sqrt(target.lr / (2 * target.weight_decay))
    assert ends["value"].tolist() == pytest.approx([settled], rel=1e-3)  # theory; no R of step 30 in it
    assert ends["basis"].str.startswith("theory").all()
    measured = gpt2.xs("R at the end of the run (1: the law holds)", level="quantity").loc["v"]
    assert measured[["value", "lo", "hi"]].tolist() == [0.64, 0.25, 1.0]
    assert measured["basis"] == ("e3_final at step 30, 0.1 time constants of the variance, n = 2, "
                                 "measured at 2 x 64, lr 0.001")
    steps = gpt2.xs("steps until init is forgotten (e-fold)", level="quantity")
    assert steps["value"].item() == pytest.approx(1 / (target.lr * target.weight_decay), rel=1e-3)
    ends = tables["e3_convergence"].query("step == 30 and role in ['q', 'k', 'v']")
    words = f"Q, K and V {ends['left'].min():.2f} to {ends['left'].max():.2f}, predicted"
    assert words in steps["basis"].item()


def test_every_line_names_its_basis(tables):
    table = recipes.table(tables, PARAMS)
    assert list(table.columns) == recipes.COLUMNS and (table["basis"].str.len() > 0).all()
    assert recipes.table({}, PARAMS)["basis"].str.contains("no band was measured").any()
