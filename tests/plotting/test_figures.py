"""Figures show the tables: the drawn lines are the tables' numbers, and bytes depend on the tables alone."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from plotting import synthetic
from variance_dynamics.plotting import e1, e3, style
from variance_dynamics.plotting.figures import FIGURES, draw_all
from variance_dynamics.plotting.params import PlotParams

PLOT = PlotParams(dpi=60, representative_std_count=3)
EXPECTED = {"e1_loss_wine_sgd", "e1_loss_wine_adamw", "e1_layers_wine", "e1_collapse_wine", "e2_layers_wine",
            "e2_curves_wine", "e2_threshold_wine", "e2_gap_wine", "e2_learning_rates_wine", "e3_qkv_std",
            "e3_expansion", "e3_state", "e3_forecast", "e3_histogram", "e3_ratio", "e3_loss", "e3_residual"}


@pytest.fixture(scope="module")
def tables():
    return synthetic.small()


@pytest.fixture(scope="module")
def drawn(tables, tmp_path_factory):
    return draw_all(tables, tmp_path_factory.mktemp("figures"), PLOT)


def drawn_by(draw, tables):
    with style.look():
        return dict(draw(tables, PLOT))


def curves(axes, colour):
    """x and y of each solid line of one colour."""
    return [line.get_xydata() for line in axes.get_lines()
            if to_hex(line.get_color()) == to_hex(colour) and line.get_linestyle() == "-"]


def test_every_table_has_its_figures(drawn):
    assert {path.stem for path in drawn} == EXPECTED
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width == round(style.WIDTH * PLOT.dpi)
            assert len(picture.getcolors()) > 5, f"{path.stem} is blank"


def test_the_same_tables_give_the_same_bytes(tables, drawn, tmp_path):
    part = {name: tables[name] for name in ("e1_layers", "e3_loss")}
    again = draw_all(part, tmp_path, PLOT)
    before = {path.name: path.read_bytes() for path in drawn}
    assert len(again) == 2
    assert all(path.read_bytes() == before[path.name] for path in again)


def test_what_was_not_run_is_left_out(tables, tmp_path):
    some = {"e3_loss": tables["e3_loss"], "e3_std": tables["e3_std"].head(0)}
    assert [path.stem for path in draw_all(some, tmp_path, PLOT)] == ["e3_loss"]


def test_one_seed_has_means_and_no_band(tmp_path):
    tables = {name: synthetic.small(n=1)[name].copy() for name in ("e1_edges", "e2_gap", "e3_std")}
    for table in tables.values():
        table[["lo", "hi"]] = np.nan
    assert draw_all(tables, tmp_path, PLOT)
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
    without = rows.drop(columns="predicted")  # theory may have no word on the edges
    assert "predicted" not in e1.natural(without)
    assert drawn_by(e1.collapse, {"e1_edges": without})


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
    assert style.interval_label(n) == text


def test_colours_are_distinct_until_the_palette_ends():
    names = ["x", "kaiming", "y", *(f"z{i}" for i in range(5))]
    colours = style.categorical(style.SCHEMES, names)
    assert colours["kaiming"] == style.SCHEMES["kaiming"]
    assert len(set(colours.values())) == len(names)
