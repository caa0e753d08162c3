"""E1: how the band of stds that train lies to the paper's, and how its width and edges scale."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from study.plotting.e1 import DOT
from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    PREDICTED,
    Figures,
    Tables,
    interval_label,
    legend,
    line,
    new_figure,
    ordered,
    word,
)

TASK = ["dataset", "optimizer"]
EDGES = {"lower": "#0072B2", "upper": "#D55E00"}
LEVEL: dict[str, Any] = {"color": "#8C8C8C", "linewidth": 0.8}


def overlap(tables: Tables, settings: Settings) -> Figures:
    """How far the paper's band trains, and how far it is the band that trains, against width."""
    rows = tables["e1_overlap"]
    tasks, colours = tasks_of(rows), ordered(sorted(rows.depth.unique()))
    low, high = settings.analyze.e1.paper_band
    shown = {"paper_share": f"share of [{low:g}, {high:g}]\nthat trains",
             "jaccard": "overlap with the band\n(intersection / union)"}
    figure, panels = new_figure(len(shown), len(tasks), 3.9, sharex="col", sharey=True)
    for (row, measure), (column, task) in ((r, c) for r in enumerate(shown) for c in enumerate(tasks)):
        cell = rows[(rows.dataset == task[0]) & (rows.optimizer == task[1])]
        _by_width(panels[row, column], cell, measure, colours)
        panels[row, 0].set_ylabel(shown[measure])
    for axes, task in zip(panels[0], tasks, strict=True):
        axes.set_title(task_title(task))
    for axes in panels[1]:
        axes.axhline(settings.analyze.e1.overlap, **PREDICTED)
        axes.set_xlabel("width")
    figure.suptitle("E1: the paper's band and the stds that train")
    legend(figure, [*(line(f"depth {depth}", color=colour, marker="o", markersize=3.5)
                      for depth, colour in colours.items()),
                    line("the claim's limit", **PREDICTED),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.0)], 5)
    yield "e1_overlap", figure


def _by_width(axes: Axes, cell: pd.DataFrame, measure: str, colours: dict[Any, Any]) -> None:
    axes.set_xscale("log")
    axes.set_ylim(-0.04, 1.04)
    widths = sorted(cell.width.unique())
    axes.set_xlim(widths[0] / 1.3, widths[-1] * 1.3)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.xaxis.minorticks_off()
    for depth, points in cell.groupby("depth"):
        points = points.sort_values("width")
        axes.vlines(points.width, points[f"{measure}_lo"], points[f"{measure}_hi"], color=colours[depth])
        axes.plot(points.width, points[measure], color=colours[depth], marker="o", markersize=3.5)


def scaling(tables: Tables, settings: Settings) -> Figures:
    """Width of the band against depth, with the fitted exponent; slope of the edges over widths."""
    widths, slopes, law = (tables[f"e1_{name}"] for name in ("widths", "slopes", "depth_law"))
    tasks, colours = tasks_of(widths), ordered(sorted(widths.width.unique()))
    figure, panels = new_figure(2, len(tasks), 4.4, sharex="col", sharey="row")
    for column, (dataset, optimizer) in enumerate(tasks):
        one, two, three = (rows[(rows.dataset == dataset) & (rows.optimizer == optimizer)]
                           for rows in (widths, slopes, law))
        panels[0, column].set_title(task_title((dataset, optimizer)))
        _band_widths(panels[0, column], one, three, colours)
        _slopes(panels[1, column], two)
        panels[1, column].set_xlabel("depth")
    panels[0, 0].set_ylabel("ln(upper / lower edge)")
    panels[1, 0].set_ylabel("d ln(edge) / d ln(width)")
    figure.suptitle("E1: how the band narrows with depth, and how its edges move with width")
    _scaling_legend(figure, pd.concat([widths.n, slopes.n]), colours, settings)
    yield "e1_scaling", figure


def _scaling_legend(figure: Figure, n: pd.Series, colours: dict[Any, Any], settings: Settings) -> None:
    legend(figure, [*(line(f"width {width}, exponent fitted", color=colour, marker="o", markersize=3.5)
                      for width, colour in colours.items()),
                    line("∝ 1 / depth, predicted", **PREDICTED),
                    *(line(f"{edge} edge", color=colour, **DOT) for edge, colour in EDGES.items()),
                    line("natural axis, predicted", color=INK, marker="_", linestyle="", markersize=9),
                    line("critical std √(2/width)", **LEVEL),
                    line(interval_label(n, settings, "bar"), color=INK, linewidth=1.0)], 3)


def _band_widths(axes: Axes, rows: pd.DataFrame, law: pd.DataFrame, colours: dict[Any, Any]) -> None:
    axes.set(xscale="log", yscale="log")
    depths = sorted(rows.depth.unique())
    for index, (width, points) in enumerate(rows.groupby("width")):
        points = points.sort_values("depth")
        x = points.depth * 1.05 ** (index - (rows.width.nunique() - 1) / 2)
        axes.vlines(x, points.ln_width_lo, points.ln_width_hi, color=colours[width])
        axes.plot(x, points.ln_width, color=colours[width], marker="o", markersize=3.5)
    for index, fit in enumerate(law.itertuples()):
        axes.annotate(f"{fit.exponent:.2f}".replace("-", "−"), (0.97, 0.95 - 0.11 * index), ha="right",
                      va="top", xycoords="axes fraction", color=colours[fit.width], fontsize=7)
    line_of = guide(rows).sort_values("depth")
    axes.plot(line_of.depth, line_of.law, **PREDICTED, zorder=1)
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def guide(rows: pd.DataFrame) -> pd.DataFrame:
    """e1_widths of one task with `law`, the line ∝ 1 / depth through the middle of its points."""
    middle = np.exp(np.log(rows.ln_width * rows.depth).mean())
    return rows.assign(law=middle / rows.depth)


def _slopes(axes: Axes, rows: pd.DataFrame) -> None:
    if not rows.slope.notna().any():
        axes.annotate("one width, or\ncensored edges", (0.5, 0.5), xycoords="axes fraction", ha="center",
                      va="center", color="#8C8C8C")
        return
    axes.axhline(-0.5, **LEVEL)
    axes.axhline(0, **{**LEVEL, "linestyle": ":"})
    for shift, (edge, colour) in zip((0.96, 1.04), EDGES.items(), strict=True):
        points = rows[rows.edge == edge]
        axes.vlines(points.depth * shift, points.lo, points.hi, color=colour)
        axes.plot(points.depth * shift, points.slope, color=colour, **DOT)
    axes.plot(rows.depth, rows.predicted, "_", color=INK, markersize=9)


def tasks_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of dataset and optimizer, in the order of the table."""
    return [(str(one), str(two)) for one, two in rows[TASK].drop_duplicates().itertuples(index=False)]


def task_title(task: tuple[str, str]) -> str:
    return f"{word(task[0])}, {word(task[1])}"
