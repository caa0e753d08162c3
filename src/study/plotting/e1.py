"""E1: which initial std trains, signal and gradient per layer, the band's edges on the natural axis."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    MEASURED,
    PREDICTED,
    REGIMES,
    Figures,
    Tables,
    band,
    interval_label,
    interval_patch,
    legend,
    line,
    log_axis,
    new_figure,
    ordered,
    spans,
    word,
)
from variance_dynamics.theory.propagation import critical_std

DOT: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3.5}
BEYOND: dict[str, Any] = {"linestyle": "", "marker": "^", "markersize": 4, "markeredgewidth": 0.7,
                          "color": INK, "markerfacecolor": "white"}
PARTLY: dict[str, Any] = {**BEYOND, "markerfacecolor": INK, "markerfacecoloralt": "white",
                          "fillstyle": "left"}
LAW: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 3, "color": "#D55E00"}
CRITICAL: dict[str, Any] = {"color": "#D55E00", "linestyle": (0, (4, 2)), "linewidth": 1.1}


def loss_and_accuracy(tables: Tables, settings: Settings) -> Figures:
    """Loss over accuracy against std, a row of panels for each width and a column for each depth."""
    for (dataset, optimizer), rows in tables["e1_loss"].groupby(["dataset", "optimizer"], sort=False):
        widths, depths = sorted(rows.width.unique()), sorted(rows.depth.unique())
        figure, panels = new_figure(2 * len(widths), len(depths), 0.9 + 2.1 * len(widths), sharex=True,
                                    sharey="row", gridspec_kw={"height_ratios": [1.5, 1] * len(widths)})
        for (row, width), (column, depth) in ((r, c) for r in enumerate(widths) for c in enumerate(depths)):
            cell = rows[(rows.width == width) & (rows.depth == depth)].sort_values("std")
            _sweep(panels[2 * row, column], panels[2 * row + 1, column], cell, critical_std(width))
            panels[2 * row, column].set_title(f"depth {depth}, width {width}")
            panels[-1, column].set_xlabel("initial std")
        for row in range(len(widths)):
            panels[2 * row, 0].set_ylabel("loss (nats)")
            panels[2 * row, 0].set_ylim(0, 1.05 * rows.cap.max())
            panels[2 * row + 1, 0].set_ylabel("accuracy")
        figure.suptitle(f"{word(dataset)}, {word(optimizer)}: final training loss and test accuracy")
        legend(figure, [line("mean over seeds (diverged: at the cap)", color=MEASURED),
                        interval_patch(rows.n, settings),
                        line("critical std √(2/width), predicted", **CRITICAL),
                        *(Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=f"{name} (most seeds)")
                          for name, colour in REGIMES.items())], 3)
        yield f"e1_loss_{dataset}_{optimizer}", figure


def _sweep(loss: Axes, accuracy: Axes, cell: pd.DataFrame, critical: float) -> None:
    shares = cell[[f"share_{name}" for name in REGIMES]].to_numpy()
    labels = [list(REGIMES)[index] for index in shares.argmax(axis=1)]
    for axes in (loss, accuracy):
        log_axis(axes)
        axes.set_xlim(cell["std"].min(), cell["std"].max())
        for start, end, label in spans(cell["std"].tolist(), labels):
            axes.axvspan(start, end, facecolor=REGIMES[label], linewidth=0, zorder=0)
        axes.axvline(critical, **CRITICAL)
    band(loss, cell["std"], cell.loss, cell.loss_lo, cell.loss_hi, color=MEASURED)
    band(accuracy, cell["std"], cell.accuracy, cell.accuracy_lo, cell.accuracy_hi, color=MEASURED)
    accuracy.set_ylim(0, 1.02)


def signal_and_gradient(tables: Tables, settings: Settings) -> Figures:
    """Forward second moment and gradient norm per layer at init, for some stds around the critical one."""
    for dataset, rows in tables["e1_layers"].groupby("dataset", sort=False):
        rows = representative(rows)
        width = int(rows.width.iloc[0])
        chosen = around(rows["std"].unique(), critical_std(width), settings.plot.representative_std_count)
        kept = [rows[np.isclose(rows["std"], std)].assign(line=f"std {std:.3g}") for std in chosen]
        colours = {f"std {std:.3g}": colour for std, colour in ordered(chosen).items()}
        title = f"{word(dataset)}, width {width}, at initialisation"
        yield f"e1_layers_{dataset}", per_layer(pd.concat(kept), colours, title, settings)


def per_layer(rows: pd.DataFrame, colours: Mapping[str, Any], title: str, settings: Settings) -> Figure:
    """Second moment over gradient norm against layer, depths across; column `line` names what is coloured."""
    depths = sorted(rows.depth.unique())
    figure, panels = new_figure(2, len(depths), 4.4, sharey="row")
    for row, stat in enumerate(("second_moment", "grad_norm")):
        for column, depth in enumerate(depths):
            _layers(panels[row, column], rows[(rows.depth == depth) & (rows.stat == stat)], colours)
            panels[0, column].set_title(f"depth {depth}")
            panels[1, column].set_xlabel("layer")
    panels[0, 0].set_ylabel("pre-activation\nsecond moment")
    panels[1, 0].set_ylabel("gradient norm")
    figure.suptitle(title)
    legend(figure, [*(line(f"measured, {word(name)}", color=colour, **DOT)
                      for name, colour in colours.items()),
                    line("predicted (gradient: of one sample)", **PREDICTED),
                    interval_patch(rows.n, settings)], 3)
    return figure


def _layers(axes: Axes, cell: pd.DataFrame, colours: Mapping[str, Any]) -> None:
    log_axis(axes, "y")
    for name, colour in colours.items():
        layers = cell[cell.line == name].sort_values("layer")
        axes.plot(layers.layer, layers.predicted, **{**PREDICTED, "color": colour})
        band(axes, layers.layer, layers.value, layers.lo, layers.hi, color=colour, **DOT)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def representative(rows: pd.DataFrame) -> pd.DataFrame:
    """One dataset's rows of the middle width under one optimizer (at init it makes no difference)."""
    width = sorted(rows.width.unique())[rows.width.nunique() // 2]
    chosen: pd.DataFrame = rows[(rows.width == width) & (rows.optimizer == rows.optimizer.iloc[0])]
    return chosen


def around(stds: np.ndarray, centre: float, count: int) -> list[float]:
    """`count` stds of the grid, nearest to log-spaced ones within a factor 4 of the centre; ascending."""
    grid = np.log(np.sort(stds))
    aims = np.log(centre) + (np.linspace(-1, 1, count) if count > 1 else np.zeros(1)) * np.log(4)
    return sorted({float(np.exp(grid[np.abs(grid - aim).argmin()])) for aim in aims})


def _per_layer(axes: Axes, cell: pd.DataFrame, colours: dict[float, str]) -> None:
    log_axis(axes, "y")
    for std, colour in colours.items():
        layers = cell[np.isclose(cell["std"], std)].sort_values("layer")
        axes.plot(layers.layer, layers.predicted, **{**PREDICTED, "color": colour})
        band(axes, layers.layer, layers.value, layers.lo, layers.hi, color=colour, **DOT)
    axes.set_xticks(sorted(cell.layer.unique()))


def collapse(tables: Tables, settings: Settings) -> Figures:
    """The band of stds that train: as std, and where it should not depend on width: in units of the critical
    std, and on the natural axis, which knows the input layer."""
    for dataset, edges in tables["e1_edges"].groupby("dataset", sort=False):
        optimizers, depths = list(edges.optimizer.unique()), sorted(edges.depth.unique())
        colours = ordered(sorted(edges.width.unique()))
        height = 0.9 + 2.1 * len(optimizers)
        figure, panels = new_figure(len(optimizers), 3, height, sharex=True, sharey="col")
        for row, optimizer in enumerate(optimizers):
            for index, (width, colour) in enumerate(colours.items()):
                bars = edges[(edges.optimizer == optimizer) & (edges.width == width)]
                shift = (index - (len(colours) - 1) / 2) * 0.18
                _bars(panels[row, 0], bars, depths, shift, colour)
                _bars(panels[row, 1], critical(bars), depths, shift, colour)
                _bars(panels[row, 2], natural(bars), depths, shift, colour)
            low, high = settings.analyze.e1.paper_band
            panels[row, 0].axhspan(low, high, color="#8C8C8C", alpha=0.18, linewidth=0)
            panels[row, 0].set_ylabel(f"{word(optimizer)}\ninitial std")
            panels[row, 1].set_ylabel("std × √(width / 2)")
            panels[row, 2].set_ylabel("a = std × √(fan factor)")
        panels[0, 0].set_title("stds that train")
        panels[0, 1].set_title("in units of the critical std")
        panels[0, 2].set_title("on the natural axis a")
        for axes in panels[-1]:
            axes.set_xlabel("depth (weight layers)")
        figure.suptitle(f"{word(dataset)}: do the edges of the band collapse over widths?")
        legend(figure, [*(line(f"width {width}", color=colour, linewidth=4)
                          for width, colour in colours.items()),
                        line("centre a = 1, predicted", color=INK, marker="_", linestyle="", markersize=7),
                        *([line("edge, by theory written after the first runs", **LAW)]
                          if "predicted" in edges else []),
                        *censoring(edges),
                        line(interval_label(edges.n, settings, "whisker"), color=INK, linewidth=0.9),
                        Patch(facecolor="#8C8C8C", alpha=0.3, label="the paper's band")], 3)
        yield f"e1_collapse_{dataset}", figure


def natural(edges: pd.DataFrame) -> pd.DataFrame:
    """e1_edges in units of the centre, the std at which a = 1."""
    return _in_units(edges, edges.centre).assign(centre=1.0)


def critical(edges: pd.DataFrame) -> pd.DataFrame:
    """e1_edges in units of the critical std sqrt(2 / width)."""
    return _in_units(edges, np.sqrt(2 / edges.width))


def _in_units(edges: pd.DataFrame, unit: "pd.Series[float]") -> pd.DataFrame:
    names = [name for name in ("std", "lo", "hi", "predicted", "centre") if name in edges]
    return edges.assign(**{name: edges[name] / unit for name in names})


def _bars(axes: Axes, edges: pd.DataFrame, depths: list[Any], shift: float, colour: Any) -> None:
    """A bar from lower to upper edge for each depth, whiskers for the intervals, arrows where censored."""
    log_axis(axes, "y")
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_xlim(-0.5, len(depths) - 0.5)
    for depth, pair in edges.groupby("depth"):
        x, ends = depths.index(depth) + shift, pair.set_index("edge")["std"]
        axes.vlines(x, ends["lower"], ends["upper"], color=colour, linewidth=5, alpha=0.55)
        axes.plot([x], pair.centre.iloc[:1], "_", color=INK, markersize=7)
        edge: Any
        for edge in pair.replace(np.inf, np.nan).itertuples():
            axes.vlines(x, edge.lo, edge.hi, color=INK, linewidth=0.9)
            axes.plot([x], [getattr(edge, "predicted", np.nan)], **LAW)
            if edge.censored:
                mark, away = beyond(edge.censored, edge.n), "^" if edge.edge == "upper" else "v"
                axes.plot([x], [edge.std], **{**mark, "marker": away})


def beyond(censored: int, n: int) -> dict[str, Any]:
    """Mark of an edge that `censored` of n seeds have beyond the grid; with half of them its std is there."""
    return BEYOND if censored >= n / 2 else PARTLY


def censoring(edges: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the marks that occur."""
    found = edges.censored[edges.censored > 0] / edges.n[edges.censored > 0]
    return [*([line("edge beyond the grid in most seeds", **BEYOND)] if (found >= 0.5).any() else []),
            *([line("edge beyond the grid in some seeds", **PARTLY)] if (found < 0.5).any() else [])]
