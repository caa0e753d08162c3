"""E3: the std of GPT-2's weight matrices through training beside the null law, and what moves it."""

import pandas as pd

from study.plotting.grammar import (
    INTERVAL,
    PALE,
    PALETTE,
    Chart,
    Comparison,
    Picture,
    Spec,
    category,
    count,
    curves,
    dashed,
    depth_colour,
    dots,
    interval_label,
    layer_colours,
    legend_pick,
    level,
    long_form,
    named_colour,
    quantity,
    shown,
    spoken,
    thinned,
    tooltip,
    word,
)
from study.plotting.params import Settings
from variance_dynamics.weights.parameter import BLOCK, QKV

RATIOS = {"R": "R", "R_over_D": "R / D", "D": "D"}
FACTORS = {"c2": "c², size of an update", "memory": "memory", "persistence": "persistence",
           "along": "along the initial weights"}
"""Columns of e3_mechanism: R = c2 memory persistence + along."""
CAUSES = {
    "size_share": "share of var ln D from c²", "memory_share": "share of var ln D from memory",
    "c2_with_grad_kurtosis": "c² with kurtosis of gradient", "c2_with_epsilon_share": "c² with share below ε",
    "memory_with_grad_norm": "memory with gradient norm", "D_with_layer": "D with layer",
    "D_with_grad_drift": "D with drift of gradient norm", "R_with_D": "R with D",
    "R_with_persistence": "R with persistence", "R_with_along": "R with along",
    "R_with_grad_drift": "R with drift of gradient norm",
}
"""Values of the column cause of e3_causes, in words."""
ABOUT_R = ("R: variance that the updates put in, as a share of what the null law says (1: the law holds, 0: "
           "decay alone, negative: it shrinks). D: the same share, from the size and memory of the updates "
           "as measured; R / D near 1: the law holds once the real update size is put in.")


def in_block_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the blocks' matrices, in the order that a block has them."""
    rows = rows[rows.role.isin(BLOCK)]
    return rows.sort_values("role", key=lambda roles: roles.map(BLOCK.index), kind="stable")


def layer_colour(rows: pd.DataFrame) -> Spec:
    """A colour for each layer."""
    layers = sorted({spoken("layer", layer) for layer in rows.layer})
    return {"field": "layer", "type": "ordinal", "title": "layer (1 is next to the input)",
            "scale": {"domain": layers, "range": layer_colours(len(layers))}}


