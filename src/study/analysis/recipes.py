"""Recipes: what to set for a given MLP and a given GPT-2. Each line names its basis and its seeds.

What was measured over a few hundred steps and what theory says of the end are separate lines, as R at step
500 says nothing of R at equilibrium.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.mlp import layer_stds
from study.analysis.params import AnalyzeParams
from variance_dynamics.theory import null_law
from variance_dynamics.theory.propagation import kaiming_xavier_ratio
from variance_dynamics.weights.parameter import BLOCK, EMBEDDINGS, QKV, RESIDUAL, Parameter
from variance_dynamics.weights.schemes import SCHEMES

Tables = dict[str, pd.DataFrame]
Line = tuple[str, str, str, float, float, float, str]
COLUMNS = ["model", "part", "quantity", "value", "lo", "hi", "basis"]
NAN = float("nan")


def table(tables: Tables, params: AnalyzeParams) -> pd.DataFrame:
    """Table recipes, with COLUMNS, for the models of params `recipes`.

    tables: those of one source (e1_*, e2_*, e3_*), of which any may be missing.
    """
    sizes = params.recipes.mlp_sizes
    lines = [*_mlp_stds(sizes, tables.get("e1_edges")), *_kaiming_or_xavier(sizes, tables.get("e2_gap"))]
    if "e3_final" in tables:
        lines += [*_gpt2_stds(tables, params), *_gpt2_at_the_end(tables, params)]
    return pd.DataFrame(lines, columns=COLUMNS)


def _mlp_stds(sizes: list[int], edges: pd.DataFrame | None) -> list[Line]:
    low, high, where = _band(len(sizes) - 1, edges)
    basis = f"critical std sqrt(2 / fan-in), theory; {where}"
    layers = zip(layer_stds(sizes, "kaiming", NAN), pairwise(sizes), strict=True)
    return [(_named(sizes), f"layer {layer}, {fan_in} to {fan_out}", "std (Kaiming)", std, low * std,
             high * std, basis) for layer, (std, (fan_in, fan_out)) in enumerate(layers, 1)]


def _band(depth: int, edges: pd.DataFrame | None) -> tuple[float, float, str]:
    """The stds that trained in every cell of the nearest measured depth, in units of Kaiming's."""
    if edges is None or edges.empty:
        return NAN, NAN, "no band was measured"
    near = _nearest(edges, depth)
    rows = edges[edges["depth"] == near]
    ends = rows.groupby("edge")["axis"]
    own = 2 ** (1 / (2 * near))  # Kaiming's place on the natural axis, for inputs of unit second moment
    low, high = float(ends.max().get("lower", NAN)) / own, float(ends.min().get("upper", NAN)) / own
    names = ", ".join(sorted(set(rows["dataset"] + " " + rows["optimizer"])))
    where = f"range: e1_edges at {near} layers, common to all widths of {names}, {_seeds(rows)}"
    none = f"no std trains at {near} layers in all of {names}"
    return (low, high, where) if low < high else (NAN, NAN, none)


def _nearest(rows: pd.DataFrame, depth: int) -> int:
    """The measured depth nearest in ratio."""
    measured = sorted(int(value) for value in rows["depth"].unique())
    return min(measured, key=lambda value: abs(float(np.log(value / depth))))


def _kaiming_or_xavier(sizes: list[int], gap: pd.DataFrame | None) -> list[Line]:
    """Theory's ratio of the logits, and that of steps for each task and optimizer at the nearest depth."""
    logits = kaiming_xavier_ratio(sizes).logits
    lines: list[Line] = [(_named(sizes), "logits", "scale with Kaiming / with Xavier", logits, NAN, NAN,
                          "theory: product of sqrt(1 + fan-out / fan-in)")]
    if gap is None or gap.empty:
        return lines
    near = _nearest(gap, len(sizes) - 1)
    rows = gap[(gap["depth"] == near) & (gap["measure"] == "ln_steps_ratio") & (gap["lr_kind"] == "best")]
    for row in _rows(rows[~rows["excluded"].astype(bool)]):
        cut = "; Xavier cut off by the budget: a bound" * int(row.censored_xavier > row.censored_kaiming)
        ratio = np.exp(np.array([row.effect, row.lo, row.hi], dtype=np.float64)).tolist()
        lines.append((_named(sizes), f"optimizer {row.optimizer}", "steps with Kaiming / with Xavier", *ratio,
                      f"e2_gap: {row.dataset} at {near} layers, each at its best lr, n = {row.n}{cut}"))
    return lines


