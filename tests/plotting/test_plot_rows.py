"""Rows for dvc plots: valid JSON with the tables' numbers, thin enough for git."""

import json

import numpy as np
import pandas as pd
import pytest

from plotting import synthetic
from study.plotting import plot_rows
from study.plotting.style import word

SETTINGS = synthetic.settings(stds=5)


@pytest.fixture(scope="module")
def tables():
    return synthetic.tables(arms=("std_005", "gpt2"))


@pytest.fixture(scope="module")
def folder(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots")
    plot_rows.write_all(tables, folder, SETTINGS)
    return folder


def read(folder, name):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / f"{name}.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize("name", plot_rows.ROWS)
def test_rows_are_a_json_list_of_equal_keys(folder, name):
    rows = read(folder, name)
    assert rows
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(row["n"] == 5 for row in rows)
    text = (folder / f"{name}.json").read_text()
    assert len(text.splitlines()) == len(rows) + 2, "one row a line, so that git shows which changed"


def test_all_rows_together_are_small(folder):
    assert sum(path.stat().st_size for path in folder.glob("*.json")) < 2e6


def test_numbers_are_the_tables(tables, folder):
    rows = pd.DataFrame(read(folder, "e3_std"))
    table = tables["e3_std"].rename(columns={"value": "measured"})
    table["role"] = table.role.map(word)
    both = rows.merge(table, on=["arm", "role", "layer", "step"], suffixes=("", "_table"))
    assert len(both) == len(rows)
    np.testing.assert_allclose(both["std"], both.measured, rtol=5e-5)
    np.testing.assert_allclose(both.predicted, both.predicted_table, rtol=5e-5)


def test_curves_keep_loss_and_accuracy_apart(tables, folder):
    row = next(row for row in read(folder, "e2_curves")
               if row["panel"] == "digits, AdamW" and row["depth"] == 10 and row["scheme"] == "LeCun"
               and row["step"] == 100)
    cell = tables["e2_curves"].query("dataset == 'digits' and optimizer == 'adamw' and depth == 10 and "
                                     "scheme == 'lecun' and step == 100 and lr_kind == 'shared'")
    found = cell.set_index("stat")
    for stat in ("loss", "accuracy"):
        assert row[stat] == pytest.approx(found["mean"][f"val_{stat}"], rel=5e-5)
        assert row[f"{stat}_hi"] == pytest.approx(found["hi"][f"val_{stat}"], rel=5e-5)


def test_layers_hold_the_chosen_stds_only(folder):
    rows = pd.DataFrame(read(folder, "e1_layers"))
    assert set(rows.groupby(["panel", "depth"])["std"].nunique()) == {SETTINGS.plot.representative_std_count}
    assert {"second_moment_predicted", "grad_norm_lo"} <= set(rows)


def test_what_is_not_finite_or_has_no_logarithm_is_null(tables, tmp_path):
    broken = tables["e1_layers"].copy()
    broken.loc[broken.layer == 1, "value"] = 0.0
    broken.loc[broken.layer == 2, "value"] = np.inf
    plot_rows.write_all({"e1_layers": broken}, tmp_path, SETTINGS)
    rows = read(tmp_path, "e1_layers")
    assert all((row["second_moment"] is None) == (row["layer"] <= 2) for row in rows)


def test_thinning_keeps_the_ends_of_every_arm():
    rows = pd.DataFrame({"arm": ["a"] * 500 + ["b"] * 30, "step": [*range(500), *range(30)]})
    steps = plot_rows.thinned(rows, 20).groupby("arm").step.agg(["min", "max", "size"])
    assert steps.loc["a", "min"] == 0 and steps.loc["a", "max"] == 499 and steps.loc["a", "size"] <= 20
    assert steps.loc["b", "max"] == 29


def test_the_claims_arm_comes_first_and_roles_as_in_a_block(folder):
    rows = pd.DataFrame(read(folder, "e3_ratio"))
    assert list(rows.arm.unique()) == ["gpt2", "std_005"]
    assert list(rows.role.unique()) == ["Q", "K", "V", "attention out", "MLP in", "MLP out"]
    assert list(rows.drop_duplicates(["arm", "role"]).arm) == ["gpt2"] * 6 + ["std_005"] * 6
