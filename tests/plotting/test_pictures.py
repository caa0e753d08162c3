"""PNGs show the tables: the charts' rows are the tables' numbers, and bytes depend on the tables alone."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imports import ROOT
from plotting import synthetic
from study.plotting import e1, e2, e3, grammar
from study.plotting.charts import CHARTS, charts, main_first
from study.plotting.picture import draw_all, pictures, png, reduced

SETTINGS = synthetic.settings()
EXPECTED = {"e1_loss_wine", "e1_layers_wine", "e1_edges_wine", "e1_overlap", "e1_widths", "e2_layers_wine",
            "e2_curves_wine", "e2_threshold_wine", "e2_lr_wine", "e2_gap", "e3_std", "e3_ratio", "e3_final",
            "e3_mechanism", "e3_expansion", "e3_bands", "e3_state", "e3_carried_on", "e3_loss", "e3_acts",
            "e3_hist"}
BARE = {"config": {"font": "DejaVu Sans"}, "title": {"text": "√2 × ln σ"}, "width": 200, "height": 100,
        "mark": "point", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a", "type": "nominal"}}}


@pytest.fixture(scope="module")
def tables():
    return synthetic.small()


@pytest.fixture(scope="module")
def drawn(tables, tmp_path_factory):
    return draw_all(tables, tmp_path_factory.mktemp("figures"), SETTINGS)


def spec_of(name, tables):
    """The specification of the chart's first picture."""
    return next(pictures(name, CHARTS[name](tables[name], SETTINGS)))[1]


def marks(spec, kind):
    """Layers of one kind of mark, in every panel."""
    parts = spec.get("vconcat", [spec])
    layers = [layer for part in parts for layer in part.get("spec", part)["layer"]]
    return [layer for layer in layers if layer["mark"]["type"] == kind]


def test_every_table_has_its_picture_and_the_report_alone_has_the_rest(drawn, tables):
    assert {path.stem for path in drawn} == EXPECTED
    in_dvc_plots = tuple(path.stem for path in (ROOT / ".dvc" / "plots").iterdir())
    beside = {path.stem for path in drawn if path.parent.name == "more"}
    assert beside == {stem for stem in EXPECTED if not stem.startswith(in_dvc_plots)}
    alone = {name for name in CHARTS if not any(stem.startswith(name) for stem in EXPECTED)}
    assert alone == {"e1_slopes", "e2_contrasts", "e3_causes", "e3_convergence"}  # the last needs two arms
    for path in drawn:
        with Image.open(path) as picture:
            assert abs(picture.width - 860 * SETTINGS.plot.dpi / 96) < 40, path.stem
            assert len(picture.getcolors()) > 5, f"{path.stem} is blank"


def test_the_same_tables_give_the_same_bytes(tables, drawn, tmp_path):
    part = {name: tables[name] for name in ("e1_layers", "e3_loss")}
    again = draw_all(part, tmp_path, SETTINGS)
    before = {path.name: path.read_bytes() for path in drawn}
    assert len(again) == 2
    assert all(path.read_bytes() == before[path.name] for path in again)


def test_another_process_draws_the_same_bytes():
    """What one process has drawn before does not change what it draws next."""
    code = ("import json, sys; from study.plotting.picture import png; "
            "sys.stdout.buffer.write(png(json.load(sys.stdin), 96))")
    alone = subprocess.run([sys.executable, "-c", code], input=json.dumps(BARE).encode(), capture_output=True,
                           check=True).stdout
    png(BARE | {"mark": "bar"}, 96)
    assert png(BARE, 96) == alone


def test_what_was_not_run_is_left_out(tables, tmp_path):
    some = {"e3_loss": tables["e3_loss"], "e3_std": tables["e3_std"].head(0)}
    assert [path.stem for path in draw_all(some, tmp_path, SETTINGS)] == ["e3_loss"]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_drawn_with_one_seed_and_two_arms(name):
    rows = synthetic.small(n=1, arms=("std_005", "gpt2"))[name]
    ends = [column for column in rows if column in ("lo", "hi") or str(column).endswith(("_lo", "_hi"))]
    rows = rows.assign(**dict.fromkeys(ends, np.nan))
    for _, chart in charts({name: rows}, SETTINGS).items():
        assert "One seed: no interval" in chart.caption or name == "e3_state"
        for stem, spec in pictures(name, chart):
            assert Image.open(io.BytesIO(png(spec, 50))).width > 300, stem


def test_the_loss_is_that_of_the_table_with_the_critical_std(tables):
    spec = spec_of("e1_loss", tables)
    shown = pd.DataFrame(spec["data"]["values"]).query("optimizer == 'SGD' and depth == 2")
    rows = tables["e1_loss"].query("optimizer == 'sgd' and depth == 2")
    np.testing.assert_allclose(shown[["std", "value"]], rows[["std", "loss"]], rtol=5e-5)
    np.testing.assert_allclose(shown.critical, np.sqrt(2 / 64), rtol=5e-5)
    assert [part["title"]["text"] for part in spec["vconcat"]] == ["SGD", "AdamW"]


