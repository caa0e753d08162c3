"""E3: the std of GPT-2's weight matrices through training, beside the null law."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    PREDICTED,
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
    ordered,
    sequential,
    word,
)
from variance_dynamics.weights.parameter import QKV

LAW = "null law, predicted before training"


def main_arm(rows: pd.DataFrame, settings: Settings) -> tuple[str, pd.DataFrame]:
    """The arm that the detailed figures show, with its rows: the claims' if it was run, else the first."""
    wanted = settings.analyze.e3.arm
    arm = wanted if wanted in set(rows.arm) else str(rows.arm.iloc[0])
    return arm, rows[rows.arm == arm]


def qkv_std(tables: Tables, settings: Settings) -> Figures:
    """Std of Q, K and V against steps, a line for each layer: the main arm, then all arms."""
    rows = tables["e3_std"]
    rows = rows[rows.role.isin(QKV)]
    main = main_arm(rows, settings)[0]
    arms = [main, *(arm for arm in rows.arm.unique() if arm != main)]
    yield "e3_qkv_std", _std_figure(rows, [main], 2.9, settings)
    if len(arms) > 1:
        yield "e3_qkv_std_arms", _std_figure(rows, arms, 0.9 + 1.5 * len(arms), settings)


def _std_figure(rows: pd.DataFrame, arms: list[str], height: float, settings: Settings) -> Figure:
    layers = sorted(rows.layer.unique())
    colours = ordered(layers)
    figure, panels = new_figure(len(arms), len(QKV), height, sharey="row")
    for line_of_panels, arm in zip(panels, arms, strict=True):
        for axes, role in zip(line_of_panels, QKV, strict=True):
            curves = rows[(rows.arm == arm) & (rows.role == role)].sort_values("step")
            for layer, curve in curves.groupby("layer"):
                band(axes, curve.step, curve.value, curve.lo, curve.hi, alpha=0.06, color=colours[layer],
                     linewidth=1.1)
            _law(axes, curves)
            step_axis(axes, curves.step, label=arm == arms[-1])
            axes.set_title(f"{word(role)}, arm {arm}")
        line_of_panels[0].set_ylabel("std of the weights")
    layer_bar(figure, panels, layers)
    figure.suptitle("GPT-2: std of the query, key and value matrices through training")
    legend(figure, [line(LAW, **PREDICTED), interval_patch(rows.n, settings)], 2)
    return figure


def _law(axes: Axes, curves: pd.DataFrame) -> None:
    for _, curve in curves[curves.layer.isin(distinct_laws(curves))].groupby("layer"):
        axes.plot(curve.step, curve.predicted, **PREDICTED, zorder=5)


def distinct_laws(curves: pd.DataFrame) -> list[int]:
    """Layers whose predicted std is worth a line: the first if all coincide (within 5%), else every one."""
    by_layer = curves.pivot_table(index="step", columns="layer", values="predicted")
    alike = bool(((by_layer.max(axis=1) / by_layer.min(axis=1)) < 1.05).all())
    return [int(layer) for layer in by_layer.columns.to_list()][: 1 if alike else None]


