"""E1's tables and effects against synthetic sweeps whose edges are put in."""

import numpy as np
import pandas as pd
import pytest

from analysis.synthetic import STDS, STEPS, TASKS, fan_factor, params, sweep
from study.analysis import claims, e1, e1_bands, mlp
from study.base.labelled import Labelled
from variance_dynamics.theory.sgd_band import signal

PARAMS = params()
STEP = STDS[1] / STDS[0]
KEYS = [*e1_bands.CELL, "std"]


def natural(dataset, optimizer, depth, width, seed):
    """Edges at fixed a, [exp(-6/L), exp(6/L)] and one seed's shift, so that they collapse over widths."""
    factor = fan_factor(depth, width, TASKS[dataset][0])
    shift = np.exp(0.02 * (seed - 2))
    return shift * np.exp(-6 / depth) / factor, shift * np.exp(6 / depth) / factor


def fixed(dataset, optimizer, depth, width, seed):
    """The paper's band whatever the width."""
    return 0.99e-2, 1.01e-1


def outcome(edge, **grid):
    return mlp.outcomes(*sweep(edge, **grid), PARAMS).assign(signal=0.1)


def edges_of(runs):
    return e1.median_edges(e1_bands.edges_by_seed(runs), e1_bands.predicted_edges(runs), PARAMS)


def slopes_of(runs):
    return e1.slopes(e1_bands.edges_by_seed(runs), e1_bands.predicted_edges(runs), PARAMS)


NATURAL = outcome(natural)


def pick(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def test_edges_are_found_to_half_a_grid_step_and_collapse_on_the_natural_axis():
    edges = edges_of(NATURAL)
    assert len(edges) == 2 * 3 * 2 and (edges["n"] == 5).all() and (edges["censored"] == 0).all()
    for row in edges.itertuples():
        put_in = natural("digits", "sgd", row.depth, row.width, 2)[row.edge == "upper"]
        assert put_in / STEP < row.std < put_in * STEP and row.lo < put_in < row.hi
        assert row.axis == pytest.approx(row.std * fan_factor(row.depth, row.width, 64))
        assert row.axis_hi == pytest.approx(row.hi * fan_factor(row.depth, row.width, 64))
    for _, cell in edges.groupby(["depth", "edge"]):
        assert cell["axis"].max() / cell["axis"].min() < STEP and cell["std"].max() / cell["std"].min() > 1.5


def test_predicted_edges_stand_beside_those_of_sgd_alone():
    runs = outcome(natural, optimizers=("sgd", "adamw"), depths=(2, 4), seeds=2)
    edges = edges_of(runs)
    edges = edges.set_index(["optimizer", "depth", "width", "edge"])["predicted"]
    assert edges["adamw"].isna().all() and np.isnan(edges["sgd", 2, 64, "upper"])
    factor = fan_factor(4, 64, 64)
    ratio = 0.05 * factor**2 / np.sqrt(64)
    assert edges["sgd", 4, 64, "upper"] == pytest.approx(ratio**-0.5 / factor)
    assert edges["sgd", 4, 64, "lower"] == pytest.approx((1 + 2 * 0.1 * ratio * STEPS) ** -0.5 / factor)


def test_signal_is_of_the_data_at_each_depth_and_kept_where_it_is_known():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 64)).astype(np.float32), np.arange(60) % 10
    data = {"digits": Labelled({"train": x}, {"train": y}, 10)}
    runs = NATURAL.drop(columns="signal")
    signals = e1_bands.with_signal(runs, data).groupby("depth")["signal"].unique()
    assert {depth: list(values) for depth, values in signals.items()} == {
        depth: [signal(x, y, depth)] for depth in (4, 8)}
    assert e1_bands.with_signal(runs, {})["signal"].isna().all()
    assert (e1_bands.with_signal(NATURAL, data)["signal"] == 0.1).all()


def test_band_is_the_one_around_the_best_std_and_holes_end_it():
    models, curves = sweep(natural, depths=(4,), widths=(64,), seeds=1)
    low, high = natural("digits", "sgd", 4, 64, 0)
    hole = models[models["std"] > np.sqrt(low * high) * 1.5]["std"].min()
    lost = curves["run"].isin(models[models["std"] == hole]["run"])
    losses = curves.assign(value=curves["value"].mask(lost, 9.0))
    edges = e1_bands.edges_by_seed(mlp.outcomes(models, losses, PARAMS))
    assert pick(edges, edge="upper")["outside"].item() == hole
    assert low / STEP < pick(edges, edge="lower")["std"].item() < low * STEP


