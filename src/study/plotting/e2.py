"""E2: schemes compared at equal depth, optimizer and learning rate."""

import numpy as np
import pandas as pd

from study.plotting.e1 import DEPTH, per_layer
from study.plotting.grammar import (
    INK,
    INTERVAL,
    Chart,
    Comparison,
    Picture,
    Spec,
    category,
    count,
    curves,
    depth_colour,
    dots,
    interval_label,
    legend_pick,
    level,
    long_form,
    named_colour,
    quantity,
    shapes,
    shown,
    thinned,
    ticks,
    tooltip,
    word,
)
from study.plotting.params import Settings

SAME = "Kaiming = Xavier × √2"
REACHED, AT_MOST, AT_LEAST, LEFT_OUT = "as measured", "at most this", "at least this", "left out"
BOUNDS = {REACHED: "circle", AT_MOST: "triangle-down", AT_LEAST: "triangle-up", LEFT_OUT: "cross"}
MEASURES = {"ln_steps_ratio": "ln(steps ratio)", "test_accuracy": "test accuracy",
            "spread": "spread over seeds", "share_lr_trains": "share of learning rates that train"}
KINDS = {"shared": "at one learning rate for all", "best": "each at its best learning rate",
         "fastest": "each at its fastest learning rate", "grid": "over the grid of learning rates"}
SHOWS = [f"{name}, {kind}" for name in MEASURES.values() for kind in KINDS.values()]


