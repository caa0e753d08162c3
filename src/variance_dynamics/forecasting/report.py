"""A forecast as text, as JSON, and as a picture."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.terminal import printable
from variance_dynamics.forecasting.forecast import FORGOTTEN, Forecast
from variance_dynamics.forecasting.recorded import ComparedRun
from variance_dynamics.forecasting.std_table import MATRIX
from variance_dynamics.theory.laws import LAWS
from variance_dynamics.theory.null_law import HOLDS

Points = Sequence[tuple[float, float]]
SHARES = (0.0, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0)
"""The table's lines, as shares of the steps."""
WIDTH, HEIGHT = 68, 16
"""Of the chart, in characters."""


def to_text(forecast: Forecast, run: ComparedRun | None = None) -> str:
    """The forecast in sentences, a table and a chart; with a recorded run its verdicts too."""
    parts = [_sentences(forecast), _table(forecast), _chart(forecast, run)]
    return "\n\n".join([*parts, _verdicts(run)] if run else parts)


def _sentences(forecast: Forecast) -> str:
    plan, entry = forecast.schedule, LAWS[forecast.law.optimizer]
    settled = forecast.peak_equilibrium
    lines = [f"std {forecast.sigma_0:g} -> {forecast.std[-1]:.4g} after {plan.steps:,} steps of "
             f"{entry.title} ({plan.words}), if the updates are pure noise"]
    if not forecast.law.settles:
        lines.append("there is no equilibrium: each step multiplies the std by a factor")
    elif plan.weight_decay:
        lines.append(f"sigma_eq: {settled:.4g} at the peak lr, {forecast.equilibrium[-1]:.4g} at the last")
        lines.append(f"time constants at the peak lr: {forecast.time_constant:,.0f} steps for the variance, "
                     f"{2 * forecast.time_constant:,.0f} for the initial weights")
    else:
        lines.append("without weight decay there is no equilibrium, and the initial weights do not decay")
    basis = [f"the law: {entry.formula}", f"it assumes: {entry.assumes}", f"source: {entry.source}"]
    return "\n".join([*lines, _forgetting(forecast), f"at the end: {_ending(forecast)}", *basis])


def _forgetting(forecast: Forecast) -> str:
    left = f"{forecast.share_of_init[-1]:.1%} of the variance is still the initial weights at the end"
    if forecast.forgotten is None:
        return f"init is not forgotten: {left}"
    return (f"init is forgotten (under {FORGOTTEN:.0%} of the variance) after {forecast.forgotten:,} steps; "
            f"{left}")


def _ending(forecast: Forecast) -> str:
    met = forecast.met_equilibrium
    before = f"; it first reached the equilibrium of its lr at step {met:,}" if met is not None else ""
    last = float(forecast.equilibrium[-1])
    known = math.isfinite(last) and last > 0
    away = f" at {forecast.std[-1]:.4g} (the last lr would settle at {last:.4g})" if known else ""
    meaning = {"in equilibrium": "in equilibrium with its lr", "frozen": f"stopped by the small lr{away}",
               "moving": f"still moving{away}"}
    return meaning[forecast.ending] + before


def _table(forecast: Forecast) -> str:
    steps = sorted({round(share * forecast.schedule.steps) for share in SHARES})
    lines = [f"{'step':>12}  {'lr':>9}  {'std':>9}  {'sigma_eq':>9}  {'of init':>7}"]
    for step in steps:
        now = min(step, forecast.schedule.steps - 1)
        lines.append(f"{step:>12,}  {forecast.schedule.rates[now]:>9.3g}  {forecast.std[step]:>9.4g}  "
                     f"{forecast.equilibrium[now]:>9.4g}  {forecast.share_of_init[step]:>7.1%}")
    return "\n".join(lines)


def _chart(forecast: Forecast, run: ComparedRun | None) -> str:
    steps = np.unique(np.linspace(0, forecast.schedule.steps, 4 * WIDTH).round().astype(int))
    law = [(float(step), float(forecast.std[step])) for step in steps]
    top = 2 * max(y for _, y in law)
    last = forecast.schedule.steps - 1
    settled = [(float(step), float(forecast.equilibrium[min(step, last)])) for step in steps]
    curves = [("-", [point for point in settled if point[1] <= top]), ("*", law)]
    legend = "* std by the null law   - sigma_eq of the current lr"
    if run is not None:
        medians = run.std.groupby("step")["measured"].median()
        curves.append(("o", list(zip(map(float, medians.index), map(float, medians), strict=True))))
        legend += "   o recorded (median over matrices)"
    return f"{chart(curves, 'steps')}\n{'':>10}{legend}"


