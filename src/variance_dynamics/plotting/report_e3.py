"""The report's charts of E3."""

import numpy as np
import pandas as pd

from variance_dynamics.plotting.e3 import distinct_laws
from variance_dynamics.plotting.e3_motion import STATES, WAYS
from variance_dynamics.plotting.plot_rows import thinned
from variance_dynamics.plotting.style import INK, ROLES, categorical, interval_label
from variance_dynamics.plotting.vega import (
    INTERVAL,
    PICK,
    SOURCE,
    Chart,
    asking,
    category,
    choice,
    choices,
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
    tooltip,
)
from variance_dynamics.roles import BLOCK, QKV


def std_through_training(rows: pd.DataFrame) -> Chart:
    """E3: std of every matrix with the null law."""
    groups = {role: "Q, K, V" if role in QKV else "attention out, MLP" for role in BLOCK}
    rows = thinned(rows[rows.role.isin(BLOCK)], 32)
    parts = rows.groupby(["source", "arm", "role"], sort=False)
    found = pd.concat([part.assign(law=part.predicted.where(part.layer.isin(distinct_laws(part))))
                       for _, part in parts])
    found = found.assign(show=found.role.map(groups))
    lists = {**SOURCE, "arm": "arm", "show": "matrices"}
    colour, x = depth_colour("layer", "layer", rows.layer), quantity("step", "step")
    hover = tooltip(found, {"role": "matrix", "layer": "layer", "step": "step", "value": "std",
                            **INTERVAL, "predicted": "null law"})
    law = dashed(x, quantity("law"), detail=category("layer"))
    spec = {"params": choices(found, lists), "transform": chosen(lists)} | panels(
        "role", [*curves(x, quantity("value", "std"), colour, hover), law], order=BLOCK)
    caption = ("Std of the weights by layer. Dashed: null law, predicted before training. "
               f"{interval_label(rows.n, 'Band')}. {PICK}")
    keep = [*lists, "role", "layer", "step", "value", "lo", "hi", "n", "predicted", "law"]
    return Chart("std", "Std of the weight matrices through training", caption, found[keep], spec)


def injected(rows: pd.DataFrame) -> Chart:
    """E3: R, D and R/D per layer at a step that the reader chooses."""
    rows = thinned(rows[rows.role.isin(BLOCK)], 10)
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name, label in (("R", "R"), ("R_over_D", "R / D"), ("D", "D"))])
    lists = {**SOURCE, "arm": "arm", "show": "show"}
    roles = [role for role in BLOCK if role in set(rows.role)]
    colour = named_colour("role", "matrix", categorical(ROLES, roles))
    hover = tooltip(long, {"role": "matrix", "layer": "layer", "value": "value", **INTERVAL})
    params = [*choices(long, lists), choice("step", "step", sorted(rows.step.unique(), reverse=True))]
    layers = curves(count("layer", "layer"), quantity("value", zero=True), colour, hover, points=True)
    spec = {"params": params, "transform": chosen([*lists, "step"]), "height": 300,
            "layer": [level(1), level(0), *layers]}
    caption = ("R: injected variance over the null law's (1 is the law, 0 decay alone, negative shrinking "
               "against it). D: size and persistence of the updates as measured; R / D near 1: the law holds "
               f"once the real update size is put in. {interval_label(rows.n, 'Band')}. {PICK}")
    keep = [*lists, "step", "role", "layer", "value", "lo", "hi", "n"]
    return Chart("injected", "Injected variance: R, D and R / D", caption, long[keep], spec)


def histogram(rows: pd.DataFrame) -> Chart:
    """E3: one layer's weights through training."""
    rows = rows[rows.arm.isin(["gpt2", rows.arm.iloc[0]]) & (rows.density > 0)]
    rows = rows.assign(weight=(rows.left + rows.right) / 2)
    lists = {**SOURCE, "arm": "arm"}
    colour = depth_colour("step", "step", rows.step)
    hover = tooltip(rows, {"step": "step", "weight": "weight", "density": "density"})
    _, *lines = curves(quantity("weight", "weight"), quantity("density", "density", log=True), colour, hover)
    spec = asking(rows, lists) | panels("role", lines, order=QKV)
    caption = f"Q, K and V weights of layer {rows.layer.iloc[0]}, one seed, a line for each dump. {PICK}"
    keep = [*lists, "role", "step", "weight", "density"]
    return Chart("histogram", "The weights of one layer", caption, rows[keep], spec)


def losses(rows: pd.DataFrame) -> Chart:
    """E3: loss of every arm."""
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_loss"])], 60)
    lists = {**SOURCE, "stat": "show"}
    colour = named_colour("arm", "arm", categorical({}, rows.arm.unique()))
    hover = tooltip(rows, {"arm": "arm", "step": "step", "mean": "mean", **INTERVAL})
    layers = curves(quantity("step", "step"), quantity("mean", "loss (nats per token)"), colour, hover)
    spec = asking(rows, lists) | {"height": 300, "layer": layers}
    keep = [*lists, "arm", "step", "mean", "lo", "hi", "n"]
    return Chart("loss", "Loss of GPT-2", f"{interval_label(rows.n, 'Band')}. {PICK}", rows[keep], spec)


