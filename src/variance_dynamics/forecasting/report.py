"""A forecast as text, as JSON, and as a picture."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import FORGOTTEN, Forecast
from variance_dynamics.forecasting.recorded import LAW, MATRIX, Recorded
from variance_dynamics.forecasting.terminal_plot import WIDTH, chart

SHARES = (0.0, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the steps: the lines of the table."""


def to_text(made: Forecast, recorded: Recorded | None = None) -> str:
    """What is predicted, in sentences, a table and a chart; with a recorded run its verdicts too."""
    parts = [_sentences(made), _table(made), _chart(made, recorded)]
    return "\n\n".join([*parts, _verdicts(recorded)] if recorded else parts)


def _sentences(made: Forecast) -> str:
    run = made.schedule
    decay, settled = run.weight_decay, made.peak_equilibrium
    lines = [f"std {made.sigma_0:g} -> {made.std[-1]:.4g} after {run.steps:,} steps of AdamW (lr {run.lr:g}, "
             f"{run.schedule}, warmup {run.warmup:,}, weight decay {decay:g}), if updates are noise"]
    if decay:
        lines.append(f"sigma_eq: {settled:.4g} at the peak lr, {made.equilibrium[-1]:.4g} at the last")
        lines.append(f"time constants at the peak lr: {made.time_constant:,.0f} steps for the variance, "
                     f"{2 * made.time_constant:,.0f} for the initial weights")
    else:
        lines.append("without weight decay there is no equilibrium, and nothing is forgotten but by growth")
    return "\n".join([*lines, _forgetting(made), f"at the end: {_ending(made)}"])


def _forgetting(made: Forecast) -> str:
    left = f"{made.share_of_init[-1]:.1%} of the variance is still the initial weights at the end"
    if made.forgotten is None:
        return f"init is not forgotten: {left}"
    return f"init is forgotten (under {FORGOTTEN:.0%} of the variance) after {made.forgotten:,} steps; {left}"


def _ending(made: Forecast) -> str:
    met = made.met_equilibrium
    before = f"; it first met the equilibrium of its lr at step {met:,}" if met is not None else ""
    last = float(made.equilibrium[-1])
    known = math.isfinite(last) and last > 0
    away = f" at {made.std[-1]:.4g} (the last lr would settle at {last:.4g})" if known else ""
    meaning = {"in equilibrium": "in equilibrium with its lr", "frozen": f"frozen by the lr{away}",
               "moving": f"still moving{away}"}
    return meaning[made.ending] + before


def _table(made: Forecast) -> str:
    steps = sorted({round(share * made.schedule.steps) for share in SHARES})
    lines = [f"{'step':>12}  {'lr':>9}  {'std':>9}  {'sigma_eq':>9}  {'of init':>7}"]
    for step in steps:
        now = min(step, made.schedule.steps - 1)
        lines.append(f"{step:>12,}  {made.schedule.rates[now]:>9.3g}  {made.std[step]:>9.4g}  "
                     f"{made.equilibrium[now]:>9.4g}  {made.share_of_init[step]:>7.1%}")
    return "\n".join(lines)


def _chart(made: Forecast, recorded: Recorded | None) -> str:
    steps = np.unique(np.linspace(0, made.schedule.steps, 4 * WIDTH).round().astype(int))
    law = [(float(step), float(made.std[step])) for step in steps]
    top = 2 * max(y for _, y in law)
    settled = [(float(step), float(made.equilibrium[min(step, made.schedule.steps - 1)])) for step in steps]
    curves = [("-", [point for point in settled if point[1] <= top]), ("*", law)]
    legend = "* std by the null law   - sigma_eq of the current lr"
    if recorded is not None:
        medians = recorded.std.groupby("step")["measured"].median()
        curves.append(("o", list(zip(map(float, medians.index), map(float, medians), strict=True))))
        legend += "   o recorded (median over matrices)"
    return f"{chart(curves, 'steps')}\n{'':>10}{legend}"


def _verdicts(recorded: Recorded) -> str:
    lines = [f"recorded run at step {recorded.last:,}; R = injected variance / the law's "
             "(1 the law, 0 only decay, below 0 shrinks)", "",
             f"{'role':<10}  {'n':>3}  {'std at 0':>9}  {'measured':>9}  {'the law':>9}  {'R':>6}  "
             f"{'over layers':>13}  verdict"]
    for v in recorded.roles:
        std = f"{v.initial:>9.4g}  {v.measured:>9.4g}  {v.predicted:>9.4g}"
        spread = f"{v.ratio_low:.2f}..{v.ratio_high:.2f}"
        lines.append(f"{v.role:<10}  {v.matrices:>3}  {std}  {v.ratio:>6.2f}  {spread:>13}  {v.verdict}")
    low, high = LAW
    return "\n".join([*lines, "", f"verdict: R is within [{low}, {high}] for {recorded.lawful} of "
                      f"{len(recorded.end)} matrices; mean error of ln std at the end: {_errors(recorded)}"])


def _errors(recorded: Recorded) -> str:
    return f"the law {recorded.error('predicted'):.3f}, no change {recorded.error('initial'):.3f}"


def to_json(made: Forecast, recorded: Recorded | None = None) -> str:
    """All that the text says; null for what is infinite or never."""
    steps = np.unique(np.linspace(0, made.schedule.steps, 201).round().astype(int))
    told: dict[str, Any] = {
        "std_initial": made.sigma_0, "std_final": float(made.std[-1]),
        "sigma_eq_peak": _finite(made.peak_equilibrium),
        "sigma_eq_last": _finite(float(made.equilibrium[-1])),
        "time_constant_variance": _finite(made.time_constant),
        "init_forgotten_at": made.forgotten, "init_share_final": float(made.share_of_init[-1]),
        "met_equilibrium_at": made.met_equilibrium, "ending": made.ending,
        "curve": [{"step": int(step), "std": float(made.std[step])} for step in steps]}
    if recorded is not None:
        told["recorded"] = {"step": recorded.last, "matrices": len(recorded.end), "lawful": recorded.lawful,
                            "error_law": _finite(recorded.error("predicted")),
                            "error_no_change": _finite(recorded.error("initial")),
                            "roles": [{key: _finite(value) for key, value in vars(verdict).items()}
                                      for verdict in recorded.roles]}
    return json.dumps(told, indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_png(path: str | Path, made: Forecast, recorded: Recorded | None = None) -> None:
    """The forecast as a picture. Raises BadInput without matplotlib, or where `path` cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput(f"png is {path}: expected matplotlib to be installed, or no --png") from None
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = np.unique(np.linspace(0, made.schedule.steps, 1001).round().astype(int))
    label: str | None = "recorded, each matrix"
    for _, rows in recorded.std.groupby(MATRIX) if recorded else []:
        axes.plot(rows["step"], rows["measured"], color="0.6", linewidth=0.6, label=label)
        label = None
    settled = made.equilibrium[steps[1:] - 1]
    axes.plot(steps[1:], settled, "--", color="tab:orange", label="sigma_eq of the current lr")
    axes.plot(steps, made.std[steps], color="tab:blue", label="null law")
    axes.set(xlabel="step", ylabel="std of a weight matrix", ylim=(0, 1.3 * _highest(made, recorded)))
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as problem:
        raise BadInput(f"png is {path}: {problem}: expected a file that can be written") from None


def _highest(made: Forecast, recorded: Recorded | None) -> float:
    measured = float(recorded.std["measured"].max()) if recorded is not None else 0.0
    return max(float(made.std.max()), measured)