def test_the_std_of_each_layer_and_the_law_are_those_of_the_table(tables):
    spec = spec_of("e3_std", tables)
    shown = pd.DataFrame(spec["data"]["values"])
    assert list(shown.role.unique()) == ["Q", "K", "V"] == spec["facet"]["sort"][:3]
    table = tables["e3_std"].assign(role=tables["e3_std"].role.map(grammar.word))
    both = shown.merge(table, on=["role", "layer", "step"], suffixes=("", "_table"))
    assert len(both) == len(shown) > 1000
    np.testing.assert_allclose(both.value, both.value_table, rtol=5e-5)
    law = both[both.law.notna()]
    np.testing.assert_allclose(law.law, law.predicted_table, rtol=5e-5)
    assert set(law.layer) == {1}, "one law for all layers has one line"


def test_the_key_figure_says_how_far_the_std_moved_and_what_the_law_said(tables):
    rows = tables["e3_std"].query("role == 'v' and (layer == 1 or layer == 12)")
    first, last = rows[rows.step == 0].set_index("layer"), rows[rows.step == 500].set_index("layer")
    low, high = (f"{last.value[layer] / first.value[layer] - 1:+.0%}".replace("-", "−") for layer in (1, 12))
    law = f"{last.predicted[1] / first.value[1] - 1:+.0%}"
    text = " ".join(spec_of("e3_std", tables)["title"]["subtitle"])
    assert f"V {low} to {high}" in text
    assert f"The law, known before training, said {law}." in text


def test_layers_one_and_two_are_told_apart_from_each_other_and_the_rest(tables):
    colours = e3.layer_colour(tables["e3_std"])["scale"]["range"]
    rgb = np.array([[int(colour[at:at + 2], 16) for at in (1, 3, 5)] for colour in colours])
    assert len(set(colours)) == 12
    for layer in (0, 1):
        others = np.delete(rgb, layer, axis=0)
        assert np.sqrt(((others - rgb[layer]) ** 2).sum(axis=1)).min() > 90


def test_laws_that_differ_each_get_a_line(tables):
    rows = tables["e3_std"].query("role == 'q'")
    assert e3.distinct_laws(rows) == [1]
    apart = rows.assign(predicted=rows.predicted / np.sqrt(rows.layer))
    assert e3.distinct_laws(apart) == list(range(1, 13))


