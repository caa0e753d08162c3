"""E3: what moves the matrices: shallow against deep, their state, forecasts, how fast init is forgotten."""

from typing import Any

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator

from study.plotting.e3 import main_arm
from study.plotting.params import Settings
from study.plotting.style import (
    INK,
    PALETTE,
    PREDICTED,
    ROLES,
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
    seeds,
    word,
)
from variance_dynamics.weights.parameter import BLOCK, QKV

STATES = {"drifting": "#D55E00", "equilibrium": "#009E73", "quiet": "#56B4E9", "frozen": "#D9D9D9",
          "unknown": "#FFFFFF"}
DOT: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 4}
DIFFER: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 2, "color": INK}
GROUPS = {"qkv": "Q, K, V", "block": "all block matrices"}
WAYS = {"no_change": "no change", "law": "null law (R = 1)", "forecast": "size so far, carried on"}


def expansion(tables: Tables, settings: Settings) -> Figures:
    """Growth of shallow minus deep layers by horizon, with and without layer 1."""
    arm, rows = main_arm(tables["e3_expansion"], settings)
    horizons = sorted(rows.horizon.unique())
    colours = {"qkv": INK, **{role: ROLES[role] for role in QKV}}
    figure, panels = new_figure(1, 2, 2.9, sharey=True)
    for axes, without in zip(panels[0], (False, True), strict=True):
        axes.axhline(0, color="#8C8C8C", linewidth=0.6)
        for index, (role, colour) in enumerate(colours.items()):
            dots = rows[(rows.role == role) & (rows.without_first == without)].sort_values("horizon")
            x = np.arange(len(dots)) + (index - 1.5) * 0.12
            axes.vlines(x, dots.lo, dots.hi, color=colour, linewidth=1.2)
            axes.plot(x, dots.effect, "o", color=colour, markersize=4)
        axes.set_xticks(range(len(horizons)), [f"{share:.0%}" for share in horizons])
        axes.set_xlabel("share of the steps")
        axes.set_title(shallow(settings, without))
    panels[0, 0].set_ylabel("ln(std / initial std),\nshallow − deep layers")
    figure.suptitle(f"GPT-2, arm {arm}: do shallow layers expand first? Above 0 they do")
    legend(figure, [*(line("mean of Q, K, V" if role == "qkv" else word(role), color=colour, **DOT)
                      for role, colour in colours.items()),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.2)], 5)
    yield "e3_expansion", figure


def shallow(settings: Settings, without_first: bool) -> str:
    """Which layers count as shallow; of a model of fewer than twice as many, its first half."""
    most = settings.analyze.e3.shallow_layers
    return f"layers {1 + without_first}–{most} against the last {most}"


def last_steps(settings: Settings) -> str:
    """The part of a run that counts as its end, in words."""
    return f"the last {settings.analyze.e3.last_share:.0%} of the steps"


def first_steps(settings: Settings) -> str:
    """What a forecast has seen of a run, in words."""
    return f"the first {settings.analyze.e3.forecast_fraction:.0%} of the steps"


def states(tables: Tables, settings: Settings) -> Figures:
    """What each matrix does in the last steps: layers across, matrices down, by arm."""
    rows = tables["e3_state"]
    rows = rows[rows.role.isin(BLOCK)]
    arms, layers = list(rows.arm.unique()), sorted(rows.layer.unique())
    lines = -(-len(arms) // 2)
    figure, panels = new_figure(lines, min(len(arms), 2), 0.8 + 1.5 * lines, sharex=True, sharey=True)
    for axes in panels.flat[len(arms):]:
        axes.set_visible(False)
    for axes, arm in zip(panels.flat, arms, strict=False):
        place: Any
        for place in rows[rows.arm == arm].itertuples():
            x, y = layers.index(place.layer), BLOCK.index(place.role)
            axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=STATES[place.state],
                                     linewidth=0))
            if place.agree < 1:
                axes.plot(x, y, **DIFFER)
        axes.set(xlim=(-0.5, len(layers) - 0.5), ylim=(len(BLOCK) - 0.5, -0.5))
        axes.set(title=f"arm {arm}", xlabel="layer")
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_yticks(range(len(BLOCK)), [word(role) for role in BLOCK])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle(f"GPT-2: what each matrix does in {last_steps(settings)}, mean over {seeds(rows.n)}")
    legend(figure, [*(Patch(facecolor=colour, label=name) for name, colour in STATES.items()
                      if name in set(rows.state)), line("seeds differ", **DIFFER)], 5)
    yield "e3_state", figure