def test_edges_beyond_the_grid_are_censored_and_seeds_that_never_train_have_none():
    def edge(dataset, optimizer, depth, width, seed):
        return (1e-9, 1e9) if depth == 4 else (1e3, 1e4)
    runs = outcome(edge, widths=(64,))
    edges = edges_of(runs)
    whole, nowhere = pick(edges, depth=4), pick(edges, depth=8)
    assert (whole["censored"] == 5).all()
    assert list(whole["std"]) == pytest.approx([STDS[0], STDS[-1]])
    assert nowhere["std"].isna().all() and (nowhere["never"] == 5).all() and (nowhere["censored"] == 0).all()
    overlap = pick(e1.claim_effects(runs, PARAMS), claim="e1_stability_band", primary=True)
    assert overlap["effect"].to_numpy() == pytest.approx(np.full(5, 0.5 / np.log10(STDS[-1] / STDS[0])))


def test_overlap_with_the_paper_s_band():
    def overlap(edge):
        edges = e1_bands.edges_by_seed(outcome(edge, widths=(64,), seeds=2))
        return e1_bands.overlap(edges, [1e-2, 1e-1])
    same, half, apart = overlap(fixed), overlap(lambda *_: (3.1e-2, 3.1e-1)), overlap(lambda *_: (0.2, 1.0))
    assert same["jaccard"].to_numpy() == pytest.approx(1, abs=0.06)
    assert half["jaccard"].to_numpy() == pytest.approx(1 / 3, abs=0.04)
    assert half["paper_share"].to_numpy() == pytest.approx(1 / 2, abs=0.04)
    assert (apart[["jaccard", "paper_share", "band_share"]] == 0).all(axis=None)
    assert not same["note"].any() and not apart["note"].any()


def test_a_band_that_reaches_the_grid_s_end_is_named_beside_the_verdict():
    effects = e1.claim_effects(outcome(lambda *cell: (1e-2, 1e9 if cell[2] == 4 else 1e-1)), PARAMS)
    primary = pick(effects, claim="e1_stability_band", primary=True)
    named = "digits/sgd/L4: band counted to the grid's end"
    assert set(primary["note"]) == {named}
    some = effects.assign(note=effects["note"].where(effects["seed"] > 0, f"another; {named}"))
    assert claims.judge(some, PARAMS)["e1_stability_band"].note.count(named) == 1


def test_the_slope_without_depth_2_is_reported_and_not_judged():
    def edge(*cell):
        return fixed(*cell) if cell[2] == 2 else natural(*cell)
    effects = e1.claim_effects(outcome(edge, depths=(2, 4, 8)), PARAMS)
    aside = effects[effects["cell"] == "digits/sgd/without depth 2"]
    assert len(aside) == 5 and not aside["primary"].any()
    assert aside["effect"].to_numpy() == pytest.approx(1, abs=0.1), "depth 2 alone does not follow"
    primary = pick(effects, claim="e1_band_follows_fan_in", primary=True)
    assert (primary["effect"] / primary["predicted"]).max() < 0.9
    assert not e1.claim_effects(outcome(fixed, depths=(2,)), PARAMS)["cell"].str.endswith("depth 2").any()


def test_slopes_over_width():
    table = slopes_of(NATURAL)
    for row in table.itertuples():
        assert row.predicted == pytest.approx(-(row.depth - 1) / (2 * row.depth))
        assert row.slope == pytest.approx(row.predicted, abs=np.log(STEP) / np.log(4)) and row.n == 5
        exactly = row.edge == "upper"  # the lower one is, where the budget of steps is long
        assert row.critical == -0.5 and row.band_theory == pytest.approx(-0.5, abs=1e-9 if exactly else 0.06)
    still = slopes_of(outcome(fixed))
    assert still["slope"].to_numpy() == pytest.approx(0, abs=1e-12)


