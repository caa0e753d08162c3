"""E3: what the updates put into each matrix: R and R / D per layer, role and arm, and what sets D."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.plotting.e3 import layer_bar, main_arm, step_axis
from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    PREDICTED,
    ROLES,
    WIDTH,
    Figures,
    Tables,
    band,
    categorical,
    interval_label,
    interval_patch,
    legend,
    line,
    new_figure,
    ordered,
    word,
)
from variance_dynamics.weights.parameter import BLOCK, QKV

EARLY = 0.1
"""R is not drawn before this share of the steps: little is injected yet, and noise would hide the rest."""
RATIOS = {"R": "R", "R_over_D": "R / D"}
SCALE, DIVERGING = Normalize(0.0, 2.0), "RdBu_r"
WITHIN: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 1.8}
SHRINKS: dict[str, Any] = {"color": "white", "marker": "_", "markersize": 3}
FACTORS = {"c2": "c², size of one update", "memory": "memory, of momentum on", "D": "D = c² × memory",
           "persistence": "persistence beyond a window", "along": "along the initial weights",
           "grad_kurtosis": "excess kurtosis of the gradient"}
"""Columns of e3_mechanism: D = c2 memory, R = D persistence + along; the last may set c2."""
NOISE = {"c2": 1.0, "memory": 1.0, "D": 1.0, "persistence": 1.0, "along": 0.0, "grad_kurtosis": 0.0}
"""What white gaussian gradients have."""
CAUSES = {
    "size_share": "share of var ln D from c²", "memory_share": "share of var ln D from memory",
    "c2_with_grad_kurtosis": "c² with kurtosis of gradient", "c2_with_epsilon_share": "c² with share below ε",
    "memory_with_grad_norm": "memory with gradient norm", "D_with_layer": "D with layer",
    "D_with_grad_drift": "D with drift of gradient norm", "R_with_D": "R with D",
    "R_with_persistence": "R with persistence", "R_with_along": "R with along",
    "R_with_grad_drift": "R with drift of gradient norm",
}


def ratio(tables: Tables, settings: Settings) -> Figures:
    """R and R/D per layer: every role of the main arm and R through training; then every arm."""
    arm, rows = main_arm(tables["e3_ratio"], settings)
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    _ends(halves[0], rows[(rows.step == rows.step.max()) & (rows.layer > 0)], settings)
    _paths(halves[1], rows[rows.role.isin(QKV)])
    figure.suptitle(f"GPT-2, arm {arm}: injected variance against the null law (R = 1)")
    yield "e3_ratio", figure
    if tables["e3_ratio"].arm.nunique() > 1:
        yield "e3_ratio_arms", _arms(tables["e3_ratio"], settings)


def _arms(rows: pd.DataFrame, settings: Settings) -> Figure:
    """R over R/D at each arm's last step: a panel for each role, arms down, layers across."""
    last = rows[(rows.step == rows.groupby("arm").step.transform("max")) & rows.role.isin(BLOCK)]
    arms, layers = list(rows.arm.unique()), sorted(last.layer.unique())
    figure, panels = new_figure(len(RATIOS), len(BLOCK), 1.2 + 2 * (0.35 + 0.16 * len(arms)), sharex=True,
                                sharey=True)
    for (row, name), (column, role) in ((r, c) for r in enumerate(RATIOS) for c in enumerate(BLOCK)):
        _tiles(panels[row, column], last[last.role == role], name, (arms, layers), settings)
        panels[0, column].set_title(word(role))
        panels[1, column].set_xlabel("layer")
        panels[row, 0].set_ylabel(f"{RATIOS[name]}, by arm")
    bar = figure.colorbar(ScalarMappable(SCALE, DIVERGING), ax=panels, extend="both", pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    low, high = settings.analyze.e3.null_band
    figure.suptitle("GPT-2: injected variance at the last step, by arm (white: 1, the null law)")
    told = f"{interval_label(last.n, settings, 'dot')} within [{low:g}, {high:g}]"
    legend(figure, [line(told, linestyle="", **WITHIN),
                    line("bar: interval below 0, it shrinks", linestyle="", **{**SHRINKS, "color": INK})], 2)
    return figure


def _tiles(axes: Axes, rows: pd.DataFrame, name: str, grid: tuple[list[str], list[int]],
           settings: Settings) -> None:
    arms, layers = grid
    table = rows.pivot(index="arm", columns="layer", values=name).reindex(index=arms, columns=layers)
    axes.imshow(table.to_numpy(dtype=float), cmap=DIVERGING, norm=SCALE, aspect="auto")
    low, high = settings.analyze.e3.null_band
    for found, mark in ((rows[f"{name}_lo"].ge(low) & rows[f"{name}_hi"].le(high), WITHIN),
                        (rows[f"{name}_hi"].lt(0), SHRINKS)):
        x, y = rows.layer[found].map(layers.index), rows.arm[found].map(arms.index)
        axes.plot(x, y, linestyle="", **mark)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_xticks(range(0, len(layers), 3), [str(layer) for layer in layers[::3]])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _reference(axes: Axes) -> None:
    axes.axhline(1, **PREDICTED)
    axes.axhline(0, color="#8C8C8C", linewidth=0.6)


def _ends(figure: Figure, last: pd.DataFrame, settings: Settings) -> None:
    panels = figure.subplots(1, 2)
    roles = categorical(ROLES, [role for role in BLOCK if role in set(last.role)])
    for axes, (name, title) in zip(panels, RATIOS.items(), strict=True):
        for role, colour in roles.items():
            dots = last[last.role == role].sort_values("layer")
            band(axes, dots.layer, dots[name], dots[f"{name}_lo"], dots[f"{name}_hi"], alpha=0.1,
                 color=colour, marker="o", markersize=3)
        _reference(axes)
        axes.set_title(f"{title} at step {last.step.max()}")
        axes.set_xlabel("layer")
        axes.set_ylabel(title)
        axes.set_xticks(sorted(last.layer.unique()))
    legend(figure, [*(line(word(role), color=colour, marker="o", markersize=3)
                      for role, colour in roles.items()),
                    line("null law", **PREDICTED), interval_patch(last.n, settings)], 4)


def _paths(figure: Figure, rows: pd.DataFrame) -> None:
    layers = sorted(rows.layer.unique())
    colours = ordered(layers)
    panels = figure.subplots(1, len(QKV), sharey=True, squeeze=False)
    rows = rows[rows.step >= rows.step.max() * EARLY]
    for axes, role in zip(panels[0], QKV, strict=True):
        for layer, curve in rows[rows.role == role].groupby("layer"):
            curve = curve.sort_values("step")
            axes.plot(curve.step, curve.R, color=colours[layer], linewidth=1.1)
        _reference(axes)
        axes.set_title(f"R of {word(role)}, mean over seeds")
        step_axis(axes, rows.step)
    panels[0, 0].set_ylabel("R")
    layer_bar(figure, panels, layers)


def mechanism(tables: Tables, settings: Settings) -> Figures:
    """What R and D are made of at the end, against layer: a panel for each factor, a line for each role."""
    arm, rows = main_arm(tables["e3_mechanism"], settings)
    rows = rows[(rows.horizon == rows.horizon.max()) & (rows.layer > 0)]
    roles = categorical(ROLES, [role for role in BLOCK if role in set(rows.role)])
    figure, panels = new_figure(2, 3, 4.6, sharex=True)
    for axes, (name, title) in zip(panels.flat, FACTORS.items(), strict=True):
        axes.axhline(NOISE[name], **PREDICTED)
        for role, colour in roles.items():
            dots = rows[rows.role == role].sort_values("layer")
            band(axes, dots.layer, dots[name], dots[f"{name}_lo"], dots[f"{name}_hi"], alpha=0.08,
                 color=colour, marker="o", markersize=2.5, linewidth=1)
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(bottom=0 if name in ("c2", "memory", "D", "persistence") else None)
    for axes in panels[-1]:
        axes.set_xlabel("layer")
    figure.suptitle(f"GPT-2, arm {arm}: what the injected variance is made of, R = D × persistence + along")
    legend(figure, [*(line(word(role), color=colour, marker="o", markersize=3)
                      for role, colour in roles.items()),
                    line("white gaussian gradients", **PREDICTED), interval_patch(rows.n, settings)], 4)
    yield "e3_mechanism", figure


def causes(tables: Tables, settings: Settings) -> Figures:
    """Over the matrices of a run, what goes with the update size D and with R: a dot for each arm."""
    rows = tables["e3_causes"]
    arms = categorical({}, rows.arm.unique())
    names = sorted(rows.cause.unique(), key=lambda name: [*CAUSES, name].index(name))
    figure, panels = new_figure(1, 1, 1.3 + (0.14 + 0.06 * len(arms)) * len(names))
    axes = panels[0, 0]
    for index, (arm, colour) in enumerate(arms.items()):
        dots = rows[rows.arm == arm].set_index("cause").reindex(names)
        y = np.arange(len(names)) + (index - (len(arms) - 1) / 2) * 0.8 / max(len(arms), 3)
        axes.hlines(y, dots.lo, dots.hi, color=colour, linewidth=1.0)
        axes.plot(dots.value, y, "o", color=colour, markersize=3.5)
    axes.axvline(0, color="#8C8C8C", linewidth=0.6)
    axes.set_xlim(-1.05, 1.05)
    axes.set_yticks(range(len(names)), [CAUSES.get(name, word(name)) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("share, or rank correlation over the matrices of the blocks")
    figure.suptitle("GPT-2: what goes with the size of the updates (exploratory)")
    legend(figure, [*(line(arm, color=colour, marker="o", markersize=3.5) for arm, colour in arms.items()),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.0)], 5)
    yield "e3_causes", figure