def residual(rows: pd.DataFrame) -> Chart:
    """E3: the residual stream's second moment."""
    rows = thinned(rows, 8)
    lists = {**SOURCE, "arm": "arm"}
    colour, x = depth_colour("step", "step", rows.step), count("layer", "after block (0: embeddings)")
    hover = tooltip(rows, {"step": "step", "layer": "after block", "value": "second moment", **INTERVAL})
    layers = curves(x, quantity("value", "second moment", log=True), colour, hover, points=True)
    spec = asking(rows, lists) | {"height": 300, "layer": layers}
    keep = [*lists, "step", "layer", "value", "lo", "hi", "n"]
    return Chart("residual", "Residual stream", f"{interval_label(rows.n, 'Band')}. {PICK}", rows[keep], spec)


def expansion(rows: pd.DataFrame) -> Chart:
    """E3: shallow minus deep growth by horizon."""
    rows = rows.assign(share=rows.horizon.map("{:.0%}".format),
                       show=np.where(rows.without_first, "without layer 1", "all shallow layers"))
    lists = {**SOURCE, "arm": "arm"}
    order = [f"{share:.0%}" for share in sorted(rows.horizon.unique())]
    colour = named_colour("role", "matrix", categorical({"qkv": INK, **ROLES}, ["qkv", *QKV]))
    x = category("share", "share of the steps", sort=order, axis={"labelAngle": 0})
    hover = tooltip(rows, {"role": "matrix", "share": "at", "effect": "shallow − deep", **INTERVAL})
    layers = [level(0), *dots(x, quantity("effect", "ln(std / initial std)", zero=True), colour, hover,
                              xOffset=category("role"))]
    spec = asking(rows, lists) | panels("show", layers)
    caption = ("Growth of the first layers minus that of the last, ln(std / initial std). Above 0 shallow "
               f"ones expand more. {interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "show", "share", "role", "effect", "lo", "hi", "n"]
    return Chart("expansion", "Do shallow layers expand first?", caption, rows[keep], spec, columns=2)


def states(rows: pd.DataFrame) -> Chart:
    """E3: what each matrix does in the end."""
    rows = rows[rows.role.isin(BLOCK)]
    lists = {**SOURCE, "arm": "arm"}
    hover = tooltip(rows, {"role": "matrix", "layer": "layer", "state": "state",
                           "slope": "d ln std / d ln step", "decay": "of decay alone",
                           "noise": "of the law's noise alone", "n": "seeds"})
    tiles = {"mark": {"type": "rect", "stroke": "white", "strokeWidth": 2},
             "encoding": {"x": count("layer", "layer"), "y": category("role", sort=list(BLOCK)),
                          "color": named_colour("state", "state", STATES), "tooltip": hover}}
    spec = asking(rows, lists) | {"height": 180, "layer": [tiles]}
    caption = ("In the last quarter of the steps. Drifting: it moves. Frozen: neither decay nor noise would "
               "move it at this lr. Equilibrium: updates balance decay. Quiet: they put in less than noise.")
    keep = [*lists, "role", "layer", "state", "slope", "decay", "noise", "n"]
    return Chart("states", "Frozen, in equilibrium, or drifting", caption, rows[keep], spec)


def forecast_errors(rows: pd.DataFrame) -> Chart:
    """E3: error of the final std, told in advance."""
    long = pd.concat([rows.assign(way=label, value=rows[f"error_{way}"], lo=rows[f"error_{way}_lo"],
                                  hi=rows[f"error_{way}_hi"]) for way, label in WAYS.items()])
    lists = {**SOURCE, "roles": "matrices"}
    colour = named_colour("way", "told by", categorical({}, WAYS.values()))
    hover = tooltip(long, {"arm": "arm", "way": "told by", "value": "mean |ln error|", **INTERVAL})
    x = category("arm", "arm", axis={"labelAngle": -30})
    layers = dots(x, quantity("value", "mean |ln error|", zero=True), colour, hover,
                  xOffset=category("way", sort=list(WAYS.values())))
    spec = asking(long, lists) | {"height": 240, "layer": layers}
    caption = f"Mean over matrices of |ln(told std / final std)|. {interval_label(rows.n, 'Bar')}. {PICK}"
    keep = [*lists, "arm", "way", "value", "lo", "hi", "n"]
    return Chart("forecast", "The final std, told in advance", caption, long[keep], spec)


def convergence(rows: pd.DataFrame) -> Chart:
    """E3: how fast the initial std is forgotten."""
    rows = thinned(rows[rows.role.isin(BLOCK)], 32)
    rows = rows.assign(pair=rows.arm + " and " + rows.other)
    lists = {**SOURCE, "role": "matrix"}
    colour, x = named_colour("pair", "arms", categorical({}, rows.pair.unique())), quantity("step", "step")
    hover = tooltip(rows, {"pair": "arms", "step": "step", "left": "share left", **INTERVAL,
                           "predicted": "null law"})
    law = dashed(x, quantity("predicted", zero=True), detail=category("pair"))
    layers = [*curves(x, quantity("left", "share left of the variance gap", zero=True), colour, hover), law]
    spec = asking(rows, lists) | {"height": 260, "layer": layers}
    caption = ("Arms that differ in the initial std alone. Dashed: null law, predicted before training. "
               f"{interval_label(rows.n, 'Band')}. {PICK}")
    keep = [*lists, "pair", "step", "left", "lo", "hi", "n", "predicted"]
    return Chart("convergence", "How fast the initial std is forgotten", caption, rows[keep], spec)
