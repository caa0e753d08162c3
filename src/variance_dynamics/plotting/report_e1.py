"""The report's charts of E1."""

import numpy as np
import pandas as pd

from variance_dynamics.plotting.e1 import around, natural, representative
from variance_dynamics.plotting.style import INK, interval_label
from variance_dynamics.plotting.vega import (
    DASHED,
    DATA,
    INTERVAL,
    PICK,
    Chart,
    asking,
    category,
    count,
    curves,
    dashed,
    depth_colour,
    dots,
    panels,
    quantity,
    tooltip,
)
from variance_dynamics.theory.propagation import critical_std

STDS = 7


def sweep(rows: pd.DataFrame) -> Chart:
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
               f"{interval_label(rows.n, 'Band')}. {PICK}")
    keep = [*lists, "depth", "width", "std", "value", "lo", "hi", "n", "critical", *shares]
    return Chart("sweep", "Which initial std trains", caption, long[keep], spec)


def per_layer(rows: pd.DataFrame) -> Chart:
    """E1: second moment and gradient norm per layer."""
    kept = []
    for _, part in rows.groupby(["source", "dataset"], sort=False):
        part = representative(part)
        stds = around(part["std"].unique(), critical_std(part.width.iloc[0]), STDS)
        kept.append(part[np.isclose(part["std"].to_numpy()[:, None], stds).any(axis=1)])
    found = pd.concat(kept)
    found = found.assign(std=found["std"].map("{:.3g}".format).astype(float))
    lists = {**DATA, "stat": "show"}
    colour, x, y = depth_colour("std", "initial std"), count("layer", "layer"), quantity("value", log=True)
    y["axis"]["format"] = "~e"
    hover = tooltip(found, {"std": "initial std", "layer": "layer", "width": "width", "value": "measured",
                            **INTERVAL, "predicted": "predicted"})
    law = dashed(x, {**y, "field": "predicted"}, colour)
    spec = asking(found, lists) | panels("depth", [law, *dots(x, y, colour, hover)], "depth (weight layers)",
                                         resolve={"x": "independent"})
    spec["transform"].append({"filter": "datum.value > 0"})
    caption = ("Points: measured in float64 at initialisation (grad norm end: after training). Dashed: "
               "predicted before training (gradient: of one sample). "
               f"{interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "depth", "width", "std", "layer", "value", "lo", "hi", "n", "predicted"]
    return Chart("layers", "Signal and gradient per layer", caption, found[keep], spec)


def edges(rows: pd.DataFrame) -> Chart:
    """E1: the band's edges as std and on the natural axis."""
    rows = rows.assign(predicted=rows.get("predicted", np.nan))
    long = pd.concat([rows.assign(show="initial std"), natural(rows).assign(show="natural axis a")])
    lists = {**DATA, "show": "axis"}
    colour = depth_colour("width", "width", long.width)
    x, y = count("depth", "depth (weight layers)"), quantity("std", log=True)
    beside = {"xOffset": {"field": "width", "type": "ordinal"}}
    hover = tooltip(long, {"edge": "edge", "depth": "depth", "width": "width", "std": "half of seeds train",
                           **INTERVAL, "predicted": "predicted", "centre": "centre a = 1, predicted",
                           "censored": "seeds beyond the grid"})
    predicted = {"mark": {"type": "tick", "thickness": 2, "size": 11},
                 "encoding": {"x": x, "y": {**y, "field": "centre"}, "color": {"value": INK}, **beside}}
    edge = {"mark": {"type": "point", "shape": "diamond", "filled": True, "size": 30},
            "encoding": {"x": x, "y": {**y, "field": "predicted"}, "color": {"value": "#D55E00"}, **beside}}
    found = dots(x, y, colour, hover, shape=category("edge", "edge"), **beside)
    spec = asking(long, lists) | panels("optimizer", [predicted, *found, edge])
    caption = ("Lower and upper edge of the band of stds that train: where half of the seeds do. If theory "
               "holds, edges of all widths lie at one height on the natural axis a = std × √(fan factor). "
               "Predicted: the centre a = 1 (tick) and, under SGD, each edge (diamond). "
               f"{interval_label(rows.n, 'Bar')}. {PICK}")
    numbers = ["std", "lo", "hi", "n", "censored", "centre", "predicted"]
    keep = [*lists, "optimizer", "depth", "width", "edge", *numbers]
    return Chart("collapse", "Do the edges collapse over widths?", caption, long[keep], spec, columns=2)
