"""E1: which initial std trains, signal and gradient per layer, the edges of the band that trains."""

from dataclasses import replace

import numpy as np
import pandas as pd

from study.plotting.grammar import (
    DASHED,
    GREY,
    INK,
    INTERVAL,
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
    level,
    long_form,
    named_colour,
    powers,
    quantity,
    shapes,
    ticks,
    tooltip,
    word,
)
from study.plotting.params import Settings
from variance_dynamics.theory.propagation import critical_std

MARKS = {"lower": "circle", "upper": "square", "below the grid": "triangle-down",
         "above the grid": "triangle-up"}
OVERLAPS = {"paper_share": "share of the paper's band that trains", "jaccard": "intersection over union",
            "band_share": "share of the band that is the paper's"}
AT_INIT = {"second_moment": "second moment of the pre-activations", "grad_norm": "gradient norm",
           "grad_norm_end": "gradient norm after training"}
AXES = ("initial std", "std × √(width / 2)", "natural axis a")
DEPTH = "depth (weight layers)"


def loss(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Final training loss and test accuracy against std, with the critical std that theory gives."""
    rows = rows.assign(critical=[critical_std(width) for width in rows.width])
    long = long_form(rows, {"loss": "final training loss", "accuracy": "test accuracy"})
    shares = {f"share_{name}": f"share {name}" for name in ("trains", "vanishing", "exploding", "stalled")}
    lists = ("source", "dataset", "optimizer", "show")
    colour, x = depth_colour(rows, "width"), powers("std", "initial std")
    hover = tooltip(long, {"std": "initial std", "width": "width", "value": "mean", **INTERVAL, **shares})
    critical = {"mark": {"type": "rule", "strokeDash": DASHED, "strokeWidth": 1.3},
                "encoding": {"x": {**x, "field": "critical", "aggregate": "min"}, "color": colour}}
    caption = ("The loss is in nats; a run that explodes counts at the cap. Dashed: the critical std "
               "√(2/width), predicted before training. "
               f"{interval_label(rows.n, settings)}.")
    keep = [*lists, "depth", "width", "std", "value", "lo", "hi", "n", "critical", *shares]
    compared = long.drop(columns=["source", *shares])
    return Chart("Which initial std trains?", caption, long[keep],
                 [critical, *curves(x, quantity("value", zero=True), colour, hover)], lists,
                 facet="depth", heading="depth ", picture=Picture(files="dataset", down="optimizer"),
                 comparison=Comparison(compared[[name for name in keep if name in compared]],
                                       "band: interval over seeds; upright dashes: critical std √(2/width), "
                                       "predicted", lists=("dataset", "optimizer"), menu="show"))


def layers(rows: pd.DataFrame, settings: Settings) -> Chart:
    """Second moment and gradient norm per layer at init, for some stds around the critical one."""
    kept = []
    for _, part in rows.groupby(["source", "dataset"], sort=False):
        part = representative(part)
        stds = around(part["std"].unique(), critical_std(part.width.iloc[0]),
                      settings.plot.representative_std_count)
        kept.append(part[np.isclose(part["std"].to_numpy()[:, None], stds).any(axis=1)])
    rows = pd.concat(kept)
    rows = rows.assign(std=rows["std"].map("{:.3g}".format).astype(float))
    chart = per_layer("Signal and gradient in each layer, by initial std", rows,
                      depth_colour(rows, "std", "initial std", in_sight=True), settings)
    compared = chart.rows[chart.rows.show != AT_INIT["grad_norm_end"]].drop(columns="source")
    return replace(chart, comparison=Comparison(
        compared, "points: measured, bar: interval over seeds; dashed: predicted before training",
        lists=("dataset",), menu="show"))


def per_layer(title: str, rows: pd.DataFrame, colour: Spec, settings: Settings) -> Chart:
    """Second moments and gradient norms against layer; `colour` is that of a field of the rows."""
    by = colour["field"]
    rows = rows[rows.stat.isin(AT_INIT) & (rows.value > 0)]  # zero has no logarithm
    rows = rows.assign(show=rows.stat.map(AT_INIT)).sort_values("show", key=_place, kind="stable")
    lists = ("source", "dataset", "show")
    x, y = count("layer", "layer"), powers("value")
    width = {"width": "width"} if "width" in rows else {}
    hover = tooltip(rows, {by: colour["title"], "layer": "layer", **width, "value": "measured",
                           **INTERVAL, "predicted": "predicted"})
    caption = ("Points: measured in float64 at initialisation. Dashed: predicted before training (the "
               f"gradient: of one sample). {interval_label(rows.n, settings, 'Bar')}.")
    keep = [*lists, "depth", by, *width, "layer", "value", "lo", "hi", "n", "predicted"]
    at_init = [AT_INIT["second_moment"], AT_INIT["grad_norm"]]
    return Chart(title, caption, rows[keep],
                 [dashed(x, {**y, "field": "predicted"}, colour), *dots(x, y, colour, hover)], lists,
                 facet="depth", heading="depth ", independent=("x",),
                 picture=Picture(files="dataset", down="show", only={"show": at_init}))


def _place(shows: "pd.Series[str]") -> "pd.Series[int]":
    return shows.map(list(AT_INIT.values()).index)


def representative(rows: pd.DataFrame) -> pd.DataFrame:
    """One dataset's rows of the middle width under one optimizer (at init all optimizers are alike)."""
    width = sorted(rows.width.unique())[rows.width.nunique() // 2]
    middle: pd.DataFrame = rows[(rows.width == width) & (rows.optimizer == rows.optimizer.iloc[0])]
    return middle


def around(stds: np.ndarray, centre: float, count: int) -> list[float]:
    """`count` stds of the grid, nearest to log-spaced ones within a factor 4 of the centre; ascending."""
    grid = np.log(np.sort(stds))
    aims = np.log(centre) + (np.linspace(-1, 1, count) if count > 1 else np.zeros(1)) * np.log(4)
    return sorted({float(np.exp(grid[np.abs(grid - aim).argmin()])) for aim in aims})


def edges(rows: pd.DataFrame, settings: Settings) -> Chart:
    """The edges of the band of stds that train, as std, in units of the critical std, on the natural axis."""
    outside = rows.edge.map({"lower": "below the grid", "upper": "above the grid"})
    rows = rows.assign(predicted=rows.get("predicted", np.nan),
                       mark=rows.edge.where(rows.censored == 0, outside))
    units = (pd.Series(1.0, rows.index), np.sqrt(2 / rows.width), rows.centre)
    long = pd.concat([in_units(rows, unit).assign(show=show)
                      for show, unit in zip(AXES, units, strict=True)])
    lists = ("source", "dataset", "show")
    colour = depth_colour(rows, "width")
    x, y = count("depth", DEPTH), quantity("std", log=True)
    beside: Spec = {"xOffset": {"field": "width", "type": "ordinal"}}
    hover = tooltip(long, {"edge": "edge", "depth": "depth", "width": "width", "std": "half of seeds train",
                           **INTERVAL, "predicted": "predicted", "centre": "centre a = 1, predicted",
                           "censored": "seeds beyond the grid"})
    shape = shapes(rows, "mark", "edge", MARKS)
    theory = {"mark": {"type": "point", "shape": "diamond", "filled": True, "size": 30},
              "encoding": {"x": x, "y": {**y, "field": "predicted"}, "color": {"value": "#D55E00"}, **beside}}
    caption = ("An edge is the std at which half of the seeds train. If theory holds, all widths lie at one "
               "height on the natural axis a = std × √(fan factor). Black tick: the centre a = 1, predicted. "
               "Orange diamond: the edge under SGD, by theory written after the first runs. Triangle: some "
               "seeds still train at the end of the grid, so the edge lies further out. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    numbers = ["std", "lo", "hi", "n", "censored", "centre", "predicted"]
    keep = [*lists, "optimizer", "depth", "width", "edge", "mark", *numbers]
    return Chart("Do the edges of the band that trains collapse over widths?", caption, long[keep],
                 [ticks(x, {**y, "field": "centre"}, **beside),
                  *dots(x, y, colour, hover, shape=shape, **beside), theory], lists,
                 facet="optimizer", columns=2,
                 picture=Picture(files="dataset", across="show", down="optimizer", columns=3))


def in_units(rows: pd.DataFrame, unit: "pd.Series[float]") -> pd.DataFrame:
    """The edges, their intervals and predictions as multiples of `unit`, one std for each row."""
    return rows.assign(**{name: rows[name] / unit for name in ("std", "lo", "hi", "predicted", "centre")})


def task(rows: pd.DataFrame) -> "pd.Series[str]":
    """Data and optimizer in words, one panel each."""
    words: pd.Series[str] = rows.dataset.map(word) + ", " + rows.optimizer.map(word)
    return words


def overlap(rows: pd.DataFrame, settings: Settings) -> Chart:
    """How far the paper's band trains, and how far it is the band that trains, against width."""
    low, high = settings.analyze.e1.paper_band
    long = long_form(rows.assign(task=task(rows)), OVERLAPS)
    long = long.assign(limit=np.where(long.show == OVERLAPS["jaccard"], settings.analyze.e1.overlap, np.nan))
    lists = ("source", "show")
    beside: Spec = {"xOffset": {"field": "depth", "type": "ordinal"}}
    hover = tooltip(long, {"depth": "depth", "width": "width", "value": "mean", **INTERVAL})
    y = quantity("value", zero=True)
    y["scale"]["domain"] = [0, 1]
    caption = (f"Of the paper's band of stds, [{low:g}, {high:g}], and the measured one, both in ln std. "
               "Dashed: the overlap from which the claim's rule says yes. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    limit = {"mark": {"type": "rule", "strokeDash": DASHED},
             "encoding": {"y": {**y, "field": "limit", "aggregate": "min"}, "color": {"value": INK}}}
    keep = [*lists, "task", "depth", "width", "value", "lo", "hi", "n", "limit"]
    return Chart("Is the paper's band of stds the band that trains?", caption, long[keep],
                 [limit, *dots(count("width", "width"), y, depth_colour(rows, "depth"), hover, **beside)],
                 lists, facet="task", columns=6,
                 picture=Picture(down="show", only={"show": [OVERLAPS["paper_share"], OVERLAPS["jaccard"]]}))


def widths(rows: pd.DataFrame, settings: Settings) -> Chart:
    """How the band that trains narrows with depth."""
    rows = rows.rename(columns={"ln_width_lo": "lo", "ln_width_hi": "hi"})
    rows = rows[rows.ln_width.notna()].assign(task=lambda rows: task(rows))
    by_task = rows.groupby(["source", "task"], sort=False)
    rows = pd.concat([rows.head(0).assign(law=np.nan), *(guide(part) for _, part in by_task)])
    factor = {name: np.exp(rows[name]) for name in ("lo", "hi", "law")}
    rows = rows.assign(value=np.exp(rows.ln_width), **factor)
    x, y = count("depth", "depth"), quantity("value", "upper edge / lower edge", log=True)
    y["axis"]["format"] = "~s"
    hover = tooltip(rows, {"depth": "depth", "width": "width", "value": "upper / lower edge", **INTERVAL,
                           "law": "∝ 1 / depth in ln std"})
    caption = ("By what factor the std may vary. Dashed: a band whose width in ln std is ∝ 1 / depth, as the "
               "depth scale of theory suggests, through the middle of the points. Left out: bands that reach "
               f"the end of the grid. {interval_label(rows.n, settings, 'Bar')}.")
    keep = ["source", "task", "depth", "width", "value", "lo", "hi", "n", "law"]
    beside: Spec = {"xOffset": {"field": "width", "type": "ordinal"}}
    law = {"mark": {"type": "line", "strokeDash": DASHED, "strokeWidth": 1.3},
           "encoding": {"x": x, "y": {**y, "field": "law", "aggregate": "mean"}, "color": {"value": GREY}}}
    return Chart("Does the band of stds that train narrow with depth?", caption, rows[keep],
                 [law, *dots(x, y, depth_colour(rows, "width"), hover, **beside)], ("source",),
                 facet="task", columns=6, picture=Picture())


def guide(rows: pd.DataFrame) -> pd.DataFrame:
    """e1_widths of one task with `law`, the line ∝ 1 / depth through the middle of its points."""
    middle = np.exp(np.log(rows.ln_width * rows.depth).mean())
    return rows.assign(law=middle / rows.depth)


def slopes(rows: pd.DataFrame, settings: Settings) -> Chart:
    """How the edges move with width. Only the report shows it."""
    rows = rows[rows.slope.notna()].assign(task=lambda rows: task(rows))
    x, y = count("depth", DEPTH), quantity("slope", "d ln(edge) / d ln(width)", zero=True)
    beside: Spec = {"xOffset": category("edge")}
    hover = tooltip(rows, {"edge": "edge", "depth": "depth", "slope": "slope", **INTERVAL,
                           "predicted": "natural axis, predicted"})
    caption = ("Slope over widths of the edges that lie within the grid. Ticks: what the natural axis "
               "predicts; dashed: −1/2 as for the critical std, and 0 for a band that does not move. "
               f"{interval_label(rows.n, settings, 'Bar')}.")
    keep = ["source", "task", "depth", "edge", "slope", "lo", "hi", "n", "predicted"]
    return Chart("How the edges move with width", caption, rows[keep],
                 [level(-0.5), level(0), *dots(x, y, named_colour(rows, "edge"), hover, **beside),
                  ticks(x, {**y, "field": "predicted"}, **beside)], ("source",), facet="task", columns=2)
