"""E2's tables and effects against synthetic runs with known steps and accuracies."""

import numpy as np
import pandas as pd
import pytest

from analysis.synthetic import EARLY, STEPS, comparison, params
from study.analysis import e2, e2_contrasts, mlp
from study.analysis.claims import CLAIMS

PARAMS = params()
SPEED = {"kaiming": 1, "xavier_sqrt2": 1, "xavier": 2}


def steps(optimizer, depth, scheme, lr, seed):
    """Xavier takes twice as long; lr .01 is too slow, lr 1 diverges for Xavier."""
    if lr == 0.01 or (lr == 1.0 and scheme == "xavier"):
        return STEPS
    return 3 + SPEED[scheme] * (6 + seed % 3) - EARLY


def accuracy(optimizer, depth, scheme, lr, seed):
    best = {"kaiming": 1.0, "xavier_sqrt2": 1.0, "xavier": 0.1}[scheme]
    return 0.9 - 0.05 * abs(np.log10(lr / best)) + 0.002 * seed - 0.01 * (scheme == "xavier") * (seed % 2)


MODELS, CURVES = comparison(steps, accuracy)
OUTCOMES = mlp.outcomes(MODELS, CURVES, PARAMS)
MOMENTS = [(run, 0, layer, "second_moment", 2.0**layer) for run in MODELS["run"] for layer in (1, 3)]
LAYERS = pd.DataFrame(MOMENTS, columns=["run", "step", "layer", "stat", "value"])


