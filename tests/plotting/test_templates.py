"""Templates and rows of dvc plots, filled as DVC fills them from two revisions' rows, and rendered."""

import json

import numpy as np
import pandas as pd
import pytest
import vl_convert
import yaml
from dvc.render.match import match_defs_renderers

from imports import ROOT
from plotting import synthetic
from study.plotting import templates
from study.plotting.grammar import word

SETTINGS = synthetic.settings(stds=5)
REVISIONS = ("HEAD", "workspace")
PLOTS = {name: entry for item in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
         if isinstance(item, dict) for name, entry in item.items()}
COMMITTED = ROOT / ".dvc" / "plots"
# Oldest version that vl-convert carries, near that of DVC's own page, and the newest, of ours.
OLDEST = min(vl_convert.get_vegalite_versions(), key=lambda name: [int(part) for part in name.split(".")])


@pytest.fixture(scope="module")
def tables():
    return synthetic.tables(arms=("gpt2", "std_005"))


@pytest.fixture(scope="module")
def folder(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    templates.write_rows(tables, folder, SETTINGS)
    return folder


def read(folder, name):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / f"{name}.json").read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The specification of every plot, of two revisions that differ in one loss."""
    folder = tmp_path_factory.mktemp("plots")
    templates.write_rows(synthetic.small(), folder, SETTINGS)
    data = {rev: {"definitions": {"data": {"dvc.yaml": {"data": PLOTS}}}, "sources": {"data": {}}}
            for rev in REVISIONS}
    for path in folder.glob("*.json"):
        for rev in REVISIONS:
            rows = json.loads(path.read_text())
            if rev == "HEAD" and path.stem == "e3_loss":
                rows[0]["mean"] += 1
            data[rev]["sources"]["data"][f"plots/rows/{path.name}"] = {"data": rows}
    renderers = match_defs_renderers(data, templates_dir=str(COMMITTED))
    assert not [one for one in renderers if one.source_errors or one.definition_errors]
    return {one.renderer.name: one.renderer.get_filled_template() for one in renderers}


def walk(node):
    """Every mapping inside a specification, but for its data."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key != "data":
                yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


@pytest.mark.parametrize("options", [
    {"arms": ("gpt2",), "datasets": ("wine",)},
    {"arms": ("mine", "gpt2"), "datasets": ("digits", "own_data")},
    {"arms": ("gpt2",), "datasets": ("wine", "digits"), "n": 1}])
def test_the_committed_templates_are_those_made_whatever_the_data(options, tmp_path):
    """Where this fails, `python -m study.plotting.templates` writes them anew."""
    written = templates.write_templates(synthetic.tables(**options), tmp_path, SETTINGS)
    assert {path.name for path in written} == {path.name for path in COMMITTED.glob("*.json")}
    for path in written:
        assert path.read_text() == (COMMITTED / path.name).read_text(), path.name


def test_each_template_is_used_and_each_plot_reads_its_rows(folder):
    names = {path.stem for path in COMMITTED.glob("*.json")}
    assert names == {entry["template"] for entry in PLOTS.values()} == set(PLOTS)
    assert {f"plots/rows/{path.name}" for path in folder.glob("*.json")} == {
        file for entry in PLOTS.values() for file in entry["y"]}
    for name, entry in PLOTS.items():
        assert {entry["x"], *entry["y"].values()} <= set(read(folder, name)[0])


@pytest.mark.parametrize("name", PLOTS)
def test_both_revisions_are_in_and_no_anchor_is_left(filled, name):
    spec = filled[name]
    assert {row["rev"] for row in spec["data"]["values"]} == set(REVISIONS)
    assert "DVC_METRIC" not in json.dumps(spec)
    assert spec["title"]["text"] == PLOTS[name]["title"]


@pytest.mark.parametrize("name", PLOTS)
def test_every_field_exists_and_points_have_tooltips(filled, name):
    """Vega-Lite draws nothing, without an error, for a field that is not there."""
    spec = filled[name]
    made = {part["as"] for part in walk(spec) if isinstance(part.get("as"), str)}
    known = set(spec["data"]["values"][0]) | made
    assert {part["field"] for part in walk(spec) if isinstance(part.get("field"), str)} <= known
    assert any("tooltip" in part for part in walk(spec))


@pytest.mark.parametrize("name", PLOTS)
def test_a_grid_of_panels_is_ordered_by_its_rows(filled, name):
    """With a list as `sort` of a row or column facet Vega-Lite puts panels under the wrong headers."""
    facet = filled[name]["facet"]
    for side in [facet] if "field" in facet else facet.values():
        assert side["sort"] == {"field": "order", "op": "min"}