def step_axis(axes: Axes, steps: pd.Series, label: bool = True) -> None:
    """Steps from 0 to the last, labelled sparsely."""
    axes.set_xlim(0, max(int(steps.max()), 1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step" if label else "")


def layer_bar(figure: Figure, panels: Any, layers: list[int]) -> None:
    """The colours of the layers, beside the panels."""
    scale = Normalize(layers[0], max(layers[-1], layers[0] + 1))
    bar = figure.colorbar(ScalarMappable(scale, sequential()), ax=panels, pad=0.01, aspect=30 * len(panels),
                          label="layer (1 is next to the input)")
    bar.set_ticks([layer for layer in layers if layer in (layers[0], layers[-1]) or layer % 3 == 0])
    bar.outline.set_visible(False)


def histogram(tables: Tables, settings: Settings) -> Figures:
    """Density of one layer's Q, K and V weights of one seed, a line for each dump, coloured by step."""
    arm, rows = main_arm(tables["e3_hist"], settings)
    scale = LogNorm(1, max(rows.step.max(), 2))
    figure, panels = new_figure(1, len(QKV), 2.7, sharey=True, sharex=True)
    for axes, role in zip(panels[0], QKV, strict=True):
        log_axis(axes, "y")
        for step, bars in rows[(rows.role == role) & (rows.density > 0)].groupby("step"):
            colour = sequential()(scale(bars.step.iloc[0])) if step else INK
            axes.plot((bars.left + bars.right) / 2, bars.density, linewidth=1.0, color=colour,
                      zorder=2 if step else 3)
        axes.set_title(word(role))
        axes.set_xlabel("weight")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    panels[0, 0].set_ylabel("density")
    bar = figure.colorbar(ScalarMappable(scale, sequential()), ax=panels, label="step", pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    figure.suptitle(f"GPT-2, arm {arm}: the weights of layer {rows.layer.iloc[0]} through training")
    legend(figure, [line("at initialisation", color=INK),
                    line("later, one seed", color=sequential()(0.6))], 2)
    yield "e3_histogram", figure


def losses(tables: Tables, settings: Settings) -> Figures:
    """Training and validation loss of every arm, and the validation loss that each ends with."""
    rows = tables["e3_loss"]
    rows = rows[rows.stat.isin(["train_loss", "val_loss"])]
    colours = categorical({}, rows.arm.unique())
    figure, panels = new_figure(1, 3, 3.0, width_ratios=(1, 1, 0.8))
    for axes, stat in zip(panels[0], ("train_loss", "val_loss"), strict=False):
        for arm, colour in colours.items():
            curve = rows[(rows.arm == arm) & (rows.stat == stat)].sort_values("step")
            marks = {"marker": "o", "markersize": 2.5} if stat == "val_loss" else {"linewidth": 0.9}
            band(axes, curve.step, curve["mean"], curve.lo, curve.hi, color=colour, **marks)
        axes.set_title(word(stat))
        step_axis(axes, rows.step)
    panels[0, 1].sharey(panels[0, 0])
    panels[0, 0].set_ylabel("loss (nats per token)")
    _ends(panels[0, 2], rows[rows.stat == "val_loss"], colours)
    figure.suptitle("GPT-2: loss")
    legend(figure, [*(line(arm, color=colour) for arm, colour in colours.items()),
                    interval_patch(rows.n, settings),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.2)], 5)
    yield "e3_loss", figure


def _ends(axes: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    """The last loss of each arm, with its interval."""
    last = rows[rows.step == rows.groupby("arm").step.transform("max")].set_index("arm")
    last = last.reindex(list(colours))
    for place, (arm, colour) in enumerate(colours.items()):
        axes.hlines(place, last.lo[arm], last.hi[arm], color=colour, linewidth=1.2)
        axes.plot(last["mean"][arm], place, "o", color=colour, markersize=4)
    axes.set(title="validation loss, last step", xlabel="loss (nats per token)",
             ylim=(len(colours) - 0.5, -0.5))
    axes.set_yticks(range(len(colours)), list(colours))


def residual_stream(tables: Tables, settings: Settings) -> Figures:
    """Second moment of the residual stream after each block, for some steps."""
    arm, rows = main_arm(tables["e3_acts"], settings)
    steps = sorted(rows.step.unique())
    aims = [share * steps[-1] for share in (0, 0.1, 0.25, 0.5, 1)]
    chosen = sorted({min((abs(step - aim), step) for step in steps)[1] for aim in aims})
    figure, panels = new_figure(1, 1, 2.8)
    axes = panels[0, 0]
    log_axis(axes, "y", minor=True)
    for step, colour in ordered(chosen).items():
        points = rows[rows.step == step].sort_values("layer")
        band(axes, points.layer, points.value, points.lo, points.hi, color=colour, marker="o", markersize=3,
             label=f"step {step}")
    axes.set_xlabel("after block (0: embeddings)")
    axes.set_ylabel("second moment of\nthe residual stream")
    axes.set_xticks(sorted(rows.layer.unique()))
    axes.legend(title=interval_label(rows.n, settings), title_fontsize=7.5, loc="center left",
                bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"GPT-2, arm {arm}: residual stream")
    yield "e3_residual", figure
