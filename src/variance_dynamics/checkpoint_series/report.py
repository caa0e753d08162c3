"""A series as text, as JSON, and as a picture."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.terminal import aligned
from variance_dynamics.checkpoint_series.series import Series
from variance_dynamics.checkpoint_series.walk import COSINES
from variance_dynamics.theory.null_law import HOLDS
from variance_dynamics.weights.parameter import BLOCK, QKV

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCREEN = 24
"""Steps that the table shows; of more, these many are spread evenly."""
WORDS = ("role", "verdict")


def to_text(series: Series) -> str:
    """A headline, the std of each role at each step, the law, notes, and a line for each fault."""
    steps = series.steps
    headline = f"{series.source}: {len(steps)} checkpoints, steps {steps[0].number:,} to {steps[-1].number:,}"
    parts = [headline]
    if series.table is not None:
        parts.append("\n".join(["median over the layers:", *_by_step(series.table)]))
    if series.compared is not None:
        parts.append("\n".join(_law(series)))
    parts.append("\n".join([*(f"note: {note}" for note in series.notes), *_traffic(series),
                            *(f"fault: {fault}" for fault in series.faults),
                            f"faults: {len(series.faults)}" if series.faults else "no fault was found"]))
    return "\n\n".join(parts)


def _traffic(series: Series) -> list[str]:
    return [f"read over the network: {series.read:,} bytes"] if series.read else []


def _by_step(table: "pd.DataFrame") -> list[str]:
    """Of each role the std, and of all matrices the cosines."""
    std = table[table["stat"] == "std"].groupby(["step", "role"])["value"].median()
    cosines = table[table["stat"].isin(COSINES)].groupby(["step", "stat"])["value"].median()
    roles = _ordered(list(dict.fromkeys(table["role"])))
    lines = [["step", *(f"std {role}" for role in roles), *(name.replace("_", " ") for name in COSINES)]]
    for step in _shown(sorted(set(table["step"]))):
        values = [*(std.get((step, role), math.nan) for role in roles)]
        alike = [*(cosines.get((step, name), math.nan) for name in COSINES)]
        lines.append([f"{step:,}", *(_cell(value, ".4g") for value in values),
                      *(_cell(value, ".4f") for value in alike)])
    return aligned(lines, ())


def _cell(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""


def _ordered(roles: Sequence[str]) -> list[str]:
    """Those of a block in its order, then the others."""
    return [*(role for role in BLOCK if role in roles), *(role for role in roles if role not in BLOCK)]


def _shown(steps: Sequence[int]) -> list[int]:
    if len(steps) <= SCREEN:
        return list(steps)
    return [steps[place] for place in np.unique(np.linspace(0, len(steps) - 1, SCREEN).round().astype(int))]


def _law(series: Series) -> list[str]:
    """The verdict of each role at the last step."""
    run, plan = series.compared, series.schedule
    assert run is not None and plan is not None
    rows = [["role", "matrices", "std 0", "std", "law", "R", "verdict"]]
    rows += [[v.role, str(v.matrices), f"{v.initial:.4g}", f"{v.measured:.4g}", f"{v.predicted:.4g}",
              f"{v.ratio:.2f}", v.verdict] for v in run.roles]
    low, high = HOLDS
    return [f"the null law at step {run.last:,}, with a peak lr of {plan.lr:g} and a weight decay of "
            f"{plan.weight_decay:g}; medians:",
            *aligned(rows, WORDS), f"R is within [{low}, {high}] for {run.lawful} of {len(run.end)} matrices"]


def to_json(series: Series) -> str:
    """All that the text says, as one JSON object; null for what is not finite."""
    values: dict[str, Any] = {
        "source": series.source, "faults": list(series.faults), "notes": list(series.notes),
        "read": series.read,
        "steps": [{"step": step.number, "name": step.name, **({"commit": step.commit} if step.commit else {})}
                  for step in series.steps]}
    if series.compared is not None:
        values["law"] = {"step": series.compared.last, "lawful": series.compared.lawful,
                         "matrices": len(series.compared.end),
                         "roles": [{key: _finite(value) for key, value in vars(verdict).items()}
                                   for verdict in series.compared.roles]}
    return json.dumps(values, indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_png(path: str | Path, series: Series) -> None:
    """Std of Q, K and V by layer against the step, linear and log, the law dashed; R by layer at the end.

    Where a model has no q, k, v, its first three roles. Raises BadInput without matplotlib, without a table,
    or where `path` cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput(f"png is {path}: expected matplotlib to be installed, for instance by "
                       "pip install 'variance-dynamics[png]'") from None
    if series.table is None:
        raise BadInput(f"png is {path}: expected a series that is measured, not only checked")
    roles = _drawn(series.table)
    law = series.compared is not None
    figure = Figure(figsize=(4 * len(roles), 7 + 2.5 * law), layout="constrained")
    axes = figure.subplots(2 + law, len(roles), squeeze=False, sharey="row")
    for column, role in enumerate(roles):
        for row, scale in enumerate(("linear", "symlog")):
            _curves(axes[row, column], series, role, scale)
        if law:
            _ratios(axes[2, column], series, role)
    for row, label in zip(axes, ("std of a weight matrix", "std of a weight matrix", "R at the last step"),
                          strict=False):
        row[0].set_ylabel(label)
    for row in axes[:2]:
        row[0].set_ylim(0, 1.05 * max(each.dataLim.y1 for each in row))
    axes[0, -1].legend(frameon=False, fontsize="x-small", ncols=2)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as problem:
        raise BadInput(f"png is {path}: {problem}: expected a file that can be written") from None


def _drawn(table: "pd.DataFrame") -> list[str]:
    present = list(dict.fromkeys(table["role"]))
    return [role for role in QKV if role in present] or _ordered(present)[:3]


def _curves(axes: "Axes", series: Series, role: str, scale: str) -> None:
    """One line a matrix, darker for deeper layers; the law of the first and the last layer is dashed."""
    from matplotlib import colormaps

    assert series.table is not None
    rows = series.table[(series.table["stat"] == "std") & (series.table["role"] == role)]
    layers = sorted(rows["layer"].unique())
    shade = colormaps["viridis"]
    colors = {layer: shade(place / max(1, len(layers) - 1)) for place, layer in enumerate(layers)}
    for (layer, _), of_matrix in rows.groupby(["layer", "name"], sort=False):
        axes.plot(of_matrix["step"], of_matrix["value"], color=colors[layer], linewidth=1,
                  label=f"layer {layer}" if layer in (layers[0], layers[-1]) else None)
    if series.compared is not None:
        law = series.compared.std[series.compared.std["role"] == role]
        for layer in {layers[0], layers[-1]}:
            first = law[law["layer"] == layer].groupby("step")["predicted"].median()
            axes.plot(first.index, first, "--", color=colors[layer], linewidth=1,
                      label=f"null law, layer {layer}")
    axes.set(title=role, xlabel="step" if scale == "linear" else "step (log)")
    if scale == "symlog":
        after = [step.number for step in series.steps if step.number]
        axes.set_xscale("symlog", linthresh=after[0] if after else 1)


def _ratios(axes: "Axes", series: Series, role: str) -> None:
    from matplotlib.ticker import MaxNLocator

    assert series.compared is not None
    end = series.compared.end
    end = end[end["role"] == role]
    axes.axhspan(*HOLDS, color="0.9")
    axes.plot(end["layer"], end["R"], "o", color="tab:blue")
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set(xlabel=f"layer ({role})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