def one_line(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with Kaiming and its control Xavier × √2 as one scheme, where they are equal in all numbers.

    At constant width both have the same std, and the draws are paired, so one would hide the other.
    """
    both = [rows[rows.scheme == name].drop(columns="scheme").reset_index(drop=True)
            for name in ("kaiming", "xavier_sqrt2")]
    if both[1].empty or not both[0].equals(both[1]):
        return rows
    names = rows.scheme.where(rows.scheme != "kaiming", SAME)
    alone: pd.DataFrame = rows.assign(scheme=names)[rows.scheme != "xavier_sqrt2"]
    return alone


def scheme_colour(rows: pd.DataFrame) -> Spec:
    """The colours of the schemes; Kaiming keeps its own where it stands for its control as well."""
    names = rows.assign(scheme=rows.scheme.replace(SAME, "kaiming"))
    colour = named_colour(names, "scheme")
    domain = [SAME if name == word("kaiming") and SAME in set(rows.scheme) else name
              for name in colour["scale"]["domain"]]
    return colour | {"scale": colour["scale"] | {"domain": domain}}


def layers(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Second moment and gradient norm per layer at initialisation, for every scheme."""
    first = rows.groupby(["source", "dataset"]).optimizer.transform("first")
    rows = one_line(rows[rows.optimizer == first])  # at init the optimizer makes no difference
    rows = rows[rows.stat != "grad_norm_end"]
    return per_layer("Signal and gradient in each layer, by scheme", rows, scheme_colour(rows), settings)


def curve(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Validation loss and accuracy of every scheme through training."""
    rows = rows[rows.stat.isin(["val_loss", "val_accuracy", "train_loss"])]
    rows = one_line(thinned(rows, 30))
    rows = shared_first(rows).sort_values("stat", ascending=False, key=_val_first, kind="stable")
    rows = rows.assign(show=rows.stat.map(word))
    lists = ("source", "dataset", "optimizer", "lr_kind", "show")
    hover = tooltip(rows, {"scheme": "scheme", "step": "step", "mean": "mean", **INTERVAL,
                           "lr": "learning rate"})
    keep = [*lists, "depth", "scheme", "lr", "step", "mean", "lo", "hi", "n"]
    compared = rows[(rows.stat != "train_loss") & (rows.lr_kind == "shared")]
    compared = thinned(compared, 9)[keep]  # git keeps these rows
    return Chart("Kaiming, Xavier and others through training",
                 f"Mean over seeds; training loss is smoothed. {interval_label(rows.n, settings)}.",
                 rows[keep],
                 curves(quantity("step", "step"), quantity("mean", zero=True), scheme_colour(rows), hover),
                 lists, facet="depth", heading="depth ", picture=Picture(files="dataset", down="optimizer"),
                 comparison=Comparison(compared.drop(columns=["source", "lr_kind", "lr"]),
                                       "at the learning rate shared by all; band: interval over seeds",
                                       lists=("dataset", "optimizer"), menu="show"))


def shared_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the learning rate that all schemes share before those at each scheme's best."""
    return rows.sort_values("lr_kind", key=lambda kinds: kinds != "shared", kind="stable")


def _val_first(stats: "pd.Series[str]") -> "pd.Series[int]":
    return stats.map(["train_loss", "val_accuracy", "val_loss"].index)


def threshold(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Steps until the loss threshold for every scheme, depth and optimizer."""
    rows = shared_first(one_line(rows))
    rows = rows.assign(reached=np.where(rows.censored > 0, "not all seeds", "all seeds"))
    lists = ("source", "dataset", "lr_kind")
    x = quantity("steps", "steps", log=True)
    place = {"y": category("scheme"), "yOffset": {"field": "depth", "type": "ordinal"},
             "color": depth_colour(rows, "depth")}
    hover = tooltip(rows, {"scheme": "scheme", "depth": "depth", "steps": "steps", **INTERVAL,
                           "censored": "seeds that never got there", "lr": "learning rate"})
    shape = category("reached", "reached by", scale={"domain": ["all seeds", "not all seeds"],
                                                     "range": ["circle", "triangle-right"]})
    marks: list[Spec] = [
        {"mark": {"type": "rule", "strokeWidth": 1.8},
         "encoding": {**place, "x": {**x, "field": "lo"}, "x2": {"field": "hi"}, "opacity": shown()}},
        {"params": [legend_pick("depth")], "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": {**place, "x": x, "shape": shape, "tooltip": hover, "opacity": shown()}},
    ]
    caption = (f"Steps until the smoothed training loss is below {settings.analyze.e2.threshold:g} "
               "ln(classes). Triangle: some seeds never got there and count at the budget. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "optimizer", "depth", "scheme", "lr", "steps", "lo", "hi", "n", "censored", "reached"]
    about = "bar: interval over seeds; triangle: some seeds never got there and count at the budget"
    return Chart("How many steps each scheme needs", caption, rows[keep], marks, lists,
                 facet="optimizer", height={"step": 11}, picture=Picture(files="dataset", margin=165),
                 comparison=Comparison(rows[keep].drop(columns="source"), about, lists=("dataset",),
                                       menu="lr_kind", apart=True))


def learning_rates(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Final validation loss and share of seeds that train, against the learning rate."""
    rows = one_line(rows)
    long = long_form(rows, {"val_loss": "final validation loss", "share_trains": "share of seeds that train"})
    lists = ("source", "dataset", "optimizer", "show")
    hover = tooltip(long, {"scheme": "scheme", "lr": "learning rate", "value": "mean", **INTERVAL,
                           "best": "best, chosen on validation"})
    x = quantity("lr", "learning rate", log=True)
    x["axis"]["format"] = "~e"
    caption = f"The loss is in nats. {interval_label(rows.n, settings)}."
    keep = [*lists, "depth", "scheme", "lr", "value", "lo", "hi", "n", "best"]
    return Chart("Which learning rates train?", caption, long[keep],
                 curves(x, quantity("value", zero=True), scheme_colour(rows), hover, points=True, faint=0.1),
                 lists, facet="depth", heading="depth ",
                 picture=Picture(files="dataset", down="optimizer"))


def by_measure(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with what they `show`, a measure at some learning rates in words, in the order of SHOWS."""
    rows = rows.assign(show=rows.measure.replace(MEASURES) + ", " + rows.lr_kind.replace(KINDS))
    return rows.sort_values("show", kind="stable", key=lambda shows: shows.map(
        lambda show: SHOWS.index(show) if show in SHOWS else len(SHOWS)))


def gap(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Kaiming minus Xavier in ln steps and other measures against depth, paired over seeds."""
    rows = by_measure(bounded(rows))
    rows = pd.concat([_footed(part) for _, part in rows.groupby(["source", "show"], sort=False)])
    colour = named_colour(rows, "optimizer")
    x, y = count("depth", DEPTH), quantity("effect", "Kaiming − Xavier", zero=True)
    beside: Spec = {"xOffset": category("optimizer", sort=colour["scale"]["domain"])}
    hover = tooltip(rows, {"optimizer": "optimizer", "depth": "depth", "effect": "Kaiming − Xavier",
                           **INTERVAL, "bound": "the gap is", "predicted": "predicted"})
    shape = shapes(rows, "bound", "the gap is", BOUNDS)
    below = {"mark": {"type": "text", "fontSize": 9, "baseline": "bottom"},
             "encoding": {"x": x, "y": {**y, "field": "foot"}, "text": {"field": "label"},
                          "color": {"value": INK}}}
    caption = ("Paired by seed; a ln(steps ratio) below 0 says that Kaiming is faster. Black ticks: "
               "predicted from the first gradient, under SGD at a shared learning rate (↓ with its number: "
               "far below). Triangles: more of Xavier's seeds (at most), or of Kaiming's (at least), ran out "
               f"of steps. {interval_label(rows.n, settings, 'Bar')}.")
    numbers = ["effect", "lo", "hi", "n", "predicted", "tick", "foot"]
    keep = ["source", "show", "dataset", "optimizer", "depth", "bound", "label", *numbers]
    return Chart("Does the gap between Kaiming and Xavier grow with depth?", caption, rows[keep],
                 [level(0), *dots(x, y, colour, hover, shape=shape, **beside),
                  ticks(x, {**y, "field": "tick"}, **beside), below], ("source", "show"), facet="dataset",
                 picture=Picture(down="show", only={"show": SHOWS[:2]}))


def bounded(rows: pd.DataFrame) -> pd.DataFrame:
    """e2_gap with `bound`: what seeds that ran out of steps, counted at the budget, make of a gap."""
    more = rows.censored_xavier - rows.censored_kaiming
    steps = rows.measure == "ln_steps_ratio"
    kinds = [rows.excluded, steps & (more > 0), steps & (more < 0)]
    return rows.assign(bound=np.select(kinds, [LEFT_OUT, AT_MOST, AT_LEAST], REACHED))


def _footed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one panel with `tick`, or with `foot` and `label`, to draw their predictions by.

    The axis ends a little below all that was measured. A prediction on it is a tick. One that lies further
    below stands at the axis's foot, with its number as label. Of equal numbers at one depth only the first is
    drawn.
    """
    low, high = min(rows.lo.min(), rows.effect.min(), 0.0), max(rows.hi.max(), rows.effect.max(), 0.0)
    lowest = low - 0.15 * (high - low)
    numbers = rows.predicted.map("↓ {:.1f}".format).str.replace("-", "−")
    again = rows.assign(numbers=numbers).duplicated(["dataset", "depth", "numbers"])
    far = (rows.predicted < lowest) & ~again
    return rows.assign(tick=rows.predicted.where(rows.predicted >= lowest), label=numbers.where(far, ""),
                       foot=np.where(far, lowest, np.nan))


def contrasts(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Every scheme minus Kaiming. Only the report shows it."""
    more = (rows.measure == "ln_steps_ratio") & (rows.censored_scheme > rows.censored_versus)
    rows = by_measure(rows.assign(bound=np.where(more, AT_LEAST, REACHED)))
    control = rows[(rows.scheme == "xavier_sqrt2") & (rows.versus == "kaiming")]
    if (control.effect == 0).all():
        rows = rows.drop(index=control.index)
    lists = ("source", "dataset", "show")
    x = count("depth", DEPTH)
    hover = tooltip(rows, {"scheme": "scheme", "depth": "depth", "effect": "scheme − Kaiming", **INTERVAL,
                           "censored_scheme": "its seeds that never got there", "p": "p (not corrected)"})
    shape = shapes(rows, "bound", "the gap is", BOUNDS)
    caption = ("Exploratory. Each scheme minus Kaiming, paired by seed; a ln(steps ratio) above 0 says "
               "slower than Kaiming (triangle: some of its seeds ran out of steps). Xavier × √2 is left out "
               "where it equals Kaiming. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    numbers = ["effect", "lo", "hi", "n", "p", "censored_scheme"]
    keep = [*lists, "optimizer", "depth", "scheme", "bound", *numbers]
    return Chart("Every scheme against Kaiming", caption, rows[keep],
                 [level(0), *dots(x, quantity("effect", zero=True), named_colour(rows, "scheme"), hover,
                                  shape=shape, xOffset=category("scheme"))], lists, facet="optimizer")