def test_censored_edges_have_no_slope_and_are_named():
    def edge(*cell):
        low, high = natural(*cell)
        return low, high if cell[2] == 8 else 1e9
    effects = e1.claim_effects(outcome(edge), PARAMS)
    primary = pick(effects, claim="e1_band_follows_fan_in", primary=True)
    assert set(primary["note"]) == {"digits/sgd/L4/upper: edge beyond the grid"}
    assert primary["predicted"].to_numpy() == pytest.approx(np.full(5, -(3 / 8 + 7 / 16 + 7 / 16) / 3))
    assert (primary["effect"] / primary["predicted"]).mean() == pytest.approx(1, abs=0.1)


def test_slopes_in_units_of_the_band_theory_s_are_exploratory_and_sgd_s():
    runs = outcome(natural, optimizers=("sgd", "adamw"))
    rows = e1.claim_effects(runs, PARAMS)
    rows = rows[rows["cell"].str.endswith("/band theory")]
    assert set(rows["cell"]) == {"digits/sgd/band theory"} and not rows["primary"].any()
    table = pick(slopes_of(runs), optimizer="sgd")
    assert rows["effect"].mean() == pytest.approx(table["slope"].mean() / table["band_theory"].mean())
    assert set(slopes_of(outcome(natural, optimizers=("adamw",)))["band_theory"].isna()) == {True}


def test_a_single_failure_splits_the_band_but_not_the_bridged_one():
    models, curves = sweep(natural, depths=(4,), seeds=2)
    mid = [np.sqrt(np.prod(natural(*cell[1:]))) for cell in
           models[["run", "dataset", "optimizer", "depth", "width", "seed"]].itertuples(index=False)]
    above = models[models["std"] > 1.5 * np.array(mid)]
    hole = above.groupby(["width", "seed"])["run"].min()
    lost = curves["run"].isin(hole)
    runs = mlp.outcomes(models, curves.assign(value=curves["value"].mask(lost, 9.0)), PARAMS)
    runs = runs.assign(signal=0.1)
    whole = e1_bands.edges_by_seed(pick(NATURAL, depth=4)[lambda rows: rows["seed"] < 2])
    split, bridged = (e1_bands.edges_by_seed(runs, bridge=bridge) for bridge in (False, True))
    assert (pick(split, edge="upper")["std"] < 0.5 * pick(whole, edge="upper")["std"].to_numpy()).all()
    assert bridged["std"].to_numpy() == pytest.approx(whole["std"].to_numpy())
    effects = e1.claim_effects(runs, PARAMS)
    asides = effects[effects["cell"].str.endswith("/bridged")]
    assert set(asides["claim"]) == {"e1_stability_band", "e1_band_follows_fan_in"}
    assert not asides["primary"].any()


def test_one_width_has_no_slope():
    effects = e1.claim_effects(outcome(natural, widths=(64,), datasets=("wine",)), PARAMS)
    assert pick(effects, claim="e1_band_follows_fan_in").empty
    assert pick(effects, claim="e1_regimes", primary=True)["cell"].unique() == ["wine/sgd"]


def test_regimes_need_all_three_in_order():
    assert set(pick(e1.claim_effects(NATURAL, PARAMS), claim="e1_regimes", primary=True)["effect"]) == {1.0}
    endless = outcome(lambda *cell: (natural(*cell)[0], 1e9 if cell[2] == 4 else natural(*cell)[1]))
    assert set(pick(e1.claim_effects(endless, PARAMS), claim="e1_regimes", primary=True)["effect"]) == {0.5}
    other = {"vanishing": "exploding", "exploding": "vanishing"}
    turned = NATURAL.assign(regime=NATURAL["regime"].replace(other))
    assert set(e1.shapes_with_all_regimes(turned, turned["regime"] == "exploding")["effect"]) == {0.0}


