"""Parts of the report's Vega-Lite specifications. Names from data stay values; no expression holds one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from variance_dynamics.plotting.style import INK, word

Spec = dict[str, Any]
DASHED = [5, 3]
FAINT = 0.07
SOURCE = {"source": "run"}
DATA = {**SOURCE, "dataset": "data"}
INTERVAL = {"lo": "from", "hi": "to", "n": "seeds"}
PICK = "Click an entry of the legend to single it out, shift-click for more."


@dataclass(frozen=True)
class Chart:
    """One figure of the report: `rows` meet `spec` in the browser; at most `columns` panels side by side."""

    name: str
    title: str
    caption: str
    rows: pd.DataFrame
    spec: Spec
    columns: int = 3


def quantity(field: str, title: str | None = None, log: bool = False, zero: bool = False) -> Spec:
    """A numeric channel."""
    scale: Spec = {"type": "log"} if log else {"zero": zero}
    axis: Spec = {"axis": {"tickCount": 5, "format": "~g", "labelOverlap": True}} if log else {}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, **axis}


def count(field: str, title: str) -> Spec:
    """An axis of layers."""
    axis = {"labelAngle": 0, "labelOverlap": True}
    return {"field": field, "type": "ordinal", "title": title, "axis": axis}


def category(field: str, title: str | None = None, **more: Any) -> Spec:
    """A channel of names, or of numbers that are few."""
    return {"field": field, "type": "nominal", "title": title, **more}


def depth_colour(field: str, title: str, values: Iterable[Any] | None = None) -> Spec:
    """Sequential colours, as in the figures, for the numbers `values`; None: for those in sight."""
    domain = None if values is None else {"domain": sorted({plain(value) for value in values}, key=float)}
    return {"field": field, "type": "ordinal", "title": title,
            "scale": {**(domain or {}), "scheme": {"name": "viridis", "extent": [0, 0.9]}}}


def plain(value: Any) -> Any:
    """A numpy scalar as Python's own number, for JSON."""
    return value.item() if hasattr(value, "item") else value


def named_colour(field: str, title: str, colours: dict[str, str]) -> Spec:
    """A fixed colour for each name."""
    return category(field, title, scale={"domain": list(colours), "range": list(colours.values())})


def choices(rows: pd.DataFrame, fields: dict[str, str]) -> list[Spec]:
    """A drop-down list above the chart for each field (field -> label); data with most rows come first."""
    found = {field: rows[field].value_counts().index if field == "dataset" else rows[field].unique()
             for field in fields}
    return [choice(field, label, list(found[field])) for field, label in fields.items()]


def choice(field: str, label: str, options: Sequence[Any]) -> Spec:
    """A drop-down list whose choice is the parameter pick_FIELD; the first option is chosen at first."""
    options = [plain(option) for option in options]
    return {"name": f"pick_{field}", "value": options[0],
            "bind": {"input": "select", "options": options, "labels": [word(option) for option in options],
                     "name": f"{label} "}}


def asking(rows: pd.DataFrame, fields: dict[str, str]) -> Spec:
    """The part of a specification that asks with drop-down lists and keeps the rows they choose."""
    return {"params": choices(rows, fields), "transform": chosen(fields)}


def chosen(fields: Iterable[str]) -> list[Spec]:
    """Keep the rows that the drop-down lists choose."""
    return [{"filter": f"datum.{field} === pick_{field}"} for field in fields]


def legend_pick(field: str) -> Spec:
    """Click an entry of the legend to single it out; shift-click for more."""
    return {"name": "shown", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def shown(opacity: float = 1.0) -> Spec:
    """Opacity of what the legend singles out; the rest is faint."""
    return {"condition": {"param": "shown", "value": opacity}, "value": opacity * FAINT}


def tooltip(rows: pd.DataFrame, hints: dict[str, str]) -> list[Spec]:
    """field -> label, floats with four digits."""
    return [{"field": field, "title": label, **({"format": ".4~g"} if rows[field].dtype.kind == "f" else {})}
            for field, label in hints.items()]


def curves(x: Spec, y: Spec, colour: Spec, hover: list[Spec], detail: Sequence[str] = (),
           points: bool = False) -> list[Spec]:
    """Layers of a mean line with its band (fields lo and hi), hover, and a legend that singles lines out."""
    by = {"detail": [category(name) for name in detail]} if detail else {}
    common, ends = {"x": x, "color": colour}, {"y": {**y, "field": "lo"}, "y2": {"field": "hi"}}
    return [
        {"mark": {"type": "area"}, "encoding": {**common, **by, **ends, "opacity": shown(0.18)}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "line", "strokeWidth": 1.6},
         "encoding": {**common, **by, "y": y, "opacity": shown()}},
        {"mark": {"type": "point", "filled": True, "size": 26 if points else 80},
         "encoding": {**common, "y": y, "tooltip": hover, "opacity": shown() if points else {"value": 0}}},
    ]


def dots(x: Spec, y: Spec, colour: Spec, hover: list[Spec], **more: Any) -> list[Spec]:
    """Layers of points with their intervals (fields lo and hi) along y."""
    return [
        {"mark": {"type": "rule", "strokeWidth": 1.8},
         "encoding": {"x": x, "color": colour, **more, "y": {**y, "field": "lo"}, "y2": {"field": "hi"},
                      "opacity": shown()}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": {"x": x, "color": colour, **more, "y": y, "tooltip": hover, "opacity": shown()}},
    ]


def dashed(x: Spec, y: Spec, colour: Spec | None = None, **more: Any) -> Spec:
    """A predicted line: dashed, in ink unless coloured."""
    mark = {"type": "line", "strokeDash": DASHED, "strokeWidth": 1.3}
    paint = {"color": colour, "opacity": shown()} if colour else {"color": {"value": INK}}
    return {"mark": mark, "encoding": {"x": x, "y": y, **paint, **more}}


def level(value: float) -> Spec:
    """A dashed horizontal line over the whole panel."""
    return {"mark": {"type": "rule", "strokeDash": DASHED},
            "encoding": {"y": {"datum": value}, "color": {"value": INK}}}


def panels(field: str, layers: list[Spec], title: str | None = None, order: Sequence[str] | None = None,
           resolve: Spec | None = None) -> Spec:
    """Small multiples over a field; the page sets how many stand side by side, and how wide."""
    sort = {"sort": list(order)} if order else {}
    return {"facet": {"field": field, "type": "nominal", "title": title, **sort},
            "spec": {"height": 170, "layer": layers}, **({"resolve": {"scale": resolve}} if resolve else {})}
