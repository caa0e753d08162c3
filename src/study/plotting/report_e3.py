"""The report's charts of E3."""

import pandas as pd

from study.plotting.e3 import distinct_laws
from study.plotting.e3_injected import CAUSES, FACTORS, NOISE
from study.plotting.params import Settings
from study.plotting.plot_rows import thinned
from study.plotting.style import ROLES, categorical, interval_label
from study.plotting.vega import (
    INTERVAL,
    SOURCE,
    Chart,
    Spec,
    asking,
    category,
    choice,
    chosen,
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
from variance_dynamics.weights.parameter import BLOCK, QKV


def std_through_training(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: std of every matrix with the null law."""
    groups = {role: "Q, K, V" if role in QKV else "attention out, MLP" for role in BLOCK}
    rows = thinned(rows[rows.role.isin(BLOCK)], 32)
    rows = rows.sort_values("role", key=lambda roles: roles.map(BLOCK.index), kind="stable")
    parts = rows.groupby(["source", "arm", "role"], sort=False)
    found = pd.concat([part.assign(law=part.predicted.where(part.layer.isin(distinct_laws(part))))
                       for _, part in parts])
    found = found.assign(show=found.role.map(groups))
    lists = {**SOURCE, "arm": "arm", "show": "matrices"}
    colour, x = depth_colour("layer", "layer", rows.layer), quantity("step", "step")
    hover = tooltip(found, {"role": "matrix", "layer": "layer", "step": "step", "value": "std",
                            **INTERVAL, "predicted": "null law"})
    law = dashed(x, quantity("law"), detail=category("layer"))
    layers = [*curves(x, quantity("value", "std"), colour, hover, faint=0.06), law]
    spec = asking(found, lists) | panels("role", layers, order=BLOCK)
    caption = ("Std of the weights by layer. Dashed: null law, predicted before training. "
               f"{interval_label(rows.n, settings, 'Band')}.")
    keep = [*lists, "role", "layer", "step", "value", "lo", "hi", "n", "predicted", "law"]
    return Chart("std", "Std of the weight matrices through training", caption, told(found[keep]), spec)


def role_colour(rows: pd.DataFrame) -> Spec:
    """The colours of the matrices that occur."""
    found = [role for role in BLOCK if role in set(rows.role)]
    return named_colour("role", "matrix", categorical(ROLES, found))


def injected(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: R, D and R/D per layer at a step that the reader chooses."""
    rows = thinned(rows[rows.role.isin(BLOCK)], 10)
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name, label in (("R", "R"), ("R_over_D", "R / D"), ("D", "D"))])
    lists = {**SOURCE, "arm": "arm", "show": "show"}
    colour = role_colour(rows)
    hover = tooltip(long, {"role": "matrix", "layer": "layer", "value": "value", **INTERVAL})
    layers = curves(count("layer", "layer"), quantity("value", zero=True), colour, hover, points=True,
                    faint=0.1)
    spec = asking(long, lists) | {"height": 300, "layer": [level(1), level(0), *layers]}
    first = rows[(rows.source == rows.source.iloc[0]) & (rows.arm == rows.arm.iloc[0])]
    last = first.step.max()  # of what is shown at first: runs differ in length
    spec["params"].append(choice("step", "step", sorted(rows.step.unique(), reverse=True), last))
    spec["transform"] += chosen(["step"])
    caption = ("R: injected variance over the null law's (1 is the law, 0 decay alone, negative shrinking "
               "against it). D: size and persistence of the updates as measured; R / D near 1: the law holds "
               "once the real update size is put in. Early on momentum alone keeps R of white noise away "
               "from 1, below it under a warmup. "
               f"{interval_label(rows.n, settings, 'Band')}.")
    keep = [*lists, "step", "role", "layer", "value", "lo", "hi", "n"]
    return Chart("injected", "Injected variance: R, D and R / D", caption, told(long[keep]), spec)


