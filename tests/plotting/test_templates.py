"""Templates of dvc plots, filled as DVC fills them from two revisions' rows, and rendered."""

import json

import pytest
import vl_convert
import yaml
from dvc.render.match import match_defs_renderers

from imports import ROOT
from plotting import synthetic
from study.plotting import plot_rows

REVISIONS = ("HEAD", "workspace")
PLOTS = {name: entry for item in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
         if isinstance(item, dict) for name, entry in item.items()}
# Oldest version that vl-convert carries, near that of DVC's own page, and the newest, of ours.
OLDEST = min(vl_convert.get_vegalite_versions(), key=lambda name: [int(part) for part in name.split(".")])


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The specification of every plot, of two revisions that differ in one loss."""
    folder = tmp_path_factory.mktemp("plots")
    plot_rows.write_all(synthetic.small(), folder, synthetic.settings())
    data = {rev: {"definitions": {"data": {"dvc.yaml": {"data": PLOTS}}}, "sources": {"data": {}}}
            for rev in REVISIONS}
    for path in folder.glob("*.json"):
        for rev in REVISIONS:
            rows = json.loads(path.read_text())
            if rev == "HEAD" and path.stem == "e3_loss":
                rows[0]["loss"] += 1
            data[rev]["sources"]["data"][f"plots/{path.name}"] = {"data": rows}
    found = match_defs_renderers(data, templates_dir=str(ROOT / ".dvc" / "plots"))
    assert not [one for one in found if one.source_errors or one.definition_errors]
    return {one.renderer.name: one.renderer.get_filled_template() for one in found}


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


def test_each_template_is_used_and_each_plot_has_one():
    templates = {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}
    assert templates == {entry["template"] for entry in PLOTS.values()}


def test_each_experiment_has_plots(filled):
    assert {name[:2] for name in filled} == {"e1", "e2", "e3"}
    assert filled.keys() == PLOTS.keys()


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
def test_a_grid_of_panels_has_no_custom_order(filled, name):
    """With `sort: []` on a row or column facet Vega-Lite puts panels under the wrong headers."""
    facet = filled[name]["facet"]
    assert all(facet[side].get("sort", {}) != [] for side in ("row", "column") if side in facet)


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
    spec = filled["e3_std_per_layer"] | {"data": {"values": [
        row | {"rev": {"HEAD": "z_old", "workspace": "a_new"}[row["rev"]]}
        for row in filled["e3_std_per_layer"]["data"]["values"]]}}
    scene = vl_convert.vegalite_to_svg(spec)
    assert scene.index(">z_old<") < scene.index(">a_new<")


def test_q_k_and_v_stand_in_that_order(filled):
    scene = vl_convert.vegalite_to_svg(filled["e3_std_per_layer"])
    heads = [scene.index(f">gpt2, {role}<") for role in "QKV"]
    assert heads == sorted(heads)
