"""Figures show the tables: the drawn lines are the tables' numbers, and bytes depend on the tables alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from plotting import synthetic
from study.plotting import e1, e1_laws, e2, e3, e3_injected, style
from study.plotting.figures import FIGURES, draw_all

SETTINGS = synthetic.settings()
EXPECTED = {"e1_loss_wine_sgd", "e1_loss_wine_adamw", "e1_layers_wine", "e1_collapse_wine", "e2_layers_wine",
            "e1_overlap", "e1_scaling", "e2_curves_wine", "e2_threshold_wine", "e2_gap_wine",
            "e2_learning_rates_wine", "e3_qkv_std",
            "e3_expansion", "e3_state", "e3_forecast", "e3_histogram", "e3_ratio", "e3_loss", "e3_residual",
            "e3_mechanism", "e3_causes", "e3_bands"}


@pytest.fixture(scope="module")
def tables():
    return synthetic.small()


@pytest.fixture(scope="module")
def drawn(tables, tmp_path_factory):
    return draw_all(tables, tmp_path_factory.mktemp("figures"), SETTINGS)


def drawn_by(draw, tables):
    with style.look():
        return dict(draw(tables, SETTINGS))


def curves(axes, colour):
    """x and y of each solid line of one colour."""
    return [line.get_xydata() for line in axes.get_lines()
            if to_hex(line.get_color()) == to_hex(colour) and line.get_linestyle() == "-"]


def test_every_table_has_its_figures(drawn):
    assert {path.stem for path in drawn} == EXPECTED
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width == round(style.WIDTH * SETTINGS.plot.dpi)
            assert len(picture.getcolors()) > 5, f"{path.stem} is blank"


def test_the_same_tables_give_the_same_bytes(tables, drawn, tmp_path):
    part = {name: tables[name] for name in ("e1_layers", "e3_loss")}
    again = draw_all(part, tmp_path, SETTINGS)
    before = {path.name: path.read_bytes() for path in drawn}
    assert len(again) == 2
    assert all(path.read_bytes() == before[path.name] for path in again)


def test_what_was_not_run_is_left_out(tables, tmp_path):
    some = {"e3_loss": tables["e3_loss"], "e3_std": tables["e3_std"].head(0)}
    assert [path.stem for path in draw_all(some, tmp_path, SETTINGS)] == ["e3_loss"]


def test_one_seed_has_means_and_no_band(tmp_path):
    tables = {name: synthetic.small(n=1)[name].copy() for name in ("e1_edges", "e2_gap", "e3_std")}
    for table in tables.values():
        table[["lo", "hi"]] = np.nan
    assert draw_all(tables, tmp_path, SETTINGS)
    figure = drawn_by(e3.qkv_std, tables)["e3_qkv_std"]
    assert "one seed: no interval" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_loss_figure_shows_loss_regimes_and_critical_std(tables):
    figure = drawn_by(e1.loss_and_accuracy, tables)["e1_loss_wine_sgd"]
    loss, rows = figure.axes[0], tables["e1_loss"].query("optimizer == 'sgd' and depth == 2")
    (measured,) = curves(loss, style.MEASURED)
    np.testing.assert_allclose(measured, rows[["std", "loss"]].to_numpy())
    assert any(np.allclose(line.get_xdata(), np.sqrt(2 / 64)) for line in loss.get_lines())
    shades = [to_hex(patch.get_facecolor()) for patch in loss.patches]
    assert shades == [to_hex(style.REGIMES[name]) for name in ("vanishing", "trains", "exploding")]


def test_std_figure_shows_each_layer_and_the_null_law(tables):
    axes = drawn_by(e3.qkv_std, tables)["e3_qkv_std"].axes[2]
    rows = tables["e3_std"].query("role == 'v'")
    measured = [line.get_ydata() for line in axes.get_lines() if line.get_linestyle() == "-"]
    for layer in range(1, 13):
        values = rows[rows.layer == layer].value.to_numpy()
        assert sum(np.array_equal(values, line) for line in measured) == 1, layer
    (law,) = [line for line in axes.get_lines() if line.get_linestyle() != "-"]
    np.testing.assert_array_equal(law.get_ydata(), rows[rows.layer == 1].predicted)


def test_laws_that_differ_each_get_a_line(tables):
    rows = tables["e3_std"].query("role == 'q'")
    assert e3.distinct_laws(rows) == [1]
    assert e3.distinct_laws(rows.assign(predicted=rows.predicted / np.sqrt(rows.layer))) == list(range(1, 13))


def test_arms_stand_in_rows_of_their_own():
    tables = synthetic.small(arms=("std_005", "gpt2"))
    figures = drawn_by(e3.qkv_std, tables)
    assert [axes.get_title() for axes in figures["e3_qkv_std"].axes[:3]] == ["Q, arm gpt2", "K, arm gpt2",
                                                                           "V, arm gpt2"]
    assert len(figures["e3_qkv_std_arms"].axes) == 2 * 3 + 1


def test_the_collapse_is_drawn_in_units_of_the_centre(tables):
    rows = tables["e1_edges"]
    shown = e1.natural(rows)
    np.testing.assert_allclose(shown["std"] * rows.centre, rows["std"])
    assert set(shown.centre) == {1.0}
    np.testing.assert_allclose(e1.critical(rows)["std"], rows["std"] * np.sqrt(rows.width / 2))
    without = rows.drop(columns="predicted")  # theory may have no word on the edges
    assert "predicted" not in e1.natural(without)
    assert drawn_by(e1.collapse, {"e1_edges": without})


def marks(axes):
    """What is drawn as (marker, x, y) of every single point."""
    return [(line.get_marker(), *line.get_xydata()[0]) for line in axes.get_lines()
            if len(line.get_xydata()) == 1]


def test_edges_beyond_the_grid_are_marked_and_partly_censored_ones_otherwise():
    rows = synthetic.tables(datasets=("digits",))["e1_edges"]
    rows = rows[(rows.optimizer == "sgd") & (rows.depth == 4)].assign(censored=0)
    rows.loc[(rows.width == 64) & (rows.edge == "upper"), "censored"] = 3  # of 5
    rows.loc[(rows.width == 128) & (rows.edge == "lower"), "censored"] = 2
    figure = drawn_by(e1.collapse, {"e1_edges": rows})["e1_collapse_digits"]
    lines = {line.get_marker(): line for line in figure.axes[0].get_lines()}
    assert (lines["^"].get_fillstyle(), to_hex(lines["^"].get_markerfacecolor())) == ("full", "#ffffff")
    assert lines["v"].get_fillstyle() == "left"
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"edge beyond the grid in most seeds", "edge beyond the grid in some seeds"} <= texts


def gaps(**changes):
    row = {"dataset": "wine", "optimizer": "sgd", "depth": 10, "lr_kind": "shared",
           "measure": "ln_steps_ratio", "effect": -1.0, "lo": -1.5, "hi": -0.5, "n": 10,
           "censored_kaiming": 0, "censored_xavier": 0, "censored": 0,
           "excluded": False, "predicted": np.nan}
    return pd.DataFrame([row | change for change in changes.values()] or [row])


@pytest.mark.parametrize(("change", "bound", "marker"), [
    ({}, e2.REACHED, "o"), ({"censored_xavier": 3}, e2.AT_MOST, "v"),
    ({"censored_kaiming": 3}, e2.AT_LEAST, "^"),
    ({"censored_xavier": 3, "measure": "test_accuracy"}, e2.REACHED, "o"),
    ({"censored_xavier": 9, "censored_kaiming": 8, "excluded": True}, e2.LEFT_OUT, "o")])
def test_a_gap_of_censored_seeds_is_marked_as_a_bound(change, bound, marker):
    rows = e2.bounded(gaps(only=change))
    assert list(rows.bound) == [bound]
    figure = drawn_by(e2.gap, {"e2_gap": gaps(only=change)})["e2_gap_wine"]
    row = 0 if rows.measure.iloc[0] == "ln_steps_ratio" else 2
    (drawn,) = [mark for mark in marks(figure.axes[row]) if mark[0] in "ov^"]
    assert drawn[0] == marker and drawn[2] == -1.0


def test_a_prediction_far_below_is_a_number_at_the_foot():
    tables = {"e2_gap": gaps(near={"predicted": -1.2}, far={"depth": 20, "predicted": -12.6})}
    axes = drawn_by(e2.gap, tables)["e2_gap_wine"].axes[0]
    assert [text.get_text() for text in axes.texts] == ["↓ −12.6"]
    assert axes.get_ylim()[0] > -2.5, "the axis belongs to what was measured"


def test_scaling_shows_widths_slopes_and_the_fitted_exponents():
    tables = synthetic.tables(datasets=("digits",))
    axes = drawn_by(e1_laws.scaling, tables)["e1_scaling"].axes
    assert [text.get_text() for text in axes[0].texts] == ["−1.20"] * 3
    rows = tables["e1_slopes"].query("optimizer == 'sgd' and edge == 'lower'")
    (slopes,) = [line for line in axes[2].get_lines() if line.get_marker() == "o"
                 and to_hex(line.get_color()) == to_hex(e1_laws.EDGES["lower"])]
    np.testing.assert_array_equal(slopes.get_ydata(), rows.slope)


def test_every_arm_role_and_layer_has_its_tile():
    tables = synthetic.small(arms=("gpt2", "wd_0"))
    rows = tables["e3_ratio"]
    figure = drawn_by(e3_injected.ratio, tables)["e3_ratio_arms"]
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * 6
    tiles = panels[2].images[0].get_array()  # R of V
    last = rows[(rows.step == rows.step.max()) & (rows.role == "v")]
    for (arm, layer), value in last.set_index(["arm", "layer"]).R.items():
        assert tiles[["gpt2", "wd_0"].index(arm), layer - 1] == value
    within, shrinks = panels[2].get_lines()
    assert len(shrinks.get_xydata()) == 2, "V of layer 1 in both arms"
    assert len(within.get_xydata()) == 2 * int(last[last.arm == "gpt2"].R_lo.ge(0.8).sum())


def test_the_last_validation_loss_of_each_arm_has_its_dot():
    tables = synthetic.small(arms=("gpt2", "wd_0"))
    axes = drawn_by(e3.losses, tables)["e3_loss"].axes[2]
    ends = tables["e3_loss"].query("stat == 'val_loss' and step == 500")
    assert [mark[1:] for mark in marks(axes)] == [(value, place) for place, value in enumerate(ends["mean"])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gpt2", "wd_0"]


def test_states_on_which_seeds_differ_are_marked(tables):
    figure = drawn_by(FIGURES["e3_state"], tables)["e3_state"]
    assert [mark[1] for mark in marks(figure.axes[0])] == [3] * 6, "layer 4 of each role"
    assert "over 5 seeds" in figure.get_suptitle()


@pytest.mark.parametrize("factor, count", [(1, 3), (1000, 2)])
def test_ticks_of_the_bands_do_not_meet(factor, count):
    tables = synthetic.small()
    rows = tables["e3_bands"]
    wide = rows.assign(spread_hi=rows.spread_hi * np.where(rows.role == "q", factor, 1))
    figure = drawn_by(FIGURES["e3_bands"], {"e3_bands": wide})["e3_bands"]
    figure.draw_without_rendering()
    low, high = figure.axes[1].get_xlim()
    ticks = [tick for tick in figure.axes[1].get_xticks() if low <= tick <= high]
    steps = np.diff(np.log10(ticks)) / np.log10(high / low)
    assert len(ticks) >= count and steps.min() > 0.08


def test_bands_are_drawn_against_the_claims_limits():
    tables = synthetic.small()
    axes = drawn_by(FIGURES["e3_bands"], tables)["e3_bands"].axes
    rules = SETTINGS.analyze.e3
    for panel, limit in zip(axes, (rules.narrow_slope, rules.narrow_spread), strict=True):
        assert any(np.allclose(line.get_xdata(), limit) for line in panel.get_lines())


def test_the_claims_arm_comes_first():
    tables = synthetic.small(arms=("constant_lr", "gpt2"))
    assert list(style.main_first(tables, SETTINGS)["e3_loss"].arm.unique()) == ["gpt2", "constant_lr"]
    assert e3.main_arm(tables["e3_std"], SETTINGS)[0] == "gpt2"
    assert e3.main_arm(tables["e3_std"].query("arm != 'gpt2'"), SETTINGS)[0] == "constant_lr"


def test_censored_dots_are_hollow(tables):
    rows = tables["e2_threshold"].query("optimizer == 'sgd' and depth == 20").assign(optimizer="sgd")
    hollow = rows.censored.gt(0).sum()
    assert 0 < hollow < len(rows)
    figure = drawn_by(FIGURES["e2_threshold"], {"e2_threshold": rows})["e2_threshold_wine"]
    faces = [to_hex(line.get_markerfacecolor()) for line in figure.axes[0].get_lines()]
    assert faces.count("#ffffff") == hollow


@pytest.mark.parametrize(("count", "expected"), [(1, [0.1]), (3, [0.02, 0.1, 0.5]), (9, [0.02, 0.1, 0.5])])
def test_stds_around_the_critical_one(count, expected):
    assert e1.around(np.array([0.5, 0.0001, 0.1, 0.02, 9.0]), 0.1, count) == pytest.approx(expected)


def test_spans_meet_at_geometric_midpoints():
    found = list(style.spans([0.01, 0.1, 1.0, 10.0], ["a", "a", "b", "b"]))
    assert found == [(0.01, pytest.approx(0.1**0.5), "a"), (pytest.approx(0.1**0.5), 10.0, "b")]


@pytest.mark.parametrize(("n", "text"), [([5, 5], "band: 95% interval over 5 seeds"),
                                         ([3, 10], "band: 95% interval over 3–10 seeds"),
                                         ([1, 1], "one seed: no interval")])
def test_a_band_says_over_how_many_seeds(n, text):
    assert style.interval_label(n, SETTINGS) == text


def test_an_interval_says_its_confidence():
    changed = replace(SETTINGS, analyze=SETTINGS.analyze.model_copy(update={"confidence": 0.9}))
    assert style.interval_label([3], changed, "bar") == "bar: 90% interval over 3 seeds"


def test_colours_are_distinct_until_the_palette_ends():
    names = ["x", "kaiming", "y", *(f"z{i}" for i in range(5))]
    colours = style.categorical(style.SCHEMES, names)
    assert colours["kaiming"] == style.SCHEMES["kaiming"]
    assert len(set(colours.values())) == len(names)