def forecast_errors(tables: Tables, settings: Settings) -> Figures:
    """How far each way of telling the final std is off, by arm."""
    rows = tables["e3_errors"]
    arms = list(rows.arm.unique())
    figure, panels = new_figure(1, 2, 1.3 + 0.42 * len(arms), sharey=True)
    for axes, (roles, title) in zip(panels[0], GROUPS.items(), strict=True):
        part = rows[rows.roles == roles].set_index("arm").reindex(arms)
        for index, (way, colour) in enumerate(zip(WAYS, PALETTE, strict=False)):
            y = np.arange(len(arms)) + (index - 1) * 0.2
            axes.hlines(y, part[f"error_{way}_lo"], part[f"error_{way}_hi"], color=colour, linewidth=1.2)
            axes.plot(part[f"error_{way}"], y, "o", color=colour, markersize=4)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_title(title)
        axes.set_xlabel("mean |ln(told std / final std)|")
    figure.suptitle(f"GPT-2: error of the final std, told in advance (size: that of {first_steps(settings)})")
    legend(figure, [*(line(label, color=colour, **DOT)
                      for label, colour in zip(WAYS.values(), PALETTE, strict=False)),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.2)], 2)
    yield "e3_forecast", figure


def convergence(tables: Tables, settings: Settings) -> Figures:
    """Arms that differ in the initial std alone: what is left of their gap in variance."""
    rows = tables["e3_convergence"]
    rows = rows[rows.role.isin(QKV)].assign(pair=rows.arm + " and " + rows.other)
    colours = categorical({}, rows.pair.unique())
    figure, panels = new_figure(1, len(QKV), 2.9, sharey=True)
    for axes, role in zip(panels[0], QKV, strict=True):
        for pair, curve in rows[rows.role == role].sort_values("step").groupby("pair", sort=False):
            band(axes, curve.step, curve.left, curve.lo, curve.hi, color=colours[str(pair)])
            axes.plot(curve.step, curve.predicted, **PREDICTED)
        axes.set_title(word(role))
        axes.set_xlabel("step")
    panels[0, 0].set_ylabel("share left of the\ngap in variance")
    figure.suptitle("GPT-2: how fast the initial std is forgotten")
    legend(figure, [*(line(pair, color=colour) for pair, colour in colours.items()),
                    line("null law, predicted before training", **PREDICTED),
                    interval_patch(rows.n, settings)], 3)
    yield "e3_convergence", figure


def bands(tables: Tables, settings: Settings) -> Figures:
    """How narrow the std of each role's layers ends, by arm: what still moves, and the spread over layers."""
    rows, rules = tables["e3_bands"], settings.analyze.e3
    arms, limits = list(rows.arm.unique()), {"slope": rules.narrow_slope, "spread": rules.narrow_spread}
    titles = {"slope": f"|d ln std / d ln step|,\n{last_steps(settings)}",
              "spread": "SD over layers of ln(std / initial std),\nby the size of its mean"}
    roles = categorical(ROLES, [role for role in BLOCK if role in set(rows.role)])
    figure, panels = new_figure(1, 2, 1.4 + 0.42 * len(arms), sharey=True)
    for axes, (name, limit) in zip(panels[0], limits.items(), strict=True):
        log_axis(axes)
        axes.axvline(limit, **PREDICTED)
        for index, (role, colour) in enumerate(roles.items()):
            part = rows[rows.role == role].set_index("arm").reindex(arms)
            y = np.arange(len(arms)) + (index - (len(roles) - 1) / 2) * 0.8 / len(roles)
            axes.hlines(y, part[f"{name}_lo"].clip(lower=part[name] / 30), part[f"{name}_hi"], color=colour,
                        linewidth=1.2)
            axes.plot(part[name], y, "o", color=colour, markersize=3.5)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlabel(titles[name])
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 300 * low else (1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter("{x:g}")
    figure.suptitle("GPT-2: does the std settle into narrow bands? Left of both limits it does, if the lr is "
                    "constant")
    legend(figure, [*(line(word(role), color=colour, **DOT) for role, colour in roles.items()),
                    line("the claim's limit", **PREDICTED),
                    line(interval_label(rows.n, settings, "bar"), color=INK, linewidth=1.2)], 4)
    yield "e3_bands", figure