def pick(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def test_best_lr_is_the_one_of_least_validation_loss():
    table = e2.tables(OUTCOMES, CURVES, LAYERS, PARAMS)["e2_lr"]
    best = table[table["best"]].set_index(["depth", "scheme"])["lr"]
    assert best[3, "kaiming"] == best[3, "xavier_sqrt2"] == 1.0 and best[3, "xavier"] == 0.1
    assert set(table.loc[table["best"] & table["at_grid_end"], "scheme"]) == {"kaiming", "xavier_sqrt2"}
    assert (table["shared"] == (table["lr"] == 0.1)).all()


def test_a_diverged_seed_counts_against_its_lr():
    worse = CURVES.copy()
    lost = MODELS[(MODELS["scheme"] == "kaiming") & (MODELS["lr"] == 1.0) & (MODELS["seed"] == 0)]["run"]
    worse.loc[worse["run"].isin(lost) & (worse["stat"] == "val_loss"), "value"] = np.nan
    chosen = e2_contrasts.selected(mlp.outcomes(MODELS, worse, PARAMS))
    assert set(pick(chosen, scheme="kaiming", lr_kind="best")["lr"]) == {0.1}


def test_steps_to_threshold_and_censoring():
    table = e2.threshold(e2_contrasts.selected(OUTCOMES), PARAMS)
    row = pick(table, depth=3, scheme="xavier", lr_kind="best").iloc[0]
    expected = np.mean([3 + 2 * (6 + seed % 3) for seed in range(10)])
    assert row["steps"] == pytest.approx(expected) and row["censored"] == 0 and row["n"] == 10
    assert row["lo"] < expected < row["hi"]


def test_ln_steps_ratio_is_that_of_the_means():
    """At the shared lr; at the best one, the mean of that over resamples of the seeds."""
    table = pick(e2.gap(OUTCOMES, PARAMS), measure="ln_steps_ratio", depth=3)
    gap, best = (pick(table, lr_kind=kind).iloc[0] for kind in ("shared", "best"))
    fast, slow = (np.mean([3 + speed * (6 + seed % 3) for seed in range(10)]) for speed in (1, 2))
    assert gap["effect"] == pytest.approx(np.log(fast / slow))
    assert gap["lo"] < gap["effect"] < gap["hi"] < 0 and not gap["excluded"] and gap["p"] < 1e-6
    assert best["effect"] == pytest.approx(gap["effect"], abs=1e-3) and best["p"] < 1e-6
    assert (best["lo"], best["hi"]) == pytest.approx((gap["lo"], gap["hi"]), abs=5e-3)


def test_the_choice_of_the_lr_widens_the_interval_at_the_best_one():
    """Xavier's lrs .1 and 1 validate alike within noise, and take 20 and 5 steps."""
    def either(optimizer, depth, scheme, lr, seed):
        return 10 if scheme == "kaiming" else {0.01: 36, 0.1: 20 + seed % 2, 1.0: 5 + seed % 2}[lr]

    def alike(optimizer, depth, scheme, lr, seed):
        return 0.5 if lr == 0.01 else 0.7 + 0.05 * int(lr) * (-1) ** seed
    runs = mlp.outcomes(*comparison(either, alike, depths=(3,)), PARAMS)
    best = pick(e2.gap(runs, PARAMS), measure="ln_steps_ratio", lr_kind="best").iloc[0]
    assert best["lo"] < np.log(10 / 18) and best["hi"] > np.log(10 / 8)


def test_other_measures_match_plain_computations():
    gap = e2.gap(OUTCOMES, PARAMS)
    assert pick(gap, measure="share_lr_trains")["effect"].to_list() == pytest.approx([1 / 3, 1 / 3])
    assert set(pick(gap, measure="share_lr_trains")["lr_kind"]) == {"grid"}
    a, b = ([accuracy("sgd", 3, scheme, lr, seed) for seed in range(10)]
            for scheme, lr in (("kaiming", 1.0), ("xavier", 0.1)))
    measured = pick(gap, depth=3, lr_kind="best").set_index("measure")["effect"]
    assert measured["test_accuracy"] == pytest.approx(np.mean(a) - np.mean(b), abs=1e-3)
    spreads = [np.mean(np.abs(values - np.median(values))) for values in (a, b)]
    assert measured["spread"] == pytest.approx(spreads[0] - spreads[1], abs=1e-3)


def test_cells_where_both_are_censored_are_left_out_and_named():
    def stuck(optimizer, depth, scheme, lr, seed):
        return STEPS if depth == 10 and seed > 3 else 5 * SPEED[scheme] + seed % 2
    models, curves = comparison(stuck, accuracy, depths=(3, 5, 10))
    runs = mlp.outcomes(models, curves, PARAMS)
    gap = pick(e2.gap(runs, PARAMS), measure="ln_steps_ratio", lr_kind="best")
    assert list(gap["excluded"]) == [False, False, True] and list(gap["censored"]) == [0, 0, 6]
    assert list(gap["censored_kaiming"]) == list(gap["censored_xavier"]) == [0, 0, 6]
    effects = e2.claim_effects(runs, PARAMS)
    primary = pick(effects, claim="e2_kaiming_faster", primary=True)
    assert set(primary["note"].str.split("; ").str[-1]) == {"digits/sgd/L10: both censored"}
    kept = gap[~gap["excluded"]]["effect"].mean()
    assert primary["effect"].mean() == pytest.approx(kept)
    slopes = pick(effects, claim="e2_gap_grows_with_depth", primary=True)
    assert set(slopes["note"]) == {"digits/sgd/L10: both censored"}


def test_the_fastest_lr_is_chosen_on_steps():
    """Validation prefers lr .01, where Kaiming takes 20 steps and Xavier 30; at lr 1 they take 8 and 10."""
    def quick(optimizer, depth, scheme, lr, seed):
        return {0.01: 20, 0.1: 36, 1.0: 8}[lr] * (1 if scheme == "kaiming" else 1.25) - EARLY
    runs = mlp.outcomes(*comparison(quick, lambda *cell: 0.9 - 0.1 * cell[3], depths=(3,)), PARAMS)
    gap = pick(e2.gap(runs, PARAMS), measure="ln_steps_ratio").set_index("lr_kind")["effect"]
    assert set(e2_contrasts.at_own_lr(runs, "fastest")["lr"]) == {1.0}
    assert set(e2_contrasts.at_own_lr(runs, "best")["lr"]) == {0.01}
    assert gap["best"] == pytest.approx(np.log(20 / 25)) and gap["fastest"] == pytest.approx(np.log(8 / 10))
    rows = e2.claim_effects(runs, PARAMS)
    rows = pick(rows, claim="e2_kaiming_faster", cell="sgd/at the fastest lr")
    assert len(rows) == 10 and not rows["primary"].any()
    assert rows["effect"].mean() == pytest.approx(gap["fastest"])


def test_the_gap_over_depth_where_all_get_there_and_the_cells_that_only_bound_it():
    """The lead grows by ln 2 from depth 3 to 10, and by ln 8 to 20, where Xavier is cut off before."""
    def deeper(optimizer, depth, scheme, lr, seed):
        return 5 * {3: 1, 10: 2, 20: 16}[depth] - EARLY if scheme == "xavier" else 5 - EARLY
    rows = e2.claim_effects(mlp.outcomes(*comparison(deeper, accuracy, depths=(3, 10, 20)), PARAMS), PARAMS)
    rows = pick(rows, claim="e2_gap_grows_with_depth")
    assert pick(rows, cell="sgd/uncensored")["effect"].to_numpy() == pytest.approx(-np.log(2) / 7)
    primary = pick(rows, primary=True)
    assert set(primary["note"]) == {"xavier alone censored, so the lead is larger (seeds): digits/sgd/L20 10"}
    assert primary["effect"].mean() > np.polyfit([3, 10, 20], -np.log([1, 2, 16]), 1)[0]


def test_best_lrs_at_the_grid_s_end_are_in_the_note():
    note = pick(e2.claim_effects(OUTCOMES, PARAMS), claim="e2_kaiming_faster", primary=True)["note"]
    assert set(note) == {"best lr at the grid's end in cells of kaiming 2 of 2, xavier 0 of 2"}
    assert e2.numbers(OUTCOMES, PARAMS)["e2_best_lr_at_grid_end"] == pytest.approx(2 / 3)


def test_gap_s_slope_over_depth():
    def deeper(optimizer, depth, scheme, lr, seed):
        return 4 + (depth if scheme == "xavier" else 0)
    models, curves = comparison(deeper, accuracy, depths=(3, 10, 20))
    effects = e2.claim_effects(mlp.outcomes(models, curves, PARAMS), PARAMS)
    slope = pick(effects, claim="e2_gap_grows_with_depth", primary=True)["effect"]
    expected = np.polyfit([3, 10, 20], [np.log(7 / (7 + depth)) for depth in (3, 10, 20)], 1)[0]
    assert slope.to_numpy() == pytest.approx(np.full(10, expected))


def test_claim_effects_are_one_row_per_cell_and_seed_and_primary_cells_are_few():
    effects = e2.claim_effects(OUTCOMES, PARAMS)
    assert not effects.duplicated(["claim", "cell", "seed"]).any()
    assert pick(effects, primary=True).groupby("claim")["cell"].nunique().max() <= PARAMS.e2.max_cells
    cells = pick(effects, claim="e2_kaiming_faster", primary=False)["cell"]
    explodes = effects[effects["cell"] == "digits/sgd/L3/explodes"]
    assert len(explodes) == 10 and (explodes["effect"] == 0).all()
    lost = OUTCOMES["regime"].mask((OUTCOMES["scheme"] == "xavier") & (OUTCOMES["lr"] == 1), "exploding")
    assert e2.exploding(OUTCOMES.assign(regime=lost))["effect"].to_numpy() == pytest.approx(-1 / 3)
    assert {"digits/sgd/L3/best", "digits/sgd/L3/shared"} <= set(cells)


def test_asides_are_of_cells_of_one_kind():
    """A note's mean over cells must not count a cell, and again the mean that it is part of."""
    runs = mlp.outcomes(*comparison(steps, accuracy, datasets=("wine", "digits")), PARAMS)
    effects = e2.claim_effects(runs, PARAMS)
    for name in ("e2_kaiming_faster", "e2_kaiming_more_stable", "e2_gap_grows_with_depth"):
        for ending in CLAIMS[name].aside:
            cells = pick(effects, claim=name)["cell"].drop_duplicates()
            assert cells[cells.str.endswith(ending)].str.count("/").nunique() == 1, ending


def test_without_xavier_there_is_nothing_to_claim():
    runs = OUTCOMES[OUTCOMES["scheme"] != "xavier"]
    assert e2.claim_effects(runs, PARAMS).empty
    assert e2.tables(runs, CURVES, LAYERS, PARAMS)["e2_gap"].empty


def test_control_s_gap_is_zero_and_a_difference_shows():
    assert e2.numbers(OUTCOMES, PARAMS)["e2_control_largest_gap"] == 0
    run = pick(OUTCOMES, scheme="xavier_sqrt2", lr=0.1, depth=3, seed=2)["run"].iloc[0]
    off = OUTCOMES.assign(test_accuracy=OUTCOMES["test_accuracy"] + 0.25 * (OUTCOMES["run"] == run))
    assert e2.numbers(off, PARAMS)["e2_control_largest_gap"] == pytest.approx(0.25)


def test_curves_are_means_over_seeds_at_the_chosen_lrs():
    table = e2.tables(OUTCOMES, CURVES, LAYERS, PARAMS)["e2_curves"]
    ends = pick(table, depth=3, scheme="kaiming", lr_kind="best", stat="train_loss")
    assert list(ends["step"]) == list(range(4, STEPS, 5)) and (ends["lr"] == 1.0).all()
    assert ends["mean"].iloc[-1] == pytest.approx(0.1 * np.log(10))
    final = pick(table, depth=3, scheme="xavier", lr_kind="best", stat="val_accuracy", step=STEPS).iloc[0]
    accuracies = [accuracy("sgd", 3, "xavier", 0.1, seed) for seed in range(10)]
    assert final["mean"] == pytest.approx(np.mean(accuracies))


def test_loss_means_take_diverged_seeds_at_the_cap():
    worse = CURVES.copy()
    lost = worse["run"].isin(MODELS[MODELS["seed"] == 0]["run"])
    worse.loc[lost & (worse["stat"] == "val_loss"), "value"] = np.inf
    table = e2.tables(mlp.outcomes(MODELS, worse, PARAMS), worse, LAYERS, PARAMS)["e2_curves"]
    first = pick(table, scheme="kaiming", depth=3, lr_kind="shared", stat="val_loss", step=0).iloc[0]
    assert first["mean"] == pytest.approx((9 * np.log(10) + 2 * np.log(10)) / 10) and np.isfinite(first["hi"])


def test_metrics_are_numbers_with_unique_names():
    numbers = e2.numbers(OUTCOMES, PARAMS)
    assert numbers["e2_ln_steps_ratio_sgd"] < -0.4 and numbers["e2_cells_left_out"] == 0
    assert all(name.startswith("e2_") and isinstance(value, int | float) for name, value in numbers.items())


def test_nothing_depends_on_the_order_of_rows():
    models, curves = (frame.sample(frac=1, random_state=1) for frame in (MODELS, CURVES))
    ordered = e2.tables(OUTCOMES, CURVES, LAYERS, PARAMS)
    for name, table in e2.tables(mlp.outcomes(models, curves, PARAMS), curves, LAYERS, PARAMS).items():
        pd.testing.assert_frame_equal(table, ordered[name])


def test_second_moments_of_each_scheme_beside_theory_s():
    table = e2.tables(OUTCOMES, CURVES, LAYERS, PARAMS)["e2_layers"]
    assert np.allclose(table["value"], 2.0 ** table["layer"]) and (table["n"] == 10).all()
    theory = pick(table, depth=3, layer=3).set_index("scheme")["predicted"]
    assert theory["kaiming"] == pytest.approx(2.0) and theory["xavier"] == pytest.approx(
        64 * 2 / 128 * (32 * 2 / 128) * (32 * 2 / 74))