def test_a_scheme_is_not_hidden_below_one_that_is_the_same():
    rows = synthetic.small()["e2_lr"]
    twins = pd.concat([rows[rows.scheme != "xavier_sqrt2"],
                       rows[rows.scheme == "kaiming"].assign(scheme="xavier_sqrt2")])
    chart = CHARTS["e2_lr"](twins, SETTINGS)
    assert e2.SAME in set(chart.rows.scheme)
    assert not {"kaiming", "xavier_sqrt2"} & set(chart.rows.scheme)
    differs = twins.assign(val_loss=twins.val_loss + 1e-6 * (twins.scheme == "kaiming"))
    assert {"kaiming", "xavier_sqrt2"} <= set(CHARTS["e2_lr"](differs, SETTINGS).rows.scheme)
    scale = e2.scheme_colour(chart.rows)["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))[e2.SAME] == grammar.NAMED["kaiming"]


def test_edges_are_drawn_in_units_of_the_centre(tables):
    rows = tables["e1_edges"]
    natural = e1.in_units(rows, rows.centre)
    np.testing.assert_allclose(natural["std"] * rows.centre, rows["std"])
    assert set(natural.centre) == {1.0}
    without = rows.drop(columns="predicted")  # theory may have no word on the edges
    shown = CHARTS["e1_edges"](without, SETTINGS).rows
    assert list(shown.show.unique()) == list(e1.AXES) and shown.predicted.isna().all()


def test_edges_beyond_the_grid_have_a_mark_of_their_own():
    rows = synthetic.tables(datasets=("digits",))["e1_edges"].assign(censored=0)
    rows.loc[rows.edge == "upper", "censored"] = 3
    shown = CHARTS["e1_edges"](rows, SETTINGS).rows
    assert set(shown.mark[shown.edge == "upper"]) == {"above the grid"}
    assert set(shown.mark[shown.edge == "lower"]) == {"lower"}


def gaps(**changes):
    row = {"source": "local", "dataset": "wine", "optimizer": "sgd", "depth": 10, "lr_kind": "shared",
           "measure": "ln_steps_ratio", "effect": -1.0, "lo": -1.5, "hi": -0.5, "n": 10,
           "censored_kaiming": 0, "censored_xavier": 0, "censored": 0,
           "excluded": False, "predicted": np.nan}
    return pd.DataFrame([row | change for change in changes.values()] or [row])


@pytest.mark.parametrize(("change", "bound"), [
    ({}, e2.REACHED), ({"censored_xavier": 3}, e2.AT_MOST), ({"censored_kaiming": 3}, e2.AT_LEAST),
    ({"censored_xavier": 3, "measure": "test_accuracy"}, e2.REACHED),
    ({"censored_xavier": 9, "censored_kaiming": 8, "excluded": True}, e2.LEFT_OUT)])
def test_a_gap_of_censored_seeds_is_marked_as_a_bound(change, bound):
    assert list(CHARTS["e2_gap"](gaps(only=change), SETTINGS).rows.bound) == [bound]


def test_a_prediction_far_below_is_a_number_at_the_foot():
    rows = gaps(near={"predicted": -1.2}, far={"depth": 20, "predicted": -12.6})
    shown = CHARTS["e2_gap"](rows, SETTINGS).rows.sort_values("depth")
    assert list(shown.label) == ["", "↓ −12.6"]
    assert shown.tick.iloc[0] == -1.2 and np.isnan(shown.tick.iloc[1])
    assert shown.foot.iloc[1] == pytest.approx(-1.5 - 0.15 * 1.5), "a little below all that was measured"


def test_causes_stay_within_what_a_correlation_can_be():
    rows = synthetic.small()["e3_causes"].assign(hi=1.7, lo=-1.3)
    shown = CHARTS["e3_causes"](rows, SETTINGS).rows
    assert set(shown.hi) == {1.0} and set(shown.lo) == {-1.0}


def test_bands_are_in_units_of_the_claims_limits():
    rows = synthetic.small()["e3_bands"]
    shown = CHARTS["e3_bands"](rows, SETTINGS).rows
    for name, limit in (("motion at the end", SETTINGS.analyze.e3.narrow_slope),
                        ("spread over layers", SETTINGS.analyze.e3.narrow_spread)):
        part = shown[shown.show == name]
        np.testing.assert_allclose(part.value * limit, part.raw)


def test_levels_are_drawn_once_and_not_for_each_row(tables):
    rules = [layer for layer in marks(spec_of("e3_ratio", tables), "rule")
             if "datum" in layer["encoding"]["y"]]
    assert len(rules) == 2 and all("aggregate" in rule["transform"][0] for rule in rules)


def test_the_claims_arm_comes_first():
    tables = synthetic.small(arms=("constant_lr", "gpt2"))
    assert list(main_first(tables, SETTINGS)["e3_loss"].arm.unique()) == ["gpt2", "constant_lr"]
    shown = charts(tables, SETTINGS)["e3_std"]
    assert "of arm gpt2" in shown.caption


@pytest.mark.parametrize(("count", "expected"), [(1, [0.1]), (3, [0.02, 0.1, 0.5]), (9, [0.02, 0.1, 0.5])])
def test_stds_around_the_critical_one(count, expected):
    assert e1.around(np.array([0.5, 0.0001, 0.1, 0.02, 9.0]), 0.1, count) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "text"), [([5, 5], "Band: 95% interval over 5 seeds"),
                                         ([3, 10], "Band: 95% interval over 3–10 seeds"),
                                         ([1, 1], "One seed: no interval")])
def test_a_band_says_over_how_many_seeds(n, text):
    assert grammar.interval_label(n, SETTINGS) == text


def test_an_interval_says_its_confidence():
    changed = replace(SETTINGS, analyze=SETTINGS.analyze.model_copy(update={"confidence": 0.9}))
    assert grammar.interval_label([3], changed, "Bar") == "Bar: 90% interval over 3 seeds"


def test_colours_are_distinct_until_the_palette_ends():
    names = ["x", "kaiming", "y", *(f"z{i}" for i in range(5))]
    scale = grammar.named_colour(pd.DataFrame({"scheme": names}), "scheme")["scale"]
    assert scale["domain"][1] == "Kaiming" and scale["range"][1] == grammar.NAMED["kaiming"]
    assert len(set(scale["range"])) == len(names)


def test_thinning_keeps_the_ends_of_every_arm():
    rows = pd.DataFrame({"arm": ["a"] * 500 + ["b"] * 30, "step": [*range(500), *range(30)]})
    steps = grammar.thinned(rows, 20).groupby("arm").step.agg(["min", "max", "size"])
    assert steps.loc["a", "min"] == 0 and steps.loc["a", "max"] == 499 and steps.loc["a", "size"] <= 20
    assert steps.loc["b", "max"] == 29


def test_rare_and_pale_colours_survive():
    """A thin line, a pale band and 700 shades of grey: each keeps a colour close to its own."""
    pixels = np.full((100, 400, 3), 255, dtype=np.uint8)
    pixels[10, :30] = (213, 94, 0)
    pixels[20:40] = (225, 236, 246)
    pixels[60:62, :350] = (np.arange(700).reshape(2, 350, 1) % 200).astype(np.uint8)
    close = np.asarray(reduced(pixels).convert("RGB")).astype(int)
    assert np.abs(close - pixels).max() <= 8
