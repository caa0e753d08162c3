"""E2: schemes compared at equal depth, optimizer and learning rate."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from study.plotting.e1 import per_layer
from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    PALETTE,
    SCHEMES,
    Figures,
    Tables,
    band,
    categorical,
    interval_label,
    interval_patch,
    legend,
    line,
    log_axis,
    new_figure,
    word,
)

CONTRAST = ("kaiming", "xavier")
MARKS: dict[str, dict[str, Any]] = {"shared": {"marker": "o", "markersize": 4},
                                    "best": {"marker": "D", "markersize": 3.5}}
REACHED, AT_MOST, AT_LEAST, LEFT_OUT = "all seeds", "at most this", "at least this", "left out"
BOUNDS: dict[str, dict[str, Any]] = {
    REACHED: {"marker": "o", "markersize": 4}, AT_MOST: {"marker": "v", "markersize": 5},
    AT_LEAST: {"marker": "^", "markersize": 5}, LEFT_OUT: {"marker": "o", "markersize": 4}}
WHY = {AT_MOST: "at most this: Xavier censored in more seeds",
       AT_LEAST: "at least this: Kaiming censored in more seeds", LEFT_OUT: "left out: both censored"}
MEASURES = {"ln_steps_ratio": "ln(steps Kaiming / steps Xavier)\nbelow 0: Kaiming is faster",
            "test_accuracy": "test accuracy,\nKaiming − Xavier"}
LR = {"shared": "at one learning rate for all", "best": "at each scheme's best learning rate"}


def kaiming_and_xavier(tables: Tables, settings: Settings) -> Figures:
    """Validation loss over accuracy through training, optimizers down and depths across."""
    curves = tables["e2_curves"]
    curves = curves[curves.scheme.isin(CONTRAST) & curves.stat.isin(["val_loss", "val_accuracy"])]
    for dataset, rows in curves[curves.lr_kind == "shared"].groupby("dataset", sort=False):
        optimizers, depths = list(rows.optimizer.unique()), sorted(rows.depth.unique())
        height = 0.9 + 2.3 * len(optimizers)
        figure, panels = new_figure(2 * len(optimizers), len(depths), height, sharex=True, sharey="row",
                                    gridspec_kw={"height_ratios": [1.4, 1] * len(optimizers)})
        for (optimizer, depth, stat), cell in rows.groupby(["optimizer", "depth", "stat"]):
            row = 2 * optimizers.index(optimizer) + (stat == "val_accuracy")
            _curves(panels[row, depths.index(depth)], cell)
        for row, optimizer in enumerate(optimizers):
            panels[2 * row, 0].set_ylabel("validation loss\n(nats)")
            panels[2 * row + 1, 0].set_ylabel("validation\naccuracy")
            for column, depth in enumerate(depths):
                panels[2 * row, column].set_title(f"{word(optimizer)}, depth {depth}")
                panels[2 * row + 1, column].set_ylim(0, 1.02)
                panels[-1, column].set_xlabel("step")
        figure.suptitle(f"{word(dataset)}: Kaiming and Xavier {LR['shared']}")
        legend(figure, [*(line(word(name), color=SCHEMES[name]) for name in CONTRAST),
                        interval_patch(rows.n, settings)], 3)
        yield f"e2_curves_{dataset}", figure


def _curves(axes: Axes, cell: pd.DataFrame) -> None:
    for scheme in CONTRAST:
        curve = cell[cell.scheme == scheme].sort_values("step")
        if len(curve):
            band(axes, curve.step, curve["mean"], curve.lo, curve.hi, color=SCHEMES[scheme])


def time_to_threshold(tables: Tables, settings: Settings) -> Figures:
    """Steps until the loss threshold for every scheme; hollow where seeds ran out of steps."""
    for dataset, rows in tables["e2_threshold"].groupby("dataset", sort=False):
        optimizers, depths = list(rows.optimizer.unique()), sorted(rows.depth.unique())
        schemes = list(rows.scheme.unique())[::-1]
        height = 1.0 + (0.5 + 0.2 * len(schemes)) * len(optimizers)
        figure, panels = new_figure(len(optimizers), len(depths), height, sharex=True, sharey=True)
        for (optimizer, depth), cell in rows.groupby(["optimizer", "depth"]):
            axes = panels[optimizers.index(optimizer), depths.index(depth)]
            axes.set_title(f"{word(optimizer)}, depth {depth}")
            _dots(axes, cell, schemes, categorical(SCHEMES, schemes))
        for axes in panels[-1]:
            axes.set_xlabel("steps to threshold")
        figure.suptitle(f"{word(dataset)}: steps until the training loss is below {threshold(settings)}")
        legend(figure, [*(line(text, color=INK, linestyle="", **MARKS[kind]) for kind, text in LR.items()),
                        line("hollow: k of n seeds never got there, counted at the budget", color=INK,
                             linestyle="", **MARKS["shared"], markerfacecolor="white"),
                        line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.0)], 2)
        yield f"e2_threshold_{dataset}", figure


def threshold(settings: Settings) -> str:
    """The loss that counts as having learned, in words."""
    return f"{settings.analyze.e2.threshold:g} ln(classes)"


def _dots(axes: Axes, cell: pd.DataFrame, schemes: list[str], colours: dict[str, str]) -> None:
    """One row of the panel for each scheme; the shared learning rate above the best one."""
    log_axis(axes)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(schemes)), [word(scheme) for scheme in schemes])
    axes.set_ylim(-0.6, len(schemes) - 0.4)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.5)
    dot: Any
    for dot in cell.itertuples():
        y = schemes.index(dot.scheme) + (0.17 if dot.lr_kind == "shared" else -0.17)
        colour = colours[dot.scheme]
        axes.hlines(y, dot.lo, dot.hi, color=colour, linewidth=1.0)
        axes.plot([dot.steps], [y], color=colour, clip_on=False, **MARKS[dot.lr_kind],
                  markerfacecolor="white" if dot.censored else colour)
        if dot.censored:
            axes.annotate(f"{dot.censored}/{dot.n}", (dot.steps, y), (-6, 0), textcoords="offset points",
                          fontsize=6, color=colour, va="center", ha="right")


def signal_and_gradient(tables: Tables, settings: Settings) -> Figures:
    """Forward second moment and gradient norm per layer at init, for every scheme."""
    for dataset, rows in tables["e2_layers"].groupby("dataset", sort=False):
        rows = rows[rows.optimizer == rows.optimizer.iloc[0]].assign(line=rows.scheme)
        title = f"{word(dataset)}: signal and gradient of each scheme at initialisation"
        colours = categorical(SCHEMES, rows.scheme.unique())
        yield f"e2_layers_{dataset}", per_layer(rows, colours, title, settings)


def learning_rates(tables: Tables, settings: Settings) -> Figures:
    """Final validation loss over the share of seeds that train, against the learning rate."""
    for dataset, rows in tables["e2_lr"].groupby("dataset", sort=False):
        optimizers, depths = list(rows.optimizer.unique()), sorted(rows.depth.unique())
        colours = categorical(SCHEMES, rows.scheme.unique())
        height = 1.1 + 2.3 * len(optimizers)
        figure, panels = new_figure(2 * len(optimizers), len(depths), height, sharex="row", sharey="row",
                                    gridspec_kw={"height_ratios": [1.4, 1] * len(optimizers)})
        for (optimizer, depth), cell in rows.groupby(["optimizer", "depth"]):
            row, column = 2 * optimizers.index(optimizer), depths.index(depth)
            _by_rate(panels[row, column], panels[row + 1, column], cell, colours)
            panels[row, column].set_title(f"{word(optimizer)}, depth {depth}")
            panels[row, column].tick_params(labelbottom=False)
            panels[row, 0].set_ylabel("validation\nloss (nats)")
            panels[row + 1, 0].set_ylabel("share of\nseeds that train")
            panels[-1, column].set_xlabel("learning rate")
        figure.suptitle(f"{word(dataset)}: which learning rates train")
        legend(figure, [*(line(word(name), color=colour) for name, colour in colours.items()),
                        line("best, chosen on validation", color=INK, marker="o", linestyle="", markersize=4),
                        interval_patch(rows.n, settings)], 4)
        yield f"e2_learning_rates_{dataset}", figure


def _by_rate(loss: Axes, share: Axes, cell: pd.DataFrame, colours: dict[str, str]) -> None:
    log_axis(loss)
    log_axis(share)
    share.set_ylim(-0.05, 1.05)
    for scheme, curve in cell.groupby("scheme", sort=False):
        colour, curve = colours[str(scheme)], curve.sort_values("lr")
        band(loss, curve.lr, curve.val_loss, curve.val_loss_lo, curve.val_loss_hi, color=colour, linewidth=1)
        share.plot(curve.lr, curve.share_trains, color=colour, linewidth=1)
        best = curve[curve.best]
        loss.plot(best.lr, best.val_loss, "o", color=colour, markersize=4)


def gap(tables: Tables, settings: Settings) -> Figures:
    """Kaiming minus Xavier in ln steps and in test accuracy against depth, paired over seeds."""
    rows = bounded(tables["e2_gap"])
    rows = rows[rows.measure.isin(MEASURES) & rows.lr_kind.isin(LR)]
    for dataset, found in rows.groupby("dataset", sort=False):
        optimizers, depths = list(found.optimizer.unique()), sorted(found.depth.unique())
        figure, panels = new_figure(len(MEASURES), len(LR), 4.8, sharex=True, sharey="row")
        for (row, measure), (column, kind) in ((r, c) for r in enumerate(MEASURES) for c in enumerate(LR)):
            axes, cell = panels[row, column], found[(found.measure == measure) & (found.lr_kind == kind)]
            axes.axhline(0, color="#8C8C8C", linewidth=0.6)
            _gaps(axes, cell, optimizers, depths)
            panels[0, column].set_title(LR[kind])
            panels[-1, column].set_xlabel("depth (weight layers)")
            panels[row, 0].set_ylabel(MEASURES[measure])
        figure.suptitle(f"{word(dataset)}: the gap between Kaiming and Xavier")
        _gap_legend(figure, found, optimizers, settings)
        yield f"e2_gap_{dataset}", figure


def _gap_legend(figure: Figure, rows: pd.DataFrame, optimizers: list[str], settings: Settings) -> None:
    seen = set(rows.bound)
    legend(figure, [*(line(word(name), color=colour, marker="o", markersize=4)
                      for name, colour in zip(optimizers, PALETTE, strict=False)),
                    line(interval_label(rows.n, settings, "bar") + ", paired", color=INK, linewidth=1.2),
                    *([line("predicted from the first gradient (↓: far below)", color=INK, marker="_",
                            linestyle="", markersize=9)] if rows.predicted.notna().any() else []),
                    *(line(WHY[bound], color=INK, linestyle="", markerfacecolor="white", **BOUNDS[bound])
                      for bound in WHY if bound in seen)], 3)


def bounded(rows: pd.DataFrame) -> pd.DataFrame:
    """e2_gap with `bound`: what seeds that ran out of steps, counted at the budget, make of a gap."""
    more = rows.censored_xavier - rows.censored_kaiming
    steps = rows.measure == "ln_steps_ratio"
    kinds = [rows.excluded, steps & (more > 0), steps & (more < 0)]
    return rows.assign(bound=np.select(kinds, [LEFT_OUT, AT_MOST, AT_LEAST], REACHED))


def floor(rows: pd.DataFrame) -> float:
    """Where what lies far below everything measured is shown instead."""
    low, high = min(rows.lo.min(), rows.effect.min(), 0.0), max(rows.hi.max(), rows.effect.max(), 0.0)
    return float(low - 0.15 * (high - low))


def _gaps(axes: Axes, cell: pd.DataFrame, optimizers: list[str], depths: list[int]) -> None:
    dot: Any
    lowest = floor(cell)
    for index, (optimizer, colour) in enumerate(zip(optimizers, PALETTE, strict=False)):
        dots = cell[cell.optimizer == optimizer].sort_values("depth")
        shift = (index - (len(optimizers) - 1) / 2) * 0.14
        x = np.array([depths.index(depth) for depth in dots.depth]) + shift
        axes.plot(x, dots.effect, color=colour, linewidth=0.7, alpha=0.6)
        axes.vlines(x, dots.lo, dots.hi, color=colour, linewidth=1.2)
        axes.plot(x, dots.predicted.where(dots.predicted >= lowest), "_", color=INK, markersize=9)
        for at, dot in zip(x, dots.itertuples(), strict=True):
            axes.plot([at], [dot.effect], color=colour, linestyle="", **BOUNDS[dot.bound],
                      markerfacecolor=colour if dot.bound == REACHED else "white")
    for dot in far_below(cell).itertuples():
        axes.annotate(dot.told, (depths.index(dot.depth), lowest), fontsize=6.5, ha="center", va="bottom")
        axes.plot([depths.index(dot.depth)], [lowest], alpha=0)  # makes room
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])


def far_below(rows: pd.DataFrame) -> pd.DataFrame:
    """Predictions far below everything measured, each once for its depth, with what is `told` of them."""
    found = rows[rows.predicted < floor(rows)]
    told = [f"↓ {value:.1f}".replace("-", "−") for value in found.predicted]
    return found.assign(told=told).drop_duplicates(["dataset", "depth", "told"])
