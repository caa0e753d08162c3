"""The report's charts of E1."""

import numpy as np
import pandas as pd

from study.plotting.e1 import around, critical, natural, representative
from study.plotting.e1_laws import EDGES, guide
from study.plotting.params import Settings
from study.plotting.style import INK, interval_label
from study.plotting.vega import (
    DASHED,
    DATA,
    INTERVAL,
    Chart,
    Spec,
    asking,
    category,
    count,
    curves,
    dashed,
    depth_colour,
    dots,
    level,
    named_colour,
    panels,
    quantity,
    told,
    tooltip,
)
from variance_dynamics.theory.propagation import critical_std

STDS = 7
MARKS = {"lower": "circle", "upper": "square", "below the grid": "triangle-down",
         "above the grid": "triangle-up"}
OVERLAPS = {"paper_share": "share of the paper's band that trains", "jaccard": "intersection over union",
            "band_share": "share of the band that is the paper's"}


def sweep(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: final loss and accuracy against std."""
    rows = rows.assign(critical=[critical_std(width) for width in rows.width])
    long = pd.concat([rows.assign(show=name, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name in ("loss", "accuracy")])
    shares = {f"share_{name}": f"share {name}" for name in ("trains", "vanishing", "exploding", "stalled")}
    lists = {**DATA, "optimizer": "optimizer", "show": "show"}
    colour, x = depth_colour("width", "width", rows.width), quantity("std", "initial std", log=True)
    x["axis"]["format"] = "~e"
    hover = tooltip(long, {"std": "initial std", "width": "width", "value": "mean", **INTERVAL, **shares})
    critical = {"mark": {"type": "rule", "strokeDash": DASHED, "strokeWidth": 1.3},
                "encoding": {"x": {**x, "field": "critical", "aggregate": "min"}, "color": colour}}
    spec = asking(long, lists) | panels(
        "depth", [critical, *curves(x, quantity("value", zero=True), colour, hover)], "depth (weight layers)")
    caption = ("Final training loss (nats, at most the cap from which a run counts as exploding) or test "
               "accuracy. Dashed: critical std √(2/width), predicted. "
               f"{interval_label(rows.n, settings, 'Band')}.")
    keep = [*lists, "depth", "width", "std", "value", "lo", "hi", "n", "critical", *shares]
    return Chart("sweep", "Which initial std trains", caption, told(long[keep]), spec)


def per_layer(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: second moment and gradient norm per layer."""
    kept = []
    for _, part in rows.groupby(["source", "dataset"], sort=False):
        part = representative(part)
        stds = around(part["std"].unique(), critical_std(part.width.iloc[0]), STDS)
        kept.append(part[np.isclose(part["std"].to_numpy()[:, None], stds).any(axis=1)])
    found = pd.concat(kept)
    found = found.assign(std=found["std"].map("{:.3g}".format).astype(float))
    return layers_at_init("layers", "Signal and gradient per layer", found,
                          ("std", depth_colour("std", "initial std")), settings)


def layers_at_init(name: str, title: str, rows: pd.DataFrame, by: tuple[str, dict[str, object]],
                   settings: Settings) -> Chart:
    """Second moments and gradient norms against layer, coloured `by` a field and its channel."""
    field, colour = by
    rows = rows.sort_values("stat", ascending=False, kind="stable")  # the signal before the gradient
    lists = {**DATA, "stat": "show"}
    x, y = count("layer", "layer"), quantity("value", log=True)
    y["axis"]["format"] = "~e"
    width = ["width"] if "width" in rows else []
    hover = tooltip(rows, {**dict.fromkeys([field, "layer", *width]), "value": "measured", **INTERVAL,
                           "predicted": "predicted"})
    law = dashed(x, {**y, "field": "predicted"}, colour)
    spec = asking(rows, lists) | panels("depth", [law, *dots(x, y, colour, hover)], "depth (weight layers)",
                                        resolve={"x": "independent"})
    spec["transform"].append({"filter": "datum.value > 0"})
    caption = ("Points: measured in float64 at initialisation (grad norm end: after training). Dashed: "
               "predicted before training (gradient: of one sample). "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "depth", field, "layer", "value", "lo", "hi", "n", "predicted"]
    return Chart(name, title, caption, told(rows[[*keep, *width]]), spec)


def edges(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: the band's edges as std and on the natural axis."""
    outside = rows.edge.map({"lower": "below the grid", "upper": "above the grid"})
    rows = rows.assign(predicted=rows.get("predicted", np.nan),
                       mark=rows.edge.where(rows.censored == 0, outside))
    long = pd.concat([rows.assign(show="initial std"), critical(rows).assign(show="std × √(width / 2)"),
                      natural(rows).assign(show="natural axis a")])
    lists = {**DATA, "show": "axis"}
    colour = depth_colour("width", "width", long.width)
    x, y = count("depth", "depth (weight layers)"), quantity("std", log=True)
    beside: Spec = {"xOffset": {"field": "width", "type": "ordinal"}}
    hover = tooltip(long, {"edge": "edge", "depth": "depth", "width": "width", "std": "half of seeds train",
                           **INTERVAL, "predicted": "predicted", "centre": "centre a = 1, predicted",
                           "censored": "seeds beyond the grid"})
    predicted = {"mark": {"type": "tick", "thickness": 2, "size": 11},
                 "encoding": {"x": x, "y": {**y, "field": "centre"}, "color": {"value": INK}, **beside}}
    edge = {"transform": [{"filter": "isValid(datum.predicted)"}],
            "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 30},
            "encoding": {"x": x, "y": {**y, "field": "predicted"}, "color": {"value": "#D55E00"}, **beside}}
    shape = category("mark", "edge", scale={"domain": list(MARKS), "range": list(MARKS.values())})
    found = dots(x, y, colour, hover, shape=shape, **beside)
    spec = asking(long, lists) | panels("optimizer", [predicted, *found, edge])
    caption = ("Lower and upper edge of the band of stds that train: where half of the seeds do. If theory "
               "holds, edges of all widths lie at one height on the natural axis a = std × √(fan factor). "
               "Predicted: the centre a = 1 (tick) and, under SGD, each edge (orange diamond; that theory "
               "was written after the first runs). Triangle: some seeds still train at the end of the grid, "
               "so the edge lies further out. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    numbers = ["std", "lo", "hi", "n", "censored", "centre", "predicted"]
    keep = [*lists, "optimizer", "depth", "width", "edge", "mark", *numbers]
    return Chart("collapse", "Do the edges collapse over widths?", caption, told(long[keep]), spec, columns=2)


def overlap(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: how far the paper's band is the band that trains."""
    low, high = settings.analyze.e1.paper_band
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name, label in OVERLAPS.items()])
    lists = {**DATA, "show": "show"}
    colour = depth_colour("depth", "depth", rows.depth)
    beside: Spec = {"xOffset": {"field": "depth", "type": "ordinal"}}
    hover = tooltip(long, {"depth": "depth", "width": "width", "value": "mean", **INTERVAL})
    y = quantity("value", zero=True)
    y["scale"]["domain"] = [0, 1]
    layers = dots(count("width", "width"), y, colour, hover, **beside)
    spec = asking(long, lists) | panels("optimizer", layers)
    caption = (f"Of the paper's band [{low:g}, {high:g}] and the measured one, both in ln std. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "optimizer", "depth", "width", "value", "lo", "hi", "n"]
    return Chart("overlap", "The paper's band and the stds that train", caption, told(long[keep]), spec,
                 columns=2)


def widths(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: how the band narrows with depth."""
    rows = rows.rename(columns={"ln_width_lo": "lo", "ln_width_hi": "hi"})
    tasks = rows.groupby(["source", "dataset", "optimizer"], sort=False)
    rows = pd.concat([guide(part) for _, part in tasks])
    colour = depth_colour("width", "width", rows.width)
    x = quantity("depth", "depth (weight layers)", log=True)
    y = quantity("ln_width", "ln(upper / lower edge)", log=True)
    hover = tooltip(rows, {"depth": "depth", "width": "width", "ln_width": "ln(upper / lower edge)",
                           **INTERVAL, "censored": "seeds beyond the grid"})
    law = dashed(x, {**y, "field": "law"})
    spec = asking(rows, DATA) | panels("optimizer", [law, *curves(x, y, colour, hover, points=True)])
    caption = ("Width of the band of stds that train, both axes logarithmic. Dashed: ∝ 1 / depth, as the "
               "depth scale of theory suggests. Left out: bands that reach the end of the grid. "
               f"{interval_label(rows.n, settings, 'Band')}.")
    keep = [*DATA, "optimizer", "depth", "width", "ln_width", "lo", "hi", "n", "censored", "law"]
    return Chart("widths", "How the band narrows with depth", caption, told(rows[keep]), spec, columns=2)


def slopes(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E1: how the edges move with width."""
    colour = named_colour("edge", "edge", EDGES)
    x, y = count("depth", "depth (weight layers)"), quantity("slope", "d ln(edge) / d ln(width)", zero=True)
    beside: Spec = {"xOffset": category("edge", sort=list(EDGES))}
    hover = tooltip(rows, {"edge": "edge", "depth": "depth", "slope": "slope", **INTERVAL,
                           "predicted": "natural axis, predicted"})
    ticks = {"mark": {"type": "tick", "thickness": 2, "size": 14},
             "encoding": {"x": x, "y": {**y, "field": "predicted"}, "color": {"value": INK}, **beside}}
    layers = [level(-0.5), level(0), *dots(x, y, colour, hover, **beside), ticks]
    spec = asking(rows, DATA) | panels("optimizer", layers)
    spec["transform"].append({"filter": "isValid(datum.slope)"})
    caption = ("Slope over widths of the edges that lie within the grid. Ticks: what the natural axis "
               "predicts; dashed: −1/2 as for the critical std, and 0 for a band that does not move. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*DATA, "optimizer", "depth", "edge", "slope", "lo", "hi", "n", "predicted"]
    return Chart("slopes", "How the edges move with width", caption, told(rows[keep]), spec, columns=2)
