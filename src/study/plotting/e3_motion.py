"""E3: where the matrices move to, how well that is known in advance, and how fast init is forgotten."""

import numpy as np
import pandas as pd

from study.plotting.e3 import arm_axis, in_block_order
from study.plotting.grammar import (
    INK,
    INTERVAL,
    NAMED,
    Chart,
    Picture,
    Spec,
    category,
    count,
    curves,
    dashed,
    dots,
    interval_label,
    level,
    long_form,
    named_colour,
    quantity,
    seeds,
    thinned,
    tooltip,
    word,
)
from study.plotting.params import Settings
from variance_dynamics.weights.parameter import BLOCK, QKV

STATES = {"drifting": "#D55E00", "equilibrium": "#009E73", "quiet": "#56B4E9", "frozen": "#D9D9D9",
          "unknown": "#FFFFFF"}
WAYS = {"error_no_change": "no change", "error_law": "null law (R = 1)",
        "error_pilot": "law with a pilot's R", "error_floor": "other seeds of the arm"}


def last_steps(settings: Settings) -> str:
    """The part of a run that counts as its end, in words."""
    return f"the last {settings.analyze.e3.last_share:.0%} of the steps"


def role_colour(rows: pd.DataFrame) -> Spec:
    """The colours of the matrices that occur, in the order of a block."""
    return named_colour(in_block_order(rows), "role", "matrix")