def _gpt2_stds(tables: Tables, params: AnalyzeParams) -> list[Line]:
    chosen, why = _best_std(tables, params.e3.arm)
    target = params.recipes
    lines = []
    residual = tuple(role for role in BLOCK if role in RESIDUAL)
    for roles in ((*EMBEDDINGS, *(role for role in BLOCK if role not in RESIDUAL)), residual):
        parameter = Parameter("", roles[-1], 1, target.n_layer, target.n_embd, target.n_embd)
        std = SCHEMES["gpt2"].std(parameter, chosen)
        lines.append((_gpt2(params), ", ".join(roles), "initial std", std, NAN, NAN, why))
    return lines


def _best_std(tables: Tables, main: str) -> tuple[float, str]:
    """The initial std with the lowest final validation loss, and the basis for it in words.

    The main arm is compared, seed by seed, with each arm that differs from it in the initial std alone.
    """
    loss = tables["e3_loss"].query("stat == 'val_loss' and arm == @main")
    start = tables["e3_std"].query("step == 0 and role == 'q'").groupby("arm")["value"].mean()
    if loss.empty or main not in start:
        return 0.02, "GPT-2's own; nothing was measured"
    gaps = tables["e3_loss_gaps"].query("other == @main").set_index("arm")
    best = main if gaps.empty or gaps["gap"].min() > 0 else str(gaps["gap"].idxmin())
    last = loss.iloc[int(loss["step"].to_numpy().argmax())]
    order = sorted(gaps.index, key=lambda arm: float(start[arm]))
    others = [f"with {start[arm]:.2g} {_gap(gaps.loc[arm])}" for arm in order]
    against = f"{', '.join(others)} (e3_loss_gaps, paired)" if others else "the only std that was run"
    losses = f"e3_loss, validation loss with std {start[main]:.2g} {last['mean']:.3f}; {against}"
    seeds = _seeds(gaps if others else loss)
    return float(f"{start[best]:.2g}"), f"{losses}, {seeds}, {_measured_at(tables, main)}"


def _gap(row: "pd.Series[float]") -> str:
    return f"{row['gap']:+.3f}" + f" [{row['lo']:+.3f}, {row['hi']:+.3f}]" * bool(np.isfinite(row["lo"]))


def _measured_at(tables: Tables, arm: str) -> str:
    """The GPT-2 that was measured, in words; it may differ from the one that the recipe is for."""
    row = tables["e3_arms"].query("arm == @arm").iloc[0]
    return f"measured at {row['knob_n_layer']} x {row['knob_n_embd']}, lr {row['knob_lr']:g}"


def _gpt2_at_the_end(tables: Tables, params: AnalyzeParams) -> list[Line]:
    """The law's equilibrium, by theory alone, and R of each role in the run, with the length of that run."""
    lr, decay = params.recipes.lr, params.recipes.weight_decay
    settled, steps = null_law.equilibrium(lr, decay), 2 * null_law.time_constant(lr, decay)
    final = tables["e3_final"][tables["e3_final"]["arm"] == params.e3.arm]
    measured = [(_gpt2(params), str(row.role), "R at the end of the run (1: the law holds)", row.R, row.R_lo,
                 row.R_hi, f"e3_final at step {row.step:.0f}, {row.time_constants:.2g} time constants of the "
                 f"variance, n = {row.n}, {_measured_at(tables, params.e3.arm)}") for row in _rows(final)]
    return [(_gpt2(params), "every matrix with R = 1", "std at constant lr, in the end", settled, NAN, NAN,
             "theory: sqrt(lr / (2 weight decay)); times sqrt(R) if R, below, stayed as it was"),
            (_gpt2(params), "every matrix", "steps until init is forgotten (e-fold)", steps, NAN, NAN,
             f"theory: 1 / (lr weight decay); {_convergence(tables['e3_convergence'])}"), *measured]


def _convergence(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "not measured: no two arms differ in the initial std alone"
    last = rows[(rows["step"] == rows["step"].max()) & rows["role"].isin(QKV)]
    return ("e3_convergence: gap in variance between stds left at the end, Q, K and V "
            f"{last['left'].min():.2f} to {last['left'].max():.2f}, predicted "
            f"{last['predicted'].mean():.2f}, {_seeds(last)}")


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    yield from table.itertuples()


def _seeds(rows: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in rows["n"]})
    return f"n = {'-'.join(map(str, counts[:: max(1, len(counts) - 1)]))}"


def _named(sizes: list[int]) -> str:
    return "ReLU MLP " + "-".join(map(str, sizes))


def _gpt2(params: AnalyzeParams) -> str:
    target = params.recipes
    return f"GPT-2 {target.n_layer} x {target.n_embd}, lr {target.lr:g}, weight decay {target.weight_decay:g}"
