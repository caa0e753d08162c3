"""Parts of the report's Vega-Lite specifications. Names from data stay values; no expression holds one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.plotting.style import INK, word

Spec = dict[str, Any]
DASHED = [5, 3]
FAINT = 0.07
SOURCE = {"source": "run"}
DATA = {**SOURCE, "dataset": "data"}
INTERVAL = {"lo": "from", "hi": "to", "n": "seeds"}
AS_THEY_ARE = ("source", "arm", "pair")
"""Fields of names that the reader chose; other names are put in words."""
CLICK = {"show alone": "singles out", "hide": "hides"}


@dataclass(frozen=True)
class Chart:
    """One figure of the report: `rows` meet `spec` in the browser; at most `columns` panels side by side."""

    name: str
    title: str
    caption: str
    rows: pd.DataFrame
    spec: Spec
    columns: int = 3


def spoken(field: str, value: Any) -> Any:
    """A value of a field as the reader sees it."""
    return word(value) if isinstance(value, str) and field not in AS_THEY_ARE else plain(value)


def told(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their names as the reader sees them."""
    names = [name for name in rows if rows[name].dtype.kind not in "biuf" and name not in AS_THEY_ARE]
    words = {str(name): {value: spoken(str(name), value) for value in rows[name].unique()} for name in names}
    return rows.assign(**{name: rows[name].map(found) for name, found in words.items()})


def quantity(field: str, title: str | None = None, log: bool = False, zero: bool = False) -> Spec:
    """A numeric channel."""
    scale: Spec = {"type": "log", "nice": False} if log else {"zero": zero}
    axis = {"tickCount": 5, "labelOverlap": "greedy", **({"format": "~g"} if log else {})}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def count(field: str, title: str) -> Spec:
    """An axis of layers."""
    axis = {"labelAngle": 0, "labelOverlap": "greedy", "labelSeparation": 3}
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
    domain = [spoken(field, name) for name in colours]
    return category(field, title, scale={"domain": domain, "range": list(colours.values())})


def choices(rows: pd.DataFrame, fields: dict[str, str]) -> list[Spec]:
    """A drop-down list above the chart for each field (field -> label); data with most rows come first."""
    found = {field: rows[field].value_counts().index if field == "dataset" else rows[field].unique()
             for field in fields}
    return [choice(field, label, list(found[field])) for field, label in fields.items()]


def choice(field: str, label: str, options: Sequence[Any], at_first: Any = None) -> Spec:
    """A drop-down list whose choice is the parameter pick_FIELD; at first it is `at_first`, or the first."""
    at_first = spoken(field, options[0] if at_first is None else at_first)
    options = [spoken(field, option) for option in options]
    return {"name": f"pick_{field}", "value": at_first,
            "bind": {"input": "select", "options": options, "labels": [str(option) for option in options],
                     "name": f"{label} "}}


def click() -> Spec:
    """A drop-down list for what a click on the legend does."""
    return {"name": "click", "value": next(iter(CLICK)),
            "bind": {"input": "select", "options": list(CLICK), "labels": list(CLICK.values()),
                     "name": "click on the legend "}}


def asking(rows: pd.DataFrame, fields: dict[str, str], legend: bool = True) -> Spec:
    """The part of a specification that asks with drop-down lists and keeps the rows they choose."""
    return {"params": [*choices(rows, fields), *([click()] if legend else [])], "transform": chosen(fields)}


def chosen(fields: Iterable[str]) -> list[Spec]:
    """Keep the rows that the drop-down lists choose."""
    return [{"filter": f"datum.{field} === pick_{field}"} for field in fields]


def legend_pick(field: str) -> Spec:
    """Each click on an entry of the legend picks it, or lets go of it."""
    return {"name": "shown", "select": {"type": "point", "fields": [field], "toggle": "true"},
            "bind": "legend"}


def shown(opacity: float = 1.0) -> Spec:
    """Opacity: what the legend singles out stands before a faint rest, or what it hides is gone."""
    hides = "click === 'hide'"
    gone = {"and": [hides, {"param": "shown", "empty": False}]}
    there = {"or": [hides, {"param": "shown"}]}
    return {"condition": [{"test": gone, "value": 0}, {"test": there, "value": opacity}],
            "value": opacity * FAINT}


def tooltip(rows: pd.DataFrame, hints: Mapping[str, str | None]) -> list[Spec]:
    """field -> label (None: its name), floats with four digits."""
    digits = {field: {"format": ".4~g"} for field in hints if rows[field].dtype.kind == "f"}
    return [{"field": field, "title": label or field, **digits.get(field, {})}
            for field, label in hints.items()]


def curves(x: Spec, y: Spec, colour: Spec, hover: list[Spec], detail: Sequence[str] = (),
           points: bool = False, faint: float = 0.18) -> list[Spec]:
    """Layers of a mean line with its band (fields lo and hi), hover, and a legend that singles lines out."""
    by = {"detail": [category(name) for name in detail]} if detail else {}
    common, ends = {"x": x, "color": colour}, {"y": {**y, "field": "lo"}, "y2": {"field": "hi"}}
    return [
        {"mark": {"type": "area"}, "encoding": {**common, **by, **ends, "opacity": shown(faint)}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "line", "strokeWidth": 1.6},
         "encoding": {**common, **by, "y": y, "opacity": shown()}},
        {"mark": {"type": "point", "filled": True, "size": 26 if points else 80},
         "encoding": {**common, "y": y, "tooltip": hover, "opacity": shown() if points else {"value": 0}}},
    ]


def dots(x: Spec, y: Spec, colour: Spec, hover: list[Spec], along: str = "y", **more: Any) -> list[Spec]:
    """Layers of points with their intervals (fields lo and hi) along y, or along x."""
    ends = {along: {**{"x": x, "y": y}[along], "field": "lo"}, f"{along}2": {"field": "hi"}}
    bare = {name: channel for name, channel in more.items() if name != "shape"}
    return [
        {"mark": {"type": "rule", "strokeWidth": 1.8},
         "encoding": {"x": x, "y": y, "color": colour, **bare, **ends, "opacity": shown()}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": {"x": x, "color": colour, **more, "y": y, "tooltip": hover, "opacity": shown()}},
    ]


def dashed(x: Spec, y: Spec, colour: Spec | None = None, **more: Any) -> Spec:
    """A predicted line: dashed, in ink unless coloured."""
    mark = {"type": "line", "strokeDash": DASHED, "strokeWidth": 1.3}
    paint = {"color": colour, "opacity": shown()} if colour else {"color": {"value": INK}}
    return {"mark": mark, "encoding": {"x": x, "y": y, **paint, **more}}


def level(value: float, along: str = "y") -> Spec:
    """A dashed line over the whole panel, at a value of y or of x."""
    return {"mark": {"type": "rule", "strokeDash": DASHED},
            "encoding": {along: {"datum": value}, "color": {"value": INK}}}


def panels(field: str, layers: list[Spec], title: str | None = None, order: Sequence[str] | None = None,
           resolve: Spec | None = None) -> Spec:
    """Small multiples over a field; the page sets how many stand side by side, and how wide."""
    sort = {"sort": [spoken(field, name) for name in order]} if order else {}
    return {"facet": {"field": field, "type": "nominal", "title": title, **sort},
            "spec": {"height": 170, "layer": layers}, **({"resolve": {"scale": resolve}} if resolve else {})}