def expansion(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Growth of shallow minus deep layers by horizon, with and without layer 1."""
    most, order = settings.analyze.e3.shallow_layers, sorted(rows.horizon.unique())
    groups = [f"layers {1 + first}–{most} against the last {most}" for first in rows.without_first]
    rows = rows.assign(share=rows.horizon.map("{:.0%}".format), layers=groups)
    lists = ("source", "arm")
    x = category("share", "share of the steps", sort=[f"{share:.0%}" for share in order],
                 axis={"labelAngle": 0})
    hover = tooltip(rows, {"role": "matrix", "share": "at", "effect": "shallow − deep", **INTERVAL})
    colour = category("role", "matrix", scale={"domain": [word(role) for role in ("qkv", *QKV)],
                                               "range": [INK, *(NAMED[role] for role in QKV)]})
    caption = ("ln(std / initial std), mean of the first layers minus that of the last. Above 0 the first "
               f"ones expand more. {interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "layers", "share", "role", "effect", "lo", "hi", "n"]
    return Chart("GPT-2: do shallow layers expand first?", caption, rows[keep],
                 [level(0), *dots(x, quantity("effect", "shallow − deep", zero=True), colour, hover,
                                  xOffset=category("role"))],
                 lists, facet="layers", columns=2, picture=Picture(height=220))


def states(rows: pd.DataFrame, settings: Settings) -> Chart:
    """What each matrix does in the last steps."""
    rows = rows[rows.role.isin(BLOCK)]
    hover = tooltip(rows, {"role": "matrix", "layer": "layer", "state": "state",
                           "slope": "d ln std / d ln step", "decay": "of decay alone",
                           "noise": "of the law's noise alone", "n": "seeds",
                           "agree": "share of seeds that do so"})
    place: Spec = {"x": count("layer", "layer"), "y": category("role", sort=[word(role) for role in BLOCK]),
                   "tooltip": hover}
    seen = {state: colour for state, colour in STATES.items() if state in set(rows.state)}
    colour = category("state", "state", scale={"domain": list(seen), "range": list(seen.values())})
    tiles = {"mark": {"type": "rect", "stroke": "white", "strokeWidth": 2},
             "encoding": {**place, "color": colour}}
    differ = {"transform": [{"filter": "datum.agree < 1"}],
              "mark": {"type": "point", "filled": True, "size": 18, "color": INK, "opacity": 1},
              "encoding": place}
    caption = (f"In {last_steps(settings)}. Drifting: it moves. Frozen: neither decay nor noise would move "
               "it at this learning rate. Equilibrium: updates balance decay. Quiet: they put in less than "
               f"noise. Of the mean over {seeds(rows.n)}; a dot where not all of them do so.")
    keep = ["source", "arm", "role", "layer", "state", "slope", "decay", "noise", "n", "agree"]
    return Chart("GPT-2: frozen, in equilibrium, or drifting?", caption, rows[keep], [tiles, differ],
                 ("source", "arm"), height=180,
                 picture=Picture(across="arm", columns=3, height=110, margin=110))


def forecast(rows: pd.DataFrame, settings: Settings) -> Chart:
    """How far each way of predicting the final std is off, by arm."""
    long = long_form(rows, WAYS).rename(columns={"show": "way"})
    hover = tooltip(long, {"arm": "arm", "way": "predicted by", "value": "mean |ln error|", **INTERVAL})
    x = quantity("value", "mean |ln(predicted std / final std)|", zero=True)
    caption = ("Mean over matrices. A pilot's R: the injected variance that the same layer and role had in "
               "other arms and seeds. Other seeds of the arm: no forecast, but what seeds differ by. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = ["source", "roles", "arm", "way", "value", "lo", "hi", "n"]
    return Chart("GPT-2: how well is the final std known in advance?", caption, long[keep],
                 dots(x, arm_axis(rows), named_colour(long, "way", "predicted by"), hover, along="x",
                      yOffset=category("way", sort=list(WAYS.values()))),
                 ("source",), facet="roles", columns=2, height={"step": 10}, picture=Picture(margin=110))


def convergence(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Arms that differ in the initial std alone: what is left of their gap in variance."""
    rows = in_block_order(thinned(rows[rows.role.isin(BLOCK)], 32))
    rows = rows.assign(pair=rows.arm + " and " + rows.other)
    x = quantity("step", "step")
    hover = tooltip(rows, {"pair": "arms", "step": "step", "left": "share left", **INTERVAL,
                           "predicted": "null law"})
    y = quantity("left", "share left of the gap", zero=True)
    law = dashed(x, {**y, "field": "predicted"}, detail=category("pair"))
    caption = ("Of two arms that differ in the initial std alone: what is left of their gap in variance. "
               f"Dashed: the null law, predicted before training. {interval_label(rows.n, settings)}.")
    keep = ["source", "role", "pair", "step", "left", "lo", "hi", "n", "predicted"]
    return Chart("GPT-2: how fast is the initial std forgotten?", caption, rows[keep],
                 [*curves(x, y, named_colour(rows, "pair", "arms"), hover), law],
                 ("source",), facet="role", order=BLOCK, picture=Picture(only={"role": QKV}, height=220))


def bands(rows: pd.DataFrame, settings: Settings) -> Chart:
    """How narrow the std of each role's layers ends: what still moves, and the spread over layers."""
    rules = settings.analyze.e3
    shows = {"slope": "motion at the end", "spread": "spread over layers"}
    limits = {shows["slope"]: rules.narrow_slope, shows["spread"]: rules.narrow_spread}
    long = long_form(rows, shows)
    limit, raw = long.show.map(limits), long.value
    long = long.assign(raw=raw, value=raw / limit, hi=long.hi / limit,
                       lo=np.maximum(long.lo / limit, raw / limit / 30))  # a log axis has no room for 0
    hover = tooltip(long, {"arm": "arm", "role": "matrix", "raw": "value", "value": "in units of the limit",
                           **INTERVAL, "width": "ln(largest / smallest std)", "growth": "mean growth"})
    caption = (f"Motion: |d ln std / d ln step| in {last_steps(settings)}. Spread: SD over layers of ln(std "
               "/ initial std) by the size of its mean. Narrow is left of 1 in both; where the learning rate "
               "decays, a std may lie there because it is frozen. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = ["source", "show", "arm", "role", "value", "lo", "hi", "n", "raw", "width", "growth"]
    return Chart("GPT-2: does the std settle into narrow bands?", caption, long[keep],
                 [level(1, "x"), *dots(quantity("value", "in units of the claim's limit", log=True),
                                       arm_axis(rows), role_colour(rows), hover, along="x",
                                       yOffset=category("role", sort=[word(role) for role in BLOCK]))],
                 ("source",), facet="show", columns=2, height={"step": 6}, picture=Picture(margin=110))