def chart(curves: Iterable[tuple[str, Points]], x_name: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """A chart in plain characters of curves (a character, points), later ones on top.

    Both axes are linear, y starts at 0, and points that are not finite are left out.
    """
    drawn = [(mark, [(x, y) for x, y in points if math.isfinite(y)]) for mark, points in curves]
    most_x = max((x for _, points in drawn for x, _ in points), default=1.0) or 1.0
    most_y = max((y for _, points in drawn for _, y in points), default=1.0) or 1.0
    grid = [[" "] * width for _ in range(height)]
    for mark, points in drawn:
        for x, y in points:
            grid[height - 1 - round(y / most_y * (height - 1))][round(x / most_x * (width - 1))] = mark
    lines = [f"{_label(i, height, most_y):>8} |{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    axis = f"{'':>8} +{'-' * width}"
    right = f"{most_x:,.0f} {x_name}"
    return "\n".join([*lines, axis, f"{'':>10}0{right:>{width - 1}}"])


def _label(line: int, height: int, most: float) -> str:
    """A number on every fifth line."""
    value = most * (height - 1 - line) / (height - 1)
    return f"{value:.4g}" if line % 5 == 0 else ""


def _verdicts(run: ComparedRun) -> str:
    lines = [f"recorded run at step {run.last:,}; R = variance added by updates / the law's "
             "(1: the law holds, 0: only decay, below 0: updates shrink the weights)", "",
             f"{'role':<10}  {'n':>3}  {'std at 0':>9}  {'measured':>9}  {'the law':>9}  {'R':>6}  "
             f"{'over layers':>13}  verdict"]
    for v in run.roles:
        std = f"{v.initial:>9.4g}  {v.measured:>9.4g}  {v.predicted:>9.4g}"
        spread = f"{v.ratio_low:.2f}..{v.ratio_high:.2f}"
        role = printable(v.role)
        lines.append(f"{role:<10}  {v.matrices:>3}  {std}  {v.ratio:>6.2f}  {spread:>13}  {v.verdict}")
    low, high = HOLDS
    verdict = f"verdict: R is within [{low}, {high}] for {run.lawful} of {len(run.end)} matrices"
    error = f"mean error of ln std at the end: {_errors(run)}"
    return "\n".join([*lines, "", *_left_out(run), f"{verdict}; {error}"])


def _left_out(run: ComparedRun) -> Iterator[str]:
    if run.broken:
        yield f"{run.broken} of {len(run.end)} matrices have a std that is NaN or infinite"
    if run.incomplete:
        yield f"{run.incomplete} matrices have no std at step 0 or at step {run.last:,} and are left out"
    if run.left_out:
        names = ", ".join(run.left_out)
        yield f"not judged, as lr or decoupled weight decay is not known: {names}"


def _errors(run: ComparedRun) -> str:
    return f"the law {run.error('predicted'):.3f}, no change {run.error('initial'):.3f}"


def to_json(forecast: Forecast, run: ComparedRun | None = None) -> str:
    """All that the text says, as one JSON object; null for what is infinite or never happens."""
    steps = np.unique(np.linspace(0, forecast.schedule.steps, 201).round().astype(int))
    values: dict[str, Any] = {
        "optimizer": forecast.law.optimizer,
        "std_initial": forecast.sigma_0, "std_final": float(forecast.std[-1]),
        "sigma_eq_peak": _finite(forecast.peak_equilibrium),
        "sigma_eq_last": _finite(float(forecast.equilibrium[-1])),
        "time_constant_variance": _finite(forecast.time_constant),
        "init_forgotten_at": forecast.forgotten, "init_share_final": float(forecast.share_of_init[-1]),
        "met_equilibrium_at": forecast.met_equilibrium, "ending": forecast.ending,
        "curve": [{"step": int(step), "std": float(forecast.std[step])} for step in steps]}
    if run is not None:
        roles = [{key: _finite(value) for key, value in vars(verdict).items()} for verdict in run.roles]
        values["recorded"] = {"step": run.last, "matrices": len(run.end), "lawful": run.lawful,
                              "broken": run.broken, "incomplete": run.incomplete,
                              "left_out": list(run.left_out),
                              "error_law": _finite(run.error("predicted")),
                              "error_no_change": _finite(run.error("initial")), "roles": roles}
    return json.dumps(values, indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_png(path: str | Path, forecast: Forecast, run: ComparedRun | None = None) -> None:
    """The forecast as a picture. Raises BadInput without matplotlib, or where `path` cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput(f"png is {path}: expected matplotlib to be installed, for instance by "
                       "pip install 'variance-dynamics[png]'") from None
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = np.unique(np.linspace(0, forecast.schedule.steps, 1001).round().astype(int))
    label: str | None = "recorded, each matrix"
    for _, rows in run.std.groupby(MATRIX) if run else []:
        axes.plot(rows["step"], rows["measured"], color="0.6", linewidth=0.6, label=label)
        label = None
    settled = forecast.equilibrium[steps[1:] - 1]
    axes.plot(steps[1:], settled, "--", color="tab:orange", label="sigma_eq of the current lr")
    axes.plot(steps, forecast.std[steps], color="tab:blue", label="null law")
    axes.set(xlabel="step", ylabel="std of a weight matrix", ylim=(0, 1.3 * _highest(forecast, run)))
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as problem:
        raise BadInput(f"png is {path}: {problem}: expected a file that can be written") from None


def _highest(forecast: Forecast, run: ComparedRun | None) -> float:
    measured = float(run.std["measured"].max()) if run is not None else 0.0
    return max(float(forecast.std.max()), measured)
