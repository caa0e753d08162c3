"""The report's charts of E2."""

import numpy as np
import pandas as pd

from variance_dynamics.plotting.plot_rows import thinned
from variance_dynamics.plotting.style import INK, SCHEMES, categorical, interval_label
from variance_dynamics.plotting.vega import (
    DATA,
    INTERVAL,
    PICK,
    SOURCE,
    Chart,
    Spec,
    asking,
    category,
    count,
    curves,
    depth_colour,
    dots,
    legend_pick,
    level,
    named_colour,
    panels,
    quantity,
    tooltip,
)


def scheme_curves(rows: pd.DataFrame) -> Chart:
    """E2: curves of every scheme."""
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_accuracy"])], 30)
    lists = {**DATA, "optimizer": "optimizer", "lr_kind": "learning rate", "stat": "show"}
    colour = named_colour("scheme", "scheme", categorical(SCHEMES, rows.scheme.unique()))
    hover = tooltip(rows, {"scheme": "scheme", "step": "step", "mean": "mean", **INTERVAL,
                           "lr": "learning rate"})
    layers = curves(quantity("step", "step"), quantity("mean", zero=True), colour, hover)
    spec = asking(rows, lists) | panels("depth", layers, "depth (weight layers)")
    caption = f"Smoothed training loss or validation accuracy. {interval_label(rows.n, 'Band')}. {PICK}"
    keep = [*lists, "depth", "scheme", "lr", "step", "mean", "lo", "hi", "n"]
    return Chart("schemes", "Schemes through training", caption, rows[keep], spec)


def threshold(rows: pd.DataFrame) -> Chart:
    """E2: steps to the threshold."""
    rows = rows.assign(reached=np.where(rows.censored > 0, "not all seeds", "all seeds"))
    lists = {**DATA, "lr_kind": "learning rate"}
    colour, x = depth_colour("depth", "depth", rows.depth), quantity("steps", "steps", log=True)
    place = {"y": category("scheme"), "yOffset": {"field": "depth", "type": "ordinal"}, "color": colour}
    hover = tooltip(rows, {"scheme": "scheme", "depth": "depth", "steps": "steps", **INTERVAL,
                           "censored": "seeds that never got there", "lr": "learning rate"})
    layers: list[Spec] = [
        {"mark": {"type": "rule", "strokeWidth": 1.8},
         "encoding": {**place, "x": {**x, "field": "lo"}, "x2": {"field": "hi"}}},
        {"params": [legend_pick("depth")], "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": {**place, "x": x, "shape": category("reached", "reached by"), "tooltip": hover}},
    ]
    spec = asking(rows, lists) | panels("optimizer", layers)
    spec["spec"] |= {"height": {"step": 11}}
    caption = ("Steps until the smoothed training loss is below the threshold; a seed that never got there "
               f"counts at the budget. {interval_label(rows.n, 'Bar')}.")
    keep = [*lists, "optimizer", "depth", "scheme", "lr", "steps", "lo", "hi", "n", "censored", "reached"]
    return Chart("threshold", "Time to threshold", caption, rows[keep], spec)


def gap(rows: pd.DataFrame) -> Chart:
    """E2: Kaiming minus Xavier against depth."""
    rows = rows.assign(show=rows.measure + " (lr: " + rows.lr_kind + ")")
    lists = {**SOURCE, "show": "show"}
    colour = named_colour("optimizer", "optimizer", categorical({}, rows.optimizer.unique()))
    x, beside = count("depth", "depth (weight layers)"), {"xOffset": category("optimizer")}
    hover = tooltip(rows, {"optimizer": "optimizer", "depth": "depth", "effect": "Kaiming − Xavier",
                           **INTERVAL, "predicted": "predicted", "excluded": "left out: both censored"})
    ticks = {"mark": {"type": "tick", "thickness": 2, "size": 14},
             "encoding": {"x": x, "y": quantity("predicted", zero=True), "color": {"value": INK}, **beside}}
    layers = [level(0), *dots(x, quantity("effect", zero=True), colour, hover, **beside), ticks]
    spec = asking(rows, lists) | panels("dataset", layers)
    caption = ("Kaiming minus Xavier, paired by seed; ln steps ratio below 0: Kaiming is faster. Black "
               "ticks: predicted from the first gradient, under SGD. "
               f"{interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "dataset", "optimizer", "depth", "effect", "lo", "hi", "n", "excluded", "predicted"]
    return Chart("gap", "The gap between Kaiming and Xavier", caption, rows[keep], spec)


def learning_rates(rows: pd.DataFrame) -> Chart:
    """E2: what each learning rate does."""
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name, label in (("val_loss", "validation loss"),
                                          ("share_trains", "share of seeds that train"))])
    lists = {**DATA, "optimizer": "optimizer", "show": "show"}
    colour = named_colour("scheme", "scheme", categorical(SCHEMES, rows.scheme.unique()))
    hover = tooltip(long, {"scheme": "scheme", "lr": "learning rate", "value": "mean", **INTERVAL,
                           "best": "best, chosen on validation"})
    x = quantity("lr", "learning rate", log=True)
    layers = curves(x, quantity("value", zero=True), colour, hover, points=True)
    spec = asking(long, lists) | panels("depth", layers, "depth (weight layers)")
    caption = f"Final validation loss, or share of seeds. {interval_label(rows.n, 'Band')}. {PICK}"
    keep = [*lists, "depth", "scheme", "lr", "value", "lo", "hi", "n", "best"]
    return Chart("rates", "Which learning rates train", caption, long[keep], spec)
