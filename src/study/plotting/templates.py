"""Charts for `dvc plots`: templates in .dvc/plots, and the rows of this run that they read.

A template is made from its chart and holds nothing that comes from data: `python -m study.plotting.templates`
writes all of them from the tables of `analyze`, and whatever the tables say, the templates are the same.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis.params import LOCAL
from study.base import params
from study.plotting.charts import charts
from study.plotting.grammar import (
    PALETTE,
    VIRIDIS,
    Chart,
    Comparison,
    Spec,
    Tables,
    choice,
    chosen,
    click,
    facet_of,
    layer_colours,
)
from study.plotting.params import Settings
from study.plotting.picture import records
from variance_dynamics.base import rows as tables_on_disk
from variance_dynamics.base.errors import BadInput, one_line

TABLES, TEMPLATES = Path("data/analysis"), Path(".dvc/plots")
REVISION: Spec = {"field": "rev", "type": "nominal", "title": "revision"}
ORDER: Spec = {"window": [{"op": "row_number", "as": "order"}]}
IN_ORDER: Spec = {"sort": {"field": "order", "op": "min"}}
LOOK: Spec = {"axis": {"grid": False}, "legend": {"symbolOpacity": 1, "symbolStrokeWidth": 2},
              "view": {"stroke": "#dddddd"}}


def write_rows(tables: Tables, folder: Path, settings: Settings) -> None:
    """Write NAME.json for each chart that revisions are compared by, from this run's tables."""
    for name, _, plan in compared(tables, settings):
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(listed(plan.rows), encoding="utf-8")


def compared(tables: Tables, settings: Settings) -> Iterator[tuple[str, Chart, Comparison]]:
    """Name, chart and comparison of each chart that `dvc plots` shows."""
    for name, chart in charts(tables, settings).items():
        if chart.comparison is not None:
            yield name, chart, chart.comparison


def listed(rows: pd.DataFrame) -> str:
    """A JSON list with one row a line, so that git shows which rows changed."""
    lines = [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in records(rows)]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def template(chart: Chart, plan: Comparison) -> Spec:
    """The chart with DVC's anchors, for rows of several revisions."""
    wrapped = not plan.apart and (chart.facet is None or chart.order is not None)
    lines = [*plan.lists, *([chart.facet] if chart.facet and (plan.apart or wrapped) else [])]
    menus = [] if plan.menu is None else [(plan.menu, list(dict.fromkeys(plan.rows[plan.menu])))]
    body = {"width": 280, "height": chart.height,
            "layer": [_revised(layer, plan, any(map(_solid, chart.layers))) for layer in chart.layers]}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": "<DVC_METRIC_DATA>"},
        "title": {"text": "<DVC_METRIC_TITLE>", "subtitle": plan.about, "anchor": "start"},
        "params": [*(choice(name, options, options[0]) for name, options in menus), click()],
        "transform": [*(chosen(name) for name, _ in menus), _panel(lines), ORDER],
        **(_wrapped(body) if wrapped else _grid(chart, plan.apart, body)), "config": LOOK}


def _panel(names: list[str]) -> Spec:
    """The column `panel`: the values of these fields, joined."""
    return {"calculate": " + ', ' + ".join(f"datum.{name}" for name in names), "as": "panel"}


def _wrapped(body: Spec) -> Spec:
    """The body in a panel for each value of `panel`, in the order of the rows, three side by side."""
    return {"facet": facet_of("panel", None) | IN_ORDER, "columns": 3, "spec": body}


def _grid(chart: Chart, apart: bool, body: Spec) -> Spec:
    """The body in panels: down by `panel`, across by revision if `apart`, else by the chart's facet.

    Both are in the order of the rows. (With a list of values as order on two sides, Vega-Lite puts panels
    under the wrong headers.)
    """
    across, heading = ("rev", "") if apart else (str(chart.facet), chart.heading)
    facet = {"row": facet_of("panel", None) | IN_ORDER,
             "column": facet_of(across, None, heading=heading) | IN_ORDER}
    resolve = dict.fromkeys(chart.independent, "independent")
    return {"facet": facet, "spec": body, **({"resolve": {"scale": resolve}} if resolve else {})}


def _solid(layer: Spec) -> bool:
    """Whether the layer has lines that a dash can tell apart."""
    return layer["mark"]["type"] == "line" and "strokeDash" not in layer["mark"]


def _revised(layer: Spec, plan: Comparison, lines: bool) -> Spec:
    """The layer for several revisions, told apart by dash if there are `lines`. Nothing is from data."""
    encoding = {name: _without_data(name, channel) for name, channel in layer["encoding"].items()}
    if "tooltip" in encoding:
        encoding["tooltip"] = [REVISION, *(hint for hint in encoding["tooltip"]
                                           if hint["field"] in plan.rows)]
    if not plan.apart and "aggregate" not in json.dumps(layer):
        points = layer["mark"]["type"] == "point" and not lines
        channel = "strokeDash" if _solid(layer) else "shape" if points else "detail"
        details = [encoding["detail"]] if channel == "detail" and "detail" in encoding else []
        encoding[channel] = [*details, REVISION] if channel == "detail" else REVISION | {"sort": None}
    return layer | {"encoding": encoding}


def _without_data(name: str, channel: Any) -> Any:
    """A colour channel without the names or numbers that it has colours for; others as they are."""
    if name != "color" or "scale" not in channel:
        return channel
    by_name: Spec = {"range": list(PALETTE)}
    by_number: Spec = {"range": layer_colours(12)} if "range" in channel["scale"] else {"scheme": VIRIDIS}
    return channel | {"scale": by_number if channel["type"] == "ordinal" else by_name}


def write_templates(tables: Tables, folder: Path, settings: Settings) -> list[Path]:
    """Write NAME.json for each chart that revisions are compared by, with a line for each of its parts."""
    written = []
    for name, chart, plan in compared(tables, settings):
        written.append(folder / f"{name}.json")
        lines = [f"{json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}"
                 for key, part in template(chart, plan).items()]
        written[-1].write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return written


def of_source(tables: Tables, source: str) -> Tables:
    """The rows of one source: this run, or a recorded one."""
    return {name: table[table["source"] == source] for name, table in tables.items()}


@one_line
def main() -> None:
    if not TABLES.is_dir():
        raise BadInput(f"{TABLES}: no such folder: expected the tables of `dvc repro analyze`")
    tables = {path.stem: tables_on_disk.read(path) for path in sorted(TABLES.glob("*.parquet"))}
    write_templates(of_source(tables, LOCAL), TEMPLATES, Settings.of(params.read()))


if __name__ == "__main__":
    main()
