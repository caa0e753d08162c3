"""The report's charts of E2."""

import numpy as np
import pandas as pd

from study.plotting import e2
from study.plotting.params import Settings
from study.plotting.plot_rows import thinned
from study.plotting.report_e1 import layers_at_init
from study.plotting.style import INK, SCHEMES, categorical, interval_label
from study.plotting.vega import (
    DATA,
    INTERVAL,
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
    told,
    tooltip,
)


def scheme_curves(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E2: curves of every scheme."""
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_accuracy"])], 30)
    lists = {**DATA, "optimizer": "optimizer", "lr_kind": "learning rate", "stat": "show"}
    colour = named_colour("scheme", "scheme", categorical(SCHEMES, rows.scheme.unique()))
    hover = tooltip(rows, {"scheme": "scheme", "step": "step", "mean": "mean", **INTERVAL,
                           "lr": "learning rate"})
    layers = curves(quantity("step", "step"), quantity("mean", zero=True), colour, hover)
    spec = asking(rows, lists) | panels("depth", layers, "depth (weight layers)")
    caption = f"Smoothed training loss, or validation accuracy. {interval_label(rows.n, settings, 'Band')}."
    keep = [*lists, "depth", "scheme", "lr", "step", "mean", "lo", "hi", "n"]
    return Chart("schemes", "Schemes through training", caption, told(rows[keep]), spec)


def threshold(rows: pd.DataFrame, settings: Settings) -> Chart:
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
    caption = (f"Steps until the smoothed training loss is below {e2.threshold(settings)}; a seed that "
               f"never got there counts at the budget. {interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "optimizer", "depth", "scheme", "lr", "steps", "lo", "hi", "n", "censored", "reached"]
    return Chart("threshold", "Time to threshold", caption, told(rows[keep]), spec)


def gap(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E2: Kaiming minus Xavier against depth."""
    rows = e2.bounded(rows).assign(show=rows.measure + " (lr: " + rows.lr_kind + ")")
    rows = pd.concat([_footed(part) for _, part in rows.groupby(["source", "show"], sort=False)])
    lists = {**SOURCE, "show": "show"}
    colour = named_colour("optimizer", "optimizer", categorical({}, rows.optimizer.unique()))
    x = count("depth", "depth (weight layers)")
    beside: Spec = {"xOffset": category("optimizer", sort=colour["scale"]["domain"])}
    y = quantity("effect", zero=True)
    hover = tooltip(rows, {"optimizer": "optimizer", "depth": "depth", "effect": "Kaiming − Xavier",
                           **INTERVAL, "bound": "the gap is", "predicted": "predicted"})
    place = {"x": x, "color": {"value": INK}, **beside}
    ticks = {"transform": [{"filter": "isValid(datum.tick)"}],
             "mark": {"type": "tick", "thickness": 2, "size": 14},
             "encoding": {**place, "y": {**y, "field": "tick"}}}
    below = {"transform": [{"filter": "isValid(datum.foot)"}],
             "mark": {"type": "text", "fontSize": 9, "baseline": "bottom"},
             "encoding": {"x": x, "y": {**y, "field": "foot"}, "text": {"field": "told"},
                          "color": {"value": INK}}}
    shape = category("bound", "the gap is", scale={"domain": list(e2.BOUNDS), "range": [
        "circle", "triangle-down", "triangle-up", "cross"]})
    layers = [level(0), *dots(x, y, colour, hover, shape=shape, **beside), ticks, below]
    spec = asking(rows, lists) | panels("dataset", layers)
    caption = ("Kaiming minus Xavier, paired by seed; ln steps ratio below 0: Kaiming is faster. Black "
               "ticks: predicted from the first gradient, under SGD at a shared lr (↓ with its number: far "
               "below). Triangles: more of Xavier's seeds (at most), or of Kaiming's (at least), ran out of "
               "steps. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "dataset", "optimizer", "depth", "effect", "lo", "hi", "n", "bound", "predicted", "tick",
            "foot", "told"]
    return Chart("gap", "The gap between Kaiming and Xavier", caption, told(rows[keep]), spec)


def _footed(rows: pd.DataFrame) -> pd.DataFrame:
    """`tick`: a prediction that the panel holds; `foot` and `told`: one far below it, and its number."""
    lowest, far = e2.floor(rows), e2.far_below(rows)
    numbers = far.told.astype(object).reindex(rows.index).fillna("")
    return rows.assign(tick=rows.predicted.where(rows.predicted >= lowest), told=numbers,
                       foot=np.where(numbers != "", lowest, np.nan))


def contrasts(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E2: every scheme against Kaiming."""
    more = (rows.measure == "ln_steps_ratio") & (rows.censored_scheme > rows.censored_versus)
    rows = rows.assign(show=rows.measure + " (lr: " + rows.lr_kind + ")",
                       bound=np.where(more, e2.AT_LEAST, e2.REACHED))
    lists = {**DATA, "show": "show"}
    colour = named_colour("scheme", "scheme", categorical(SCHEMES, rows.scheme.unique()))
    x = count("depth", "depth (weight layers)")
    beside: Spec = {"xOffset": category("scheme")}
    hover = tooltip(rows, {"scheme": "scheme", "depth": "depth", "effect": "scheme − Kaiming", **INTERVAL,
                           "censored_scheme": "its seeds that never got there", "p": "p (not corrected)"})
    shape = category("bound", "the gap is", scale={"domain": [e2.REACHED, e2.AT_LEAST],
                                                   "range": ["circle", "triangle-up"]})
    layers = [level(0), *dots(x, quantity("effect", zero=True), colour, hover, shape=shape, **beside)]
    spec = asking(rows, lists) | panels("optimizer", layers)
    caption = ("Exploratory. Each scheme minus Kaiming, paired by seed; ln steps ratio above 0: slower than "
               "Kaiming (triangle: some of its seeds ran out of steps). "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    numbers = ["effect", "lo", "hi", "n", "p", "censored_scheme", "bound"]
    keep = [*lists, "optimizer", "depth", "scheme", *numbers]
    return Chart("contrasts", "Every scheme against Kaiming", caption, told(rows[keep]), spec)


def scheme_layers(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E2: second moment and gradient norm per layer of every scheme."""
    rows = rows[rows.optimizer == rows.optimizer.iloc[0]]  # at initialisation it makes no difference
    colour = named_colour("scheme", "scheme", categorical(SCHEMES, rows.scheme.unique()))
    rows = rows[rows.stat != "grad_norm_end"].drop(columns="width", errors="ignore")
    return layers_at_init("scheme_layers", "Signal and gradient of each scheme", rows, ("scheme", colour),
                          settings)


def learning_rates(rows: pd.DataFrame, settings: Settings) -> Chart:
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
    caption = f"Final validation loss, or share of seeds. {interval_label(rows.n, settings, 'Band')}."
    keep = [*lists, "depth", "scheme", "lr", "value", "lo", "hi", "n", "best"]
    return Chart("rates", "Which learning rates train", caption, told(long[keep]), spec)