def histogram(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: one layer's weights through training."""
    rows = rows[rows.arm.isin([settings.analyze.e3.arm, rows.arm.iloc[0]]) & (rows.density > 0)]
    rows = rows.assign(weight=(rows.left + rows.right) / 2)
    lists = {**SOURCE, "arm": "arm"}
    colour = depth_colour("step", "step", rows.step)
    hover = tooltip(rows, {"step": "step", "weight": "weight", "density": "density"})
    _, *lines = curves(quantity("weight", "weight"), quantity("density", "density", log=True), colour, hover)
    spec = asking(rows, lists) | panels("role", lines, order=QKV)
    caption = f"Q, K and V weights of layer {rows.layer.iloc[0]}, one seed, a line for each dump."
    keep = [*lists, "role", "step", "weight", "density"]
    return Chart("histogram", "The weights of one layer", caption, told(rows[keep]), spec)


def losses(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: loss of every arm."""
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_loss"])], 60)
    lists = {**SOURCE, "stat": "show"}
    colour = named_colour("arm", "arm", categorical({}, rows.arm.unique()))
    hover = tooltip(rows, {"arm": "arm", "step": "step", "mean": "mean", **INTERVAL})
    layers = curves(quantity("step", "step"), quantity("mean", "loss (nats per token)"), colour, hover)
    spec = asking(rows, lists) | {"height": 300, "layer": layers}
    keep = [*lists, "arm", "step", "mean", "lo", "hi", "n"]
    caption = f"Mean over seeds. {interval_label(rows.n, settings, 'Band')}."
    return Chart("loss", "Loss of GPT-2", caption, told(rows[keep]), spec)


def residual(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: the residual stream's second moment."""
    rows = thinned(rows, 8)
    lists = {**SOURCE, "arm": "arm"}
    colour, x = depth_colour("step", "step", rows.step), count("layer", "after block (0: embeddings)")
    hover = tooltip(rows, {"step": "step", "layer": "after block", "value": "second moment", **INTERVAL})
    layers = curves(x, quantity("value", "second moment", log=True), colour, hover, points=True)
    spec = asking(rows, lists) | {"height": 300, "layer": layers}
    keep = [*lists, "step", "layer", "value", "lo", "hi", "n"]
    caption = f"Second moment after each block. {interval_label(rows.n, settings, 'Band')}."
    return Chart("residual", "Residual stream", caption, told(rows[keep]), spec)


def mechanism(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: what R and D are made of."""
    rows = rows[rows.role.isin(BLOCK) & (rows.horizon == rows.horizon.max())]
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"],
                                  noise=NOISE[name]) for name, label in FACTORS.items()])
    lists = {**SOURCE, "arm": "arm", "show": "show"}
    colour = role_colour(rows)
    hover = tooltip(long, {"role": "matrix", "layer": "layer", "value": "value", **INTERVAL,
                           "noise": "of white gaussian gradients"})
    x = count("layer", "layer")
    white = dashed(x, quantity("noise", zero=True))
    layers = curves(x, quantity("value", zero=True), colour, hover, points=True, faint=0.1)
    spec = asking(long, lists) | {"height": 260, "layer": [white, *layers]}
    caption = ("At the last step. R = D × persistence + along, D = c² × memory, all by their values for "
               "white gradients (dashed). c²: the mean square of one update. Memory: agreement of successive "
               "updates beyond that of momentum. Persistence: agreement over more than a window. Along: "
               f"agreement with the initial weights. {interval_label(rows.n, settings, 'Band')}.")
    keep = [*lists, "role", "layer", "value", "lo", "hi", "n", "noise"]
    return Chart("mechanism", "What the injected variance is made of", caption, told(long[keep]), spec)


def causes(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: what goes with D and R over the matrices of a run."""
    rows = rows.assign(cause=[CAUSES.get(name, name) for name in rows.cause])
    colour = named_colour("arm", "arm", categorical({}, rows.arm.unique()))
    hover = tooltip(rows, {"cause": "of", "arm": "arm", "value": "mean", **INTERVAL})
    x = quantity("value", "share, or rank correlation", zero=True)
    y = category("cause", sort=list(CAUSES.values()), axis={"labelLimit": 220})
    layers = [level(0, "x"), *dots(x, y, colour, hover, along="x", yOffset=category("arm"))]
    step = 14 + 6 * rows.arm.nunique()
    spec = asking(rows, SOURCE) | {"height": {"step": step, "for": "position"}, "layer": layers}
    caption = ("Exploratory, over the matrices of the blocks: parts of the variance of ln D, and rank "
               f"correlations. {interval_label(rows.n, settings, 'Bar')}.")
    return Chart("causes", "What goes with the size of the updates", caption, told(rows), spec)