def std(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Std of every matrix through training, a line for each layer, with the null law."""
    groups = {role: "Q, K, V" if role in QKV else "attention out, MLP" for role in BLOCK}
    rows = arms_in_order(in_block_order(thinned(rows[rows.role.isin(BLOCK)], 32)))
    parts = rows.groupby(["source", "arm", "role"], sort=False)
    rows = pd.concat([part.assign(law=part.predicted.where(part.layer.isin(distinct_laws(part))))
                      for _, part in parts])
    rows = rows.assign(show=rows.role.map(groups))
    lists = ("source", "arm", "show")
    x = quantity("step", "step")
    hover = tooltip(rows, {"role": "matrix", "layer": "layer", "step": "step", "value": "std",
                           **INTERVAL, "predicted": "null law"})
    y = quantity("value", "std of the weights")
    law = dashed(x, {**y, "field": "law"}, detail=category("layer"))
    caption = (f"{growth(rows)} Solid: measured, mean over seeds. Dashed: the null law, which weight decay "
               "and updates by pure noise would follow. "
               f"{interval_label(rows.n, settings)}.")
    keep = [*lists, "role", "layer", "step", "value", "lo", "hi", "n", "predicted", "law"]
    compared = rows.loc[rows.role.isin(QKV), keep]
    return Chart("GPT-2: does the std of Q, K and V go where the null law says?", caption,
                 rows[keep], [*curves(x, y, layer_colour(rows), hover, faint=0.06), law], lists,
                 facet="role", order=BLOCK,
                 picture=Picture(height=250, named=False),
                 comparison=Comparison(compared.drop(columns=["source", "show", "predicted"]),
                                       "dashed: null law, predicted before training; band: interval over "
                                       "seeds",
                                       lists=("arm",), apart=True))


def growth(rows: pd.DataFrame) -> str:
    """The change of std from start to end, as measured and by the law, in words; of what is shown first."""
    shown_first = ["source", "arm", "show"]
    first = rows[(rows[shown_first] == rows[shown_first].iloc[0]).all(axis=1)]
    ends = first[first.step == first.step.max()].set_index(["role", "layer"])
    start = first[first.step == first.step.min()].set_index(["role", "layer"]).value
    by_role = "; ".join(f"{word(role)} {_range(part)}"
                        for role, part in (ends.value / start - 1).groupby(level="role", sort=False))
    return (f"At step {first.step.max():,} of arm {rows.arm.iloc[0]} the std has changed, from layer to "
            f"layer, by: {by_role}. The law, "
            f"known before training, said {_range(ends.predicted / start - 1)}.")


def _range(changes: "pd.Series[float]") -> str:
    low, high = (f"{value:+.0%}".replace("-", "−") for value in (changes.min(), changes.max()))
    return low if low == high else f"{low} to {high}"


def distinct_laws(curves: pd.DataFrame) -> list[int]:
    """Layers for which the law is drawn: the first if all its lines coincide (within 5%), else every one."""
    by_layer = curves.pivot_table(index="step", columns="layer", values="predicted")
    alike = bool(((by_layer.max(axis=1) / by_layer.min(axis=1)) < 1.05).all())
    return [int(layer) for layer in by_layer.columns.to_list()][: 1 if alike else None]


def ratio(rows: pd.DataFrame, settings: Settings) -> Chart:
    """R, R / D and D per layer, a panel for each matrix, at a step that the reader chooses."""
    rows = in_block_order(thinned(rows, 10)).sort_values("step", ascending=False, kind="stable")
    rows = arms_in_order(rows)
    long = long_form(rows, RATIOS).rename(columns={"show": "ratio"})
    lists = ("source", "arm", "step")
    hover = tooltip(long, {"role": "matrix", "layer": "layer", "ratio": "of", "value": "value", **INTERVAL})
    caption = f"At the last step unless chosen otherwise. {ABOUT_R} {interval_label(rows.n, settings)}."
    keep = [*lists, "role", "ratio", "layer", "value", "lo", "hi", "n"]
    x, y = count("layer", "layer"), quantity("value", zero=True)
    at_end = long.step == long.groupby(["source", "arm"]).step.transform("max")
    return Chart("Does the null law hold in each layer? It does where R = 1", caption, long[keep],
                 [level(1), level(0, colour=PALE),
                  *curves(x, y, named_colour(long, "ratio"), hover, points=True, faint=0.1)], lists,
                 facet="role", order=BLOCK, picture=Picture(),
                 comparison=Comparison(long.loc[at_end, keep].drop(columns=["source", "step"]),
                                       "at the last step; dashed: 1, the null law; band: interval over seeds",
                                       lists=("arm",)))


def arms_in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows arm by arm, in the order in which arms first come."""
    places = {arm: place for place, arm in enumerate(rows.arm.unique())}
    return rows.sort_values("arm", key=lambda arms: arms.map(places), kind="stable")


def final(rows: pd.DataFrame, settings: Settings) -> Chart:
    """R and R / D of every arm at its last step, a panel for each matrix."""
    rows = in_block_order(rows)
    long = long_form(rows, {name: RATIOS[name] for name in ("R", "R_over_D")})
    long = long.rename(columns={"show": "ratio"})
    hover = tooltip(long, {"arm": "arm", "role": "matrix", "ratio": "of", "value": "value", **INTERVAL})
    caption = f"At the last step, mean over layers. {ABOUT_R} {interval_label(rows.n, settings, 'Bar')}."
    keep = ["source", "arm", "role", "ratio", "value", "lo", "hi", "n"]
    x = quantity("value", zero=True)
    return Chart("Does the null law hold in each arm? It does where R = 1", caption, long[keep],
                 [level(1, "x"), level(0, "x", PALE),
                  *dots(x, arm_axis(rows), named_colour(long, "ratio"), hover, along="x",
                        yOffset=category("ratio"))],
                 ("source",), facet="role", order=BLOCK, height={"step": 9}, picture=Picture(margin=110))


def arm_axis(rows: pd.DataFrame) -> Spec:
    """An axis of arms, in their order."""
    return category("arm", sort=list(rows.arm.unique()))


def mechanism(rows: pd.DataFrame, settings: Settings) -> Chart:
    """What R is made of at the end, a panel for each matrix."""
    rows = in_block_order(rows[rows.horizon == rows.horizon.max()])
    long = long_form(rows, FACTORS).rename(columns={"show": "factor"})
    lists = ("source", "arm")
    hover = tooltip(long, {"role": "matrix", "layer": "layer", "factor": "of", "value": "value", **INTERVAL})
    caption = ("R = c² × memory × persistence + along, at the last step. White gradients have 1, 1, 1 "
               "(dashed) and 0. c²: mean square of one update. Memory: agreement of successive updates "
               "beyond that of momentum. Persistence: agreement over more than a window. Along: agreement "
               f"with the initial weights. {interval_label(rows.n, settings)}.")
    keep = [*lists, "role", "factor", "layer", "value", "lo", "hi", "n"]
    return Chart("What keeps R away from 1?", caption, long[keep],
                 [level(1), level(0, colour=PALE),
                  *curves(count("layer", "layer"), quantity("value", zero=True), named_colour(long, "factor"),
                          hover, points=True, faint=0.1)],
                 lists, facet="role", order=BLOCK, picture=Picture())


def loss(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Training and validation loss of every arm."""
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_loss"])], 60)
    rows = rows.sort_values("stat", ascending=False, kind="stable")  # validation first
    rows = rows.assign(show=rows.stat.map(word))
    lists = ("source", "show")
    hover = tooltip(rows, {"arm": "arm", "step": "step", "mean": "mean", **INTERVAL})
    keep = [*lists, "arm", "step", "mean", "lo", "hi", "n"]
    return Chart("GPT-2: the loss of each arm", f"Mean over seeds. {interval_label(rows.n, settings)}.",
                 rows[keep],
                 curves(quantity("step", "step"), quantity("mean", "loss (nats per token)"),
                        named_colour(arms_in_order(rows), "arm"), hover), lists, height=300,
                 picture=Picture(across="show", columns=2, height=280),
                 comparison=Comparison(rows[keep].drop(columns="source"), "band: interval over seeds",
                                       lists=("show",)))


def histogram(rows: pd.DataFrame, settings: Settings) -> Chart:
    """The weights of one layer at the start and at the last four dumps, a panel for each matrix."""
    latest = rows.groupby(["source", "arm"]).step.rank(method="dense", ascending=False) <= 4
    rows = in_block_order(rows[(latest | (rows.step == 0)) & (rows.density > 0)])
    rows = rows.assign(weight=(rows.left + rows.right) / 2)
    lists = ("source", "arm")
    hover = tooltip(rows, {"role": "matrix", "step": "step", "weight": "weight", "density": "density"})
    x, y = quantity("weight", "weight"), quantity("density", "density", zero=True)
    keep = [*lists, "role", "step", "weight", "density"]
    caption = (f"Density of the weights of layer {rows.layer.iloc[0]}, which widens with the std. One seed: "
               "no interval, a picture of the shape alone.")
    colour = depth_colour(rows, "step")
    line = {"params": [legend_pick("step")], "mark": {"type": "line", "strokeWidth": 1.4},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": hover, "opacity": shown()}}
    return Chart("GPT-2: do the weights of a layer keep their shape while they spread?", caption, rows[keep],
                 [line], lists, facet="role", order=BLOCK, picture=Picture())


def residual(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Second moment of the residual stream after each block."""
    rows = thinned(rows, 8)
    lists = ("source", "arm")
    hover = tooltip(rows, {"step": "step", "layer": "after block", "value": "second moment", **INTERVAL})
    keep = [*lists, "step", "layer", "value", "lo", "hi", "n"]
    return Chart("GPT-2: the residual stream through the blocks",
                 f"Second moment after each block. {interval_label(rows.n, settings)}.", rows[keep],
                 curves(count("layer", "after block (0: embeddings)"),
                        quantity("value", "second moment", log=True), depth_colour(rows, "step"), hover,
                        points=True), lists, height=300,
                 picture=Picture(height=250))


def causes(rows: pd.DataFrame, settings: Settings) -> Chart:
    """What goes with the update size D and with R over the matrices of a run. Only the report shows it."""
    rows = rows.assign(cause=[CAUSES.get(name, name) for name in rows.cause],
                       lo=rows.lo.clip(-1, 1), hi=rows.hi.clip(-1, 1))
    hover = tooltip(rows, {"cause": "of", "arm": "arm", "value": "mean", **INTERVAL})
    x = quantity("value", "share, or rank correlation")
    x["scale"] = {"domain": [-1, 1]}
    y = category("cause", sort=list(CAUSES.values()), axis={"labelLimit": 220})
    colour = category("arm", "arm", scale={"range": [PALETTE[0]]}, legend=None)
    caption = ("Exploratory, over the matrices of the blocks: parts of the variance of ln D, and rank "
               f"correlations. {interval_label(rows.n, settings, 'Bar')}, cut at −1 and 1.")
    return Chart("What goes with the size of the updates", caption, rows,
                 [level(0, "x"), *dots(x, y, colour, hover, along="x")], ("source", "arm"),
                 height={"step": 22})
