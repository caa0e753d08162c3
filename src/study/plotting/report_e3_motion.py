"""The report's charts of E3: where the matrices move to, and how well that is told in advance."""

import numpy as np
import pandas as pd

from study.plotting.e3_motion import STATES, WAYS, first_steps, last_steps, shallow
from study.plotting.params import Settings
from study.plotting.plot_rows import thinned
from study.plotting.report_e3 import role_colour
from study.plotting.style import INK, ROLES, categorical, interval_label, seeds, word
from study.plotting.vega import (
    INTERVAL,
    SOURCE,
    Chart,
    Spec,
    asking,
    category,
    count,
    curves,
    dashed,
    dots,
    level,
    named_colour,
    panels,
    quantity,
    told,
    tooltip,
)
from variance_dynamics.weights.parameter import BLOCK, QKV


def arms_of(rows: pd.DataFrame) -> Spec:
    """An axis of arms, in their order."""
    return category("arm", sort=list(rows.arm.unique()))


def expansion(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: shallow minus deep growth by horizon."""
    rows = rows.assign(share=rows.horizon.map("{:.0%}".format),
                       show=[shallow(settings, first) for first in rows.without_first])
    lists = {**SOURCE, "arm": "arm"}
    order = [f"{share:.0%}" for share in sorted(rows.horizon.unique())]
    colour = named_colour("role", "matrix", categorical({"qkv": INK, **ROLES}, ["qkv", *QKV]))
    x = category("share", "share of the steps", sort=order, axis={"labelAngle": 0})
    hover = tooltip(rows, {"role": "matrix", "share": "at", "effect": "shallow − deep", **INTERVAL})
    layers = [level(0), *dots(x, quantity("effect", "ln(std / initial std)", zero=True), colour, hover,
                              xOffset=category("role"))]
    spec = asking(rows, lists) | panels("show", layers)
    caption = ("Growth of the first layers minus that of the last, ln(std / initial std). Above 0 shallow "
               f"ones expand more. {interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "show", "share", "role", "effect", "lo", "hi", "n"]
    return Chart("expansion", "Do shallow layers expand first?", caption, told(rows[keep]), spec, columns=2)


def states(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: what each matrix does in the end."""
    rows = rows[rows.role.isin(BLOCK)]
    lists = {**SOURCE, "arm": "arm"}
    hover = tooltip(rows, {"role": "matrix", "layer": "layer", "state": "state",
                           "slope": "d ln std / d ln step", "decay": "of decay alone",
                           "noise": "of the law's noise alone", "n": "seeds",
                           "agree": "share of seeds that do so"})
    place: Spec = {"x": count("layer", "layer"), "y": category("role", sort=[word(role) for role in BLOCK]),
                   "tooltip": hover}
    tiles = {"mark": {"type": "rect", "stroke": "white", "strokeWidth": 2},
             "encoding": {**place, "color": named_colour("state", "state", STATES)}}
    differ = {"transform": [{"filter": "datum.agree < 1"}],
              "mark": {"type": "point", "filled": True, "size": 18, "color": INK, "opacity": 1},
              "encoding": place}
    spec = asking(rows, lists, legend=False) | {"height": 180, "layer": [tiles, differ]}
    caption = (f"In {last_steps(settings)}. Drifting: it moves. Frozen: neither decay nor noise would "
               "move it at this lr. Equilibrium: updates balance decay. Quiet: they put in less than noise. "
               f"Of the mean over {seeds(rows.n)}; a dot where not all of them do so.")
    keep = [*lists, "role", "layer", "state", "slope", "decay", "noise", "n", "agree"]
    return Chart("states", "Frozen, in equilibrium, or drifting", caption, told(rows[keep]), spec)


def forecast_errors(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: error of the final std, told in advance."""
    long = pd.concat([rows.assign(way=label, value=rows[f"error_{way}"], lo=rows[f"error_{way}_lo"],
                                  hi=rows[f"error_{way}_hi"]) for way, label in WAYS.items()])
    lists = {**SOURCE, "roles": "matrices"}
    colour = named_colour("way", "told by", categorical({}, WAYS.values()))
    hover = tooltip(long, {"arm": "arm", "way": "told by", "value": "mean |ln error|", **INTERVAL})
    x, ways = quantity("value", "mean |ln(told std / final std)|", zero=True), list(WAYS.values())
    layers = dots(x, arms_of(rows), colour, hover, along="x", yOffset=category("way", sort=ways))
    spec = asking(long, lists) | {"height": {"step": 14}, "layer": layers}
    caption = ("Mean over matrices of the error in ln std at the last step. "
               f"{WAYS['forecast'].capitalize()}: of what the updates of {first_steps(settings)} put in. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "arm", "way", "value", "lo", "hi", "n"]
    return Chart("forecast", "The final std, told in advance", caption, told(long[keep]), spec)


def convergence(rows: pd.DataFrame, settings: Settings) -> Chart:
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
               f"{interval_label(rows.n, settings, 'Band')}.")
    keep = [*lists, "pair", "step", "left", "lo", "hi", "n", "predicted"]
    return Chart("convergence", "How fast the initial std is forgotten", caption, told(rows[keep]), spec)


def bands(rows: pd.DataFrame, settings: Settings) -> Chart:
    """E3: how narrow the std of each role's layers ends."""
    rules = settings.analyze.e3
    names = {"slope": "motion at the end", "spread": "spread over layers"}
    limits = {"slope": rules.narrow_slope, "spread": rules.narrow_spread}
    parts = [rows.assign(show=names[name], value=rows[name] / limit, lo=rows[f"{name}_lo"] / limit,
                         hi=rows[f"{name}_hi"] / limit, raw=rows[name]) for name, limit in limits.items()]
    long = pd.concat(parts)
    long = long.assign(lo=np.maximum(long.lo, long.value / 30))
    colour = role_colour(rows)
    hover = tooltip(long, {"arm": "arm", "role": "matrix", "raw": "value", "value": "in units of the limit",
                           **INTERVAL, "width": "ln(largest / smallest std)", "growth": "mean growth"})
    x = quantity("value", "in units of the claim's limit", log=True)
    order = [word(role) for role in BLOCK]
    layers = [level(1, "x"), *dots(x, arms_of(rows), colour, hover, along="x",
                                   yOffset=category("role", sort=order))]
    spec = asking(long, SOURCE) | panels("show", layers)
    spec["spec"]["height"] = {"step": 9}
    caption = (f"Motion: |d ln std / d ln step| in {last_steps(settings)}. Spread: SD over layers of "
               "ln(std / initial std) by the size of its mean. Both in units of the claim's limit: narrow is "
               "left of 1; where the lr decays, a std may lie there because it is frozen. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = ["source", "show", "arm", "role", "value", "lo", "hi", "n", "raw", "width", "growth"]
    title = "Does the std settle into narrow bands?"
    return Chart("bands", title, caption, told(long[keep]), spec, columns=2)
