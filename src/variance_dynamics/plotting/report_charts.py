"""The report's interactive figures: a table of all sources -> a Vega-Lite chart. A new one is one entry."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from variance_dynamics.plotting.e1 import around, representative
from variance_dynamics.plotting.e3 import distinct_laws
from variance_dynamics.plotting.plot_rows import thinned
from variance_dynamics.plotting.style import INK, ROLES, SCHEMES, categorical, interval_label
from variance_dynamics.plotting.vega import (
    DASHED,
    Chart,
    Spec,
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
    legend_pick,
    level,
    named_colour,
    panels,
    quantity,
    tooltip,
)
from variance_dynamics.roles import BLOCK, QKV
from variance_dynamics.theory.propagation import critical_std

SOURCE = {"source": "run"}
DATA = {**SOURCE, "dataset": "data"}
INTERVAL = {"lo": "from", "hi": "to", "n": "seeds"}
PICK = "Click an entry of the legend to single it out, shift-click for more."
ENDS = ["std", "lo", "hi", "predicted"]
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
    caption = ("Points: measured in float64 at initialisation (grad_norm_end: after training); dashed: "
               f"predicted before training. {interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "depth", "width", "std", "layer", "value", "lo", "hi", "n", "predicted"]
    return Chart("layers", "Signal and gradient per layer", caption, found[keep], spec)


def edges(rows: pd.DataFrame) -> Chart:
    """E1: the band's edges as std and on the natural axis."""
    factor = rows.axis / rows["std"]
    natural = rows.assign(axis="natural axis a", **{name: rows[name] * factor for name in ENDS})
    long = pd.concat([rows.assign(axis="initial std"), natural])
    lists = {**DATA, "axis": "axis"}
    colour = depth_colour("width", "width", long.width)
    x, y = count("depth", "depth (weight layers)"), quantity("std", log=True)
    beside = {"xOffset": {"field": "width", "type": "ordinal"}}
    hover = tooltip(long, {"edge": "edge", "depth": "depth", "width": "width", "std": "half of seeds train",
                           **INTERVAL, "predicted": "predicted", "censored": "seeds beyond the grid"})
    predicted = {"mark": {"type": "tick", "thickness": 2, "size": 11},
                 "encoding": {"x": x, "y": {**y, "field": "predicted"}, "color": {"value": INK}, **beside}}
    found = dots(x, y, colour, hover, shape=category("edge", "edge"), **beside)
    spec = asking(long, lists) | panels("optimizer", [predicted, *found])
    caption = ("Lower and upper edge of the band of stds that train: where half of the seeds do. If theory "
               "holds, edges of all widths lie at one height on the natural axis a = std × √(fan factor). "
               f"Black ticks: predicted. {interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "optimizer", "depth", "width", "edge", *ENDS, "n", "censored"]
    return Chart("collapse", "Do the edges collapse over widths?", caption, long[keep], spec, columns=2)


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
                           **INTERVAL, "excluded": "left out: both censored"})
    spec = asking(rows, lists) | panels(
        "dataset", [level(0), *dots(x, quantity("effect", zero=True), colour, hover, **beside)])
    caption = ("Kaiming minus Xavier, paired by seed; ln steps ratio below 0: Kaiming is faster. "
               f"{interval_label(rows.n, 'Bar')}. {PICK}")
    keep = [*lists, "dataset", "optimizer", "depth", "effect", "lo", "hi", "n", "excluded"]
    return Chart("gap", "The gap between Kaiming and Xavier", caption, rows[keep], spec)


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
    rows = thinned(rows, 10)
    long = pd.concat([rows.assign(show=label, value=rows[name], lo=rows.get(f"{name}_lo", np.nan),
                                  hi=rows.get(f"{name}_hi", np.nan))
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


CHARTS: dict[str, Callable[[pd.DataFrame], Chart]] = {  # by the table that is drawn
    "e1_loss": sweep,
    "e1_layers": per_layer,
    "e1_edges": edges,
    "e2_curves": scheme_curves,
    "e2_threshold": threshold,
    "e2_gap": gap,
    "e3_std": std_through_training,
    "e3_ratio": injected,
    "e3_hist": histogram,
    "e3_loss": losses,
    "e3_acts": residual,
}
