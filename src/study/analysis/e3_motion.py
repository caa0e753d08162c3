"""How the std of GPT-2's weight matrices moves: shallow against deep, how narrow it ends, and beside the law.

`matrices` is e3_injected.measure_run's table of every run: a row per arm, seed, layer, role and step.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.e3_injected import MATRIX, RUN, NullLaw, at_horizon, at_horizons
from study.analysis.params import AnalyzeParams, E3Rules
from study.analysis.statistics import over_seeds, seed_means
from study.base.run_json import RunJson
from variance_dynamics.weights.parameter import QKV

ALL = "qkv"
STATES = ("drifting", "equilibrium", "frozen", "quiet")
WAYS = ("pilot", "law", "no_change", "floor")
"""Ways to predict the final std: see `forecast`. The last one is no forecast but what seeds differ by."""
KNOBS = {"std": np.nan, "lr": np.nan, "schedule": "", "weight_decay": np.nan, "scheme": "", "n_layer": np.nan,
         "n_embd": np.nan}
"""The knobs of a run that table e3_arms shows, and their values where run.json lacks them."""
PARTS = ["R", "growth", "size", "along", "D", "c2", "memory", "persistence", "grad_kurtosis",
         "epsilon_share", "grad_drift"]
EARLIER = (("q", "1", 0.8, 0.9), ("k", "1", 0.8, 0.9), ("v", "1", -np.inf, 0.0),
           ("q", "2", 0.05, 0.15), ("k", "2", 0.05, 0.15),
           ("q", "deep", 0.7, 0.9), ("k", "deep", 0.7, 0.9), ("v", "deep", 0.5, 0.9))
"""R at the end of two short runs of one seed each: role, layers, low, high. deep: the last shallow_layers."""
CAUSES = {"c2": (1.0, "small updates", "large updates"),
          "memory": (1.0, "updates that take each other back", "updates that repeat"),
          "persistence": (1.0, "windows that take each other back", "windows that repeat"),
          "along": (0.0, "shrinking along the initial weights", "growing along the initial weights")}
"""Parts of R = c2 memory persistence + along: the value for white gradients, and words for less and more."""
MATTERS = 0.05
"""A part that differs by less from white gradients' is not named."""