@pytest.mark.parametrize("version", [OLDEST, None])
@pytest.mark.parametrize("name", PLOTS)
def test_it_renders(filled, name, version):
    picture = vl_convert.vegalite_to_svg(filled[name], vl_version=version)
    assert PLOTS[name]["title"] in picture
    # Lines and points are there, and what tells the revisions apart is in the legend or the headers.
    assert picture.count("<path") > 20
    assert all(rev in picture for rev in REVISIONS)


def test_revisions_stand_in_the_order_of_the_command(filled):
    """Not in that of the alphabet: `dvc plots diff old new` has old on the left."""
    spec = filled["e3_std"] | {"data": {"values": [
        row | {"rev": {"HEAD": "z_old", "workspace": "a_new"}[row["rev"]]}
        for row in filled["e3_std"]["data"]["values"]]}}
    scene = vl_convert.vegalite_to_svg(spec)
    assert scene.index(">z_old<") < scene.index(">a_new<")


def test_q_k_and_v_stand_in_that_order(filled):
    scene = vl_convert.vegalite_to_svg(filled["e3_std"])
    heads = [scene.index(f">gpt2, {role}<") for role in "QKV"]
    assert heads == sorted(heads)


@pytest.mark.parametrize("name", PLOTS)
def test_rows_are_a_json_list_of_equal_keys(folder, name):
    rows = read(folder, name)
    assert rows
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(row["n"] == 5 for row in rows)
    text = (folder / f"{name}.json").read_text()
    assert len(text.splitlines()) == len(rows) + 2, "one row a line, so that git shows which changed"


def test_all_rows_together_are_small(folder):
    assert sum(path.stat().st_size for path in folder.glob("*.json")) < 1.5e6


def test_numbers_are_the_tables(tables, folder):
    rows = pd.DataFrame(read(folder, "e3_std"))
    table = tables["e3_std"].rename(columns={"value": "measured"})
    table["role"] = table.role.map(word)
    both = rows.merge(table, on=["arm", "role", "layer", "step"], suffixes=("", "_table"))
    assert len(both) == len(rows)
    np.testing.assert_allclose(both.value, both.measured, rtol=5e-5)
    law = both[both.law.notna()]
    assert set(law.layer) == {1}
    np.testing.assert_allclose(law.law, law.predicted, rtol=5e-5)


def test_curves_are_those_at_the_shared_learning_rate(tables, folder):
    (row,) = [row for row in read(folder, "e2_curves")
              if row["dataset"] == "digits" and row["optimizer"] == "AdamW" and row["depth"] == 10
              and row["scheme"] == "LeCun" and row["step"] == 100 and row["show"] == "validation loss"]
    (cell,) = tables["e2_curves"].query(
        "dataset == 'digits' and optimizer == 'adamw' and depth == 10 and scheme == 'lecun' and step == 100 "
        "and lr_kind == 'shared' and stat == 'val_loss'").to_dict("records")
    assert row["mean"] == pytest.approx(cell["mean"], rel=5e-5)
    assert row["hi"] == pytest.approx(cell["hi"], rel=5e-5)


def test_layers_hold_the_chosen_stds_only(folder):
    rows = pd.DataFrame(read(folder, "e1_layers"))
    counts = rows.groupby(["dataset", "depth"])["std"].nunique()
    assert set(counts) == {SETTINGS.plot.representative_std_count}


def test_the_ratio_is_that_of_the_last_step(tables, folder):
    rows = pd.DataFrame(read(folder, "e3_ratio")).query("arm == 'gpt2' and role == 'V' and ratio == 'R'")
    last = tables["e3_ratio"].query("arm == 'gpt2' and role == 'v' and step == 500").sort_values("layer")
    np.testing.assert_allclose(rows.sort_values("layer").value, last.R, rtol=5e-5)


def test_what_is_not_finite_is_null_and_what_has_no_logarithm_is_left_out(tables, tmp_path):
    broken = tables["e1_layers"].copy()
    broken.loc[broken.layer == 1, "value"] = 0.0
    broken.loc[broken.layer == 2, "hi"] = np.inf
    templates.write_rows({"e1_layers": broken}, tmp_path, SETTINGS)
    rows = read(tmp_path, "e1_layers")
    assert {row["layer"] for row in rows} == set(range(2, 9))
    assert all((row["hi"] is None) == (row["layer"] == 2) for row in rows)


def test_the_claims_arm_comes_first_and_roles_as_in_a_block():
    made = [chart for name, chart, _ in templates.compared(
        synthetic.small(arms=("std_005", "gpt2")), SETTINGS) if name == "e3_std"]
    rows = made[0].comparison.rows
    assert list(rows.drop_duplicates(["arm", "role"]).arm) == ["gpt2"] * 3 + ["std_005"] * 3
    assert list(rows.role.unique()) == ["q", "k", "v"]