def test_a_huge_loss_that_falls_explodes_by_the_rule_but_does_not_diverge():
    models, curves = sweep(natural, depths=(4,), widths=(64,), seeds=2)
    first = (curves["step"] == 0) & (curves["stat"] == "train_loss")
    for start, diverges in ((100.0, 0.0), (3.0, 1.0)):
        value = curves["value"].mask(first & (curves["value"] > 2.4), start)
        runs = mlp.outcomes(models, curves.assign(value=value), PARAMS).assign(signal=0.1)
        finite = runs[np.isfinite(runs["tail_loss"]) & (runs["regime"] == "exploding")]
        assert len(finite) and (finite["diverges"] == diverges).all()
        assert runs.loc[np.isinf(runs["tail_loss"]), "diverges"].all()
        finite = runs[np.isfinite(runs["tail_loss"])]
        rows = e1.claim_effects(finite, PARAMS)
        assert set(pick(rows, claim="e1_regimes", primary=True)["effect"]) == {1.0}
        assert set(pick(rows, cell="digits/sgd/diverges")["effect"]) == {diverges}
        assert e1.loss(finite, PARAMS)["share_diverges"].max() == diverges


def test_loss_table_holds_shares_and_capped_losses():
    table = e1.loss(NATURAL, PARAMS)
    shares = table[[f"share_{name}" for name in e1.REGIMES]]
    assert np.allclose(shares.sum(axis=1), 1) and (table["n"] == 5).all()
    assert table["loss"].max() == pytest.approx(2 * np.log(10)) and np.isfinite(table["loss_hi"]).all()
    mixed = pick(table, depth=4, width=64)[lambda rows: rows["share_trains"].between(0.1, 0.9)]
    assert len(mixed) and (mixed["loss"] < 2 * np.log(10)).all()
    assert mixed["loss_lo"].min() > 0 and mixed["loss_hi"].max() < 2 * np.log(10)
    assert table["axis"].to_numpy() == pytest.approx(
        [row.std * fan_factor(row.depth, row.width, 64) for row in table.itertuples()])


def test_band_s_width_over_depth():
    table = e1.depth_law(e1_bands.edges_by_seed(outcome(natural, depths=(4, 8, 16))), PARAMS)
    assert table["exponent"].to_numpy() == pytest.approx(-1, abs=0.1)
    assert e1.depth_law(e1_bands.edges_by_seed(outcome(natural, depths=(4,))), PARAMS).empty


def test_layers_are_geometric_means_with_predictions():
    models, curves = sweep(natural, depths=(4,), widths=(128,), seeds=4, stds=[0.01, 0.1])
    runs = mlp.outcomes(models, curves, PARAMS)
    rows = [(run.run, step, layer, stat, run.std**2 * (run.seed + 1) * layer)
            for run in models.itertuples() for layer in range(1, 5)
            for step, stat in ((0, "second_moment"), (0, "grad_norm"), (20, "grad_norm"))]
    layers = pd.DataFrame(rows, columns=["run", "step", "layer", "stat", "value"])
    table = mlp.per_layer(runs, layers, KEYS, PARAMS)
    row = pick(table, layer=3, stat="second_moment", std=0.1)
    assert row["value"].item() == pytest.approx(0.01 * 3 * 24 ** (1 / 4)) and row["n"].item() == 4
    assert set(table["stat"]) == {"second_moment", "grad_norm", "grad_norm_end"}
    assert row["predicted"].item() == pytest.approx(64 * 0.1**2 * (64 * 0.1**2) ** 2)
    with_zero = layers.assign(value=layers["value"].where(layers["layer"] != 2, 0))
    zero = mlp.per_layer(runs, with_zero, KEYS, PARAMS)
    assert pick(zero, layer=2)["value"].isna().all() and pick(zero, layer=1)["value"].notna().all()


def test_claim_effects_are_one_row_per_cell_and_seed():
    effects = e1.claim_effects(NATURAL, PARAMS)
    assert not effects.duplicated(["claim", "cell", "seed"]).any()
    assert list(effects.columns) == ["claim", "cell", "primary", "seed", "effect", "predicted", "note"]


def test_metrics_are_log10_of_stds():
    numbers = e1.numbers(NATURAL, PARAMS)
    low = natural("digits", "sgd", 8, 256, 2)[0]
    assert numbers["e1_log10_lower_digits_sgd"] == pytest.approx(np.log10(low), abs=np.log10(STEP))
    assert numbers["e1_ln_error_lower_sgd"] > 0
    assert numbers["e1_slope_sgd"] == pytest.approx(-(3 / 8 + 7 / 16) / 2, abs=0.02)
    assert all(name.startswith("e1_") for name in numbers)