def shallow_minus_deep(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    """Mean ln(std / initial std) of the first layers minus that of the last, a row per run, horizon and role.

    role is q, k, v or their mean (qkv). without_first: layer 1 is left out of the shallow ones. A model of
    fewer than twice `shallow_layers` layers is split in half.
    """
    rows = matrices[matrices["role"].isin(QKV)]
    parts = [_contrast(at_horizon(rows, share), rules.shallow_layers, first)
             .assign(horizon=share, without_first=first == 2) for share in rules.horizons for first in (1, 2)]
    by_role = pd.concat(parts, ignore_index=True)
    mean = by_role.groupby([*RUN, "horizon", "without_first"])["effect"].mean().reset_index()
    return pd.concat([by_role, mean.assign(role=ALL)], ignore_index=True)


def _contrast(rows: pd.DataFrame, most: int, first: int) -> pd.DataFrame:
    layers = rows.groupby(RUN)["layer"].transform("max")
    size = np.minimum(most, layers // 2)
    keys = [*RUN, "role"]
    shallow = rows[(rows["layer"] >= first) & (rows["layer"] <= size)].groupby(keys)["growth"].mean()
    deep = rows[rows["layer"] > layers - size].groupby(keys)["growth"].mean()
    return (shallow - deep).dropna().rename("effect").reset_index()


def slopes(matrices: pd.DataFrame, last_share: float) -> pd.DataFrame:
    """d ln std / d ln step of each matrix over the last share of its run's steps, by least squares.

    A row per run, layer and role; nan with fewer than two dumps there.
    """
    start = (1 - last_share) * matrices.groupby(RUN)["step"].transform("max")
    late = matrices["step"] >= np.maximum(1, start)
    rows = matrices[late].assign(x=lambda r: np.log(r["step"]))
    keys = [*RUN, *MATRIX]
    means = rows.groupby(keys)[["x", "growth"]].transform("mean")
    dx, dy = rows["x"] - means["x"], rows["growth"] - means["growth"]
    sums = rows[keys].assign(top=dx * dy, bottom=dx**2).groupby(keys, as_index=False).sum()
    slope = sums["top"] / sums["bottom"].where(sums["bottom"] > 0)
    return sums[keys].assign(slope=slope)


def bands(matrices: pd.DataFrame, last_share: float) -> pd.DataFrame:
    """How narrow each role's std ends, a row per run and role.

    slope: mean over layers of |d ln std / d ln step| over the last share of the steps. growth, sd: mean
    and SD over layers of ln(std / initial std) at the end. spread = sd / |growth|. width: ln(largest /
    smallest std).
    """
    last = at_horizon(matrices[matrices["layer"] > 0], 1.0)
    by_role = last.groupby([*RUN, "role"])
    ends = by_role.agg(growth=("growth", "mean"), sd=("growth", "std"), low=("std", "min"),
                       high=("std", "max"))
    slope = slopes(matrices, last_share).assign(slope=lambda rows: rows["slope"].abs())
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = ends.assign(slope=slope.groupby([*RUN, "role"])["slope"].mean(),
                           spread=ends["sd"] / ends["growth"].abs(),
                           width=np.log(ends["high"] / ends["low"]))
    return ends.drop(columns=["low", "high"]).reset_index()


def narrowness(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    """Per run, ln of the largest of Q, K and V's slopes and spreads in units of their limits (`effect`).

    The logarithm is used because a spread is a ratio: it is huge where a role's std hardly moves on average.
    """
    by_role = bands(matrices[matrices["role"].isin(QKV)], rules.last_share)
    worst = np.maximum(by_role["slope"] / rules.narrow_slope, by_role["spread"] / rules.narrow_spread)
    with np.errstate(divide="ignore"):
        return by_role.assign(effect=np.log(worst)).groupby(RUN)["effect"].max().reset_index()


def is_constant(law: NullLaw) -> bool:
    """Whether the lr stays the same over the last half of the run."""
    late = law.lr[len(law.lr) // 2 :]
    return bool(np.ptp(late) <= 1e-9 * late.max())


def motion(matrices: pd.DataFrame, laws: Mapping[tuple[str, int], NullLaw], last_share: float
           ) -> pd.DataFrame:
    """What moves each matrix at the end, a row per run, layer and role, as d ln std / d ln step.

    slope: as measured; decay: of weight decay alone; noise: of the law's noise alone (D = 1) on the
    measured std.
    """
    keys = [*RUN, *MATRIX]
    last = at_horizon(matrices, 1.0)
    rows = slopes(matrices, last_share).merge(last[[*keys, "std", "step"]], on=keys)
    ends = {key: _at_the_end(law, int(step), last_share) for key, law in laws.items()
            for step in last.loc[(last["arm"] == key[0]) & (last["seed"] == key[1]), "step"].head(1)}
    decay, noise = np.array([ends[key] for key in zip(rows["arm"], rows["seed"], strict=True)]).T
    return rows.assign(decay=decay, noise=noise / rows["std"] ** 2).drop(columns=["std", "step"])


def _at_the_end(law: NullLaw, end: int, last_share: float) -> tuple[float, float]:
    """d ln std / d ln step by decay alone, and by noise alone on a std of 1, over the last share of steps."""
    start = int((1 - last_share) * end)
    time = np.log(end / max(start, 1))
    put_in = law.noise_between(np.array([start]), np.array([end]))[0]
    return float(np.log(law.left[end] / law.left[start]) / time), float(put_in / 2 / time)


def state(slope: float, decay: float, noise: float, limit: float) -> str:
    """One word for a matrix, from its `motion` at the end and the limit of the narrow bands' rule.

    drifting: it moves by more than the limit. frozen: it does not, and neither decay nor the law's noise
    alone would at this lr. equilibrium: it does not although decay alone would, so updates balance decay.
    quiet: only the law's noise would, so its updates put in less than noise.
    """
    if not np.isfinite([slope, decay, noise]).all():
        return "unknown"
    if abs(slope) > limit:
        return "drifting"
    if abs(decay) > limit:
        return "equilibrium"
    return "quiet" if noise > limit else "frozen"


def convergence(matrices: pd.DataFrame, runs: list[RunJson], laws: Mapping[tuple[str, int], NullLaw]
                ) -> pd.DataFrame:
    """The share left of the gap in variance between arms that differ in the initial std alone.

    A row per pair of arms (`arm` starts at the lower std), seed, role and step; variances are means over
    layers. predicted: the law's share, which is d_t^2 whatever variance the updates put in.
    """
    variance = matrices.assign(value=matrices["std"] ** 2).groupby([*RUN, "role", "step"])["value"].mean()
    parts = [_gap(variance, low, high, seed, laws[low, seed]) for low, high, seed in pairs(runs)]
    columns = ["arm", "other", "seed", "role", "step", "left", "predicted"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def pairs(runs: list[RunJson]) -> list[tuple[str, str, int]]:
    """Pairs of arms that differ in the initial std alone, with the seed; the lower std comes first."""

    def rest(run: RunJson) -> dict[str, object]:
        return {name: value for name, value in run.items() if name not in ("arm", "std")}

    ordered = sorted(runs, key=lambda run: (run["std"], run["arm"]))
    return [(low["arm"], high["arm"], low["seed"]) for i, low in enumerate(ordered)
            for high in ordered[i + 1 :] if low["std"] != high["std"] and rest(low) == rest(high)]


def _gap(variance: "pd.Series[float]", low: str, high: str, seed: int, law: NullLaw) -> pd.DataFrame:
    gap = pd.DataFrame({"gap": variance.loc[high, seed] - variance.loc[low, seed]}).reset_index()
    start = gap["role"].map(gap[gap["step"] == 0].set_index("role")["gap"])
    left = law.left[gap["step"].to_numpy()] ** 2
    return gap.assign(arm=low, other=high, seed=seed, left=gap["gap"] / start, predicted=left)


def forecast(matrices: pd.DataFrame) -> pd.DataFrame:
    """Final std of each matrix and ways to predict it, a row per run, layer and role.

    no_change: the initial std. law: the null law, R = 1. pilot: the law with R of the same layer and role in
    the runs of other arms and other seeds (see `profile`) in place of 1. floor: the geometric mean of the
    same arm's other seeds. Nothing is fitted on the run itself, nor on one that shares its draws. error_*:
    |ln(predicted std / std)|; nan without such runs.
    """
    last, keys = at_horizon(matrices, 1.0).reset_index(drop=True), [*RUN, *MATRIX]
    first = matrices[matrices["step"] == 0].set_index(keys)["std"]
    table = last[[*keys, "std", "noise"]].assign(
        no_change=first.reindex(pd.MultiIndex.from_frame(last[keys])).to_numpy(), law=last["predicted"])
    weighted = last.assign(no_change=table["no_change"])
    ratio = pd.concat([_of_rows(rows, profile(weighted[(last["arm"] != arm) & (last["seed"] != seed)]))
                       for (arm, seed), rows in last.groupby(RUN)])
    # law^2 = kept + S, and at R = 1 the law puts S in, so another R adds (R - 1) S
    variance = table["law"] ** 2 + (ratio.reindex(table.index) - 1) * table["noise"]
    table = table.assign(pilot=np.sqrt(variance.clip(lower=0)), floor=_other_seeds(table))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = {f"error_{way}": np.abs(np.log(table[way] / table["std"])) for way in WAYS}
    return table.drop(columns="noise").assign(**errors)


def profile(last: pd.DataFrame) -> "pd.Series[float]":
    """R by layer and role of pilot runs: the weighted mean of R at their ends.

    The weight is min(1, S / initial variance): where the updates of a run put in little beside the variance
    that was there, R is a small difference divided by a small number.
    """
    weight = (last["noise"] / last["no_change"] ** 2).clip(upper=1)
    sums = last.assign(top=last["R"] * weight, bottom=weight).groupby(MATRIX)[["top", "bottom"]].sum()
    return (sums["top"] / sums["bottom"]).rename("R")


def _of_rows(rows: pd.DataFrame, ratio: "pd.Series[float]") -> "pd.Series[float]":
    """The profile's R for each of the rows, nan where it has none."""
    values = ratio.reindex(pd.MultiIndex.from_frame(rows[MATRIX]))
    return pd.Series(values.to_numpy(dtype=np.float64), index=rows.index)


def _other_seeds(table: pd.DataFrame) -> "pd.Series[float]":
    """Geometric mean of the std over the same arm's other seeds, nan where there are none."""
    log = np.log(table["std"])
    groups = log.groupby([table["arm"], table["layer"], table["role"]])
    others = groups.transform("size") - 1
    mean: pd.Series[float] = (groups.transform("sum") - log) / others.where(others > 0)
    return mean.map(np.exp)


def mean_errors(table: pd.DataFrame, roles: tuple[str, ...]) -> pd.DataFrame:
    """Mean errors of `forecast` over the matrices of `roles`, a row per run, and their differences."""
    names = [f"error_{way}" for way in WAYS]
    per_run = table[table["role"].isin(roles)].groupby(RUN)[names].mean().reset_index()
    return per_run.assign(law_minus_no_change=per_run["error_law"] - per_run["error_no_change"],
                          pilot_minus_law=per_run["error_pilot"] - per_run["error_law"])


def against_the_law(matrices: pd.DataFrame, runs: list[RunJson], params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_arms: each matrix of each arm at the horizons, measured and predicted.

    std; predicted, the law from the std measured at step 0; error = ln(std / predicted); R and R_over_D. std,
    error and the ratios have intervals over seeds. start: the std at step 0. time_constants: those of the
    variance that have passed, 2 sum lr wd. knob_*: the arm's knobs; knob_std is the nominal initial std.
    """
    rows = at_horizons(matrices, params.e3.horizons)
    with np.errstate(divide="ignore"):
        rows = rows.assign(error=np.log(rows["std"] / rows["predicted"]),
                           start=rows["std"] / np.exp(rows["growth"]))
    keys = ["arm", "horizon", "step", "layer", "role"]
    table = over_seeds(rows, keys, ["std", "error", "R", "R_over_D"], params)
    means = seed_means(rows, keys, ["predicted", "start", "time_constants"])
    return table.merge(means, on=keys).merge(_knobs(runs), on="arm")


def _knobs(runs: list[RunJson]) -> pd.DataFrame:
    """A row per arm with its KNOBS, from the first of its runs."""
    first = {run["arm"]: run for run in reversed(runs)}
    return pd.DataFrame([{"arm": arm, **{f"knob_{name}": run.get(name, none) for name, none in KNOBS.items()}}
                         for arm, run in first.items()])


def earlier(matrices: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_earlier (exploratory): R at the end where two short runs of one seed had shown something.

    earlier_lo, earlier_hi: the range that they had shown. outcome: "confirmed" if R's interval over seeds
    lies in that range, "refuted" if it does not overlap it, else "open"; with one seed it is always open.
    growth is ln(std / initial std). The other columns are what R is made of (see e3_injected). c2 below
    1: single updates are smaller than those of white gradients, because gradients are spiky
    (grad_kurtosis) or epsilon damps them (epsilon_share). memory below 1: successive updates take each
    other back. persistence: how far updates agree over more than a window. along: the matrix grows along
    its initial weights, or shrinks along them (below 0). why: the parts of R whose intervals exclude the
    value of white gradients.
    """
    last = at_horizon(matrices, 1.0)
    last = last.assign(depth=last.groupby(RUN)["layer"].transform("max"))
    parts = [_place(last, *place, params.e3.shallow_layers) for place in EARLIER]
    keys = ["arm", "role", "layers", "earlier_lo", "earlier_hi"]
    table = over_seeds(pd.concat(parts, ignore_index=True), keys, PARTS, params)
    inside = (table["R_lo"] >= table["earlier_lo"]) & (table["R_hi"] <= table["earlier_hi"])
    misses = (table["R_lo"] > table["earlier_hi"]) | (table["R_hi"] < table["earlier_lo"])
    return table.assign(outcome=np.select([inside, misses], ["confirmed", "refuted"], "open"),
                        why=[_why(row) for row in table.to_dict("records")])


def _why(row: dict[Hashable, Any]) -> str:
    """CAUSES of a row, e.g. `small updates (c2 0.73)`; empty with one seed."""
    words = [f"{less_and_more[int(row[part] > white)]} ({part} {row[part]:.2g})"
             for part, (white, *less_and_more) in CAUSES.items() if abs(row[part] - white) > MATTERS
             and (row[f"{part}_lo"] > white or row[f"{part}_hi"] < white)]
    return ", ".join(words)


def _place(last: pd.DataFrame, role: str, layers: str, low: float, high: float, most: int) -> pd.DataFrame:
    """Mean over the layers of one role, a row per run."""
    deep = last["layer"] > last["depth"] - np.minimum(most, last["depth"] // 2)
    chosen = deep if layers == "deep" else last["layer"] == int(layers)
    means = last[chosen & (last["role"] == role)].groupby(RUN)[PARTS].mean().reset_index()
    return means.assign(role=role, layers=layers, earlier_lo=low, earlier_hi=high)
