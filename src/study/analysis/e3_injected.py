"""What AdamW's updates put into each weight matrix, per run: R, the update size D, and what D is made of.

Between updates a and b a matrix decays by d = prod (1 - lr wd), and what the updates put in is
I = W_b - d W_a. With S the variance that noise of unit size puts in (theory.null_law),

    R = (rms_t^2 - d^2 rms_0^2) / S = size + along          from initialisation, exactly
    size = mean I^2 / S,   along = 2 d mean(W_0 I) / S       (noise: size 1, along 0)
    size_white = mean I^2 by what white gradients and momentum would have put in since the start
    D = mean I^2 over windows of W updates, by what white gradients would put into the same windows

so that R / D = persistence + along / D. persistence = size / D is the agreement between updates that are more
than a window apart, along their agreement with the initial weights. D itself is c^2 (1 + 2 sum rho_k): `c2`
is the mean square of one update and `memory` the rest, each divided by its value for white gradients.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics import Floats, alike
from study.base.run_json import RunJson
from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import null_law
from variance_dynamics.weights.parameter import BLOCK

MATRIX = ["layer", "role"]
RUN = ["arm", "seed"]
INIT = "init"
RANKS = {
    "c2_with_grad_kurtosis": ("c2", "grad_kurtosis"),   # spiky or sparse gradients make single updates small
    "c2_with_epsilon_share": ("c2", "epsilon_share"),   # epsilon damps them
    "memory_with_grad_norm": ("memory", "grad_norm"),
    "D_with_layer": ("D", "layer"),
    "D_with_grad_drift": ("D", "grad_drift"),           # Adam's denominator lags behind a norm that changes
    "R_with_D": ("R", "D"),
    "R_with_persistence": ("R", "persistence"),
    "R_with_along": ("R", "along"),
    "R_with_grad_drift": ("R", "grad_drift"),
}
"""Rank correlations of table e3_causes, and the two columns of each."""
Steps = NDArray[np.int64]


@dataclass(frozen=True)
class NullLaw:
    """The null law of one run: what follows from the lr of updates 0..T-1, the weight decay and beta1."""

    lr: Floats
    weight_decay: float
    beta1: float

    @cached_property
    def left(self) -> Floats:
        """d_t [T+1]: the factor left of an initial weight."""
        return null_law.decay(self.lr, self.weight_decay)

    @cached_property
    def noise(self) -> Floats:
        """S_t [T+1]: the variance that noise of unit size has put in."""
        return null_law.injected(self.lr, self.weight_decay)

    @cached_property
    def white(self) -> Floats:
        """The variance that Adam's momentum over white gradients has put in, from its start, [T+1]."""
        return null_law.injected(self.lr, self.weight_decay, self.beta1)

    @cached_property
    def white_power(self) -> Floats:
        """Mean square of updates 0..T-1 under white gradients, [T]: 1 at first, in the end (1-b)/(1+b)."""
        b, update = self.beta1, np.arange(1.0, len(self.lr) + 1)
        power: Floats = (1 - b) / (1 + b) * (1 + b**update) / (1 - b**update)
        return power

    @cached_property
    def time_constants(self) -> Floats:
        """Time constants of the variance that have passed, [T+1]: 2 sum lr wd."""
        return -2 * np.log(self.left)

    def noise_between(self, start: Steps, end: Steps) -> Floats:
        """S over updates start..end-1, same shape as both."""
        return self.noise[end] - self.noise[start] * (self.left[end] / self.left[start]) ** 2

    def white_between(self, start: Steps, length: int) -> Floats:
        """Like `white`, of `length` updates from each `start` [n] on. Momentum has run since update 0."""
        put, cross = np.zeros(len(start)), np.zeros(len(start))
        for update in start + np.arange(length)[:, None]:
            warm = 1 - self.beta1 ** (update + 1.0)
            power = self.white_power[update] * warm**2
            rate, keep = self.lr[update] / warm, 1 - self.lr[update] * self.weight_decay
            put = keep**2 * put + 2 * keep * self.beta1 * rate * cross + rate**2 * power
            cross = keep * self.beta1 * cross + rate * power
        return put


def laws(losses: pd.DataFrame, runs: list[RunJson]) -> dict[tuple[str, int], NullLaw]:
    """The null law of each (arm, seed), from the recorded lr and the run's knobs.

    Raises BadInput if a run has no lr for some step.
    """
    rates = losses[losses["stat"] == "lr"].sort_values("step", kind="stable").groupby(RUN)
    recorded = dict(iter(rates))
    by_run = {}
    for run in runs:
        key = (run["arm"], run["seed"])
        rows = recorded.get(key)
        if rows is None or not np.array_equal(rows["step"], np.arange(len(rows))):
            raise BadInput(f"losses of {key[0]}-{key[1]}: some steps have no lr: expected one a step from 0")
        by_run[key] = NullLaw(rows["value"].to_numpy(dtype=np.float64), run["weight_decay"], run["beta1"])
    return by_run


def at_horizon(matrices: pd.DataFrame, share: float) -> pd.DataFrame:
    """Each run's rows of the last dump at or before `share` of its steps."""
    limit = share * matrices.groupby(RUN)["step"].transform("max") + 1e-9
    before = matrices[matrices["step"] <= limit]
    return before[before["step"] == before.groupby(RUN)["step"].transform("max")]


def at_horizons(matrices: pd.DataFrame, shares: list[float]) -> pd.DataFrame:
    """The rows of `at_horizon` for each of the shares, which stands in the column horizon."""
    return pd.concat([at_horizon(matrices, share).assign(horizon=share) for share in shares],
                     ignore_index=True)


def measure_run(weights: pd.DataFrame, law: NullLaw) -> pd.DataFrame:
    """One row per layer, role and dump of one run (long table `weights`), with the columns named above.

    growth is ln(std / initial std). predicted is the law's std from the *measured* std at step 0, which
    differs from the nominal one by the random draw. noise is S. time_constants are those of the variance,
    2 sum lr wd. A number that nothing defines is nan. Raises BadInput unless the first dump is at step 0 and
    none is after the last update.
    """
    wide = weights.pivot(index=MATRIX, columns=["stat", "step"], values="value")
    steps = wide["std"].columns.to_numpy(dtype=np.int64)
    if steps[0] != 0 or steps[-1] > len(law.lr):
        raise BadInput(f"dumps at steps {steps[0]} to {steps[-1]}: expected the first at 0 and none after "
                       f"{len(law.lr)}")
    dumps = Dumps(wide, steps)
    start = dumps["std"][:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log(dumps["std"] / start)
    predicted = np.sqrt((start * law.left[steps]) ** 2 + law.noise[steps])
    elapsed = np.broadcast_to(law.time_constants[steps], growth.shape)
    columns = {"std": dumps["std"], "growth": growth, "predicted": predicted, "time_constants": elapsed}
    columns |= _ratio_and_parts(dumps, law) | _mechanism(dumps, law)
    index = wide.index.to_frame(index=False)
    frame = index.loc[np.repeat(np.arange(len(index)), len(steps))].reset_index(drop=True)
    return frame.assign(step=np.tile(steps, len(index)), **{name: v.ravel() for name, v in columns.items()})


@dataclass(frozen=True)
class Dumps:
    """One run: `wide` has a row per matrix and columns (stat, step); `steps` are those of full dumps."""

    wide: pd.DataFrame
    steps: Steps

    def __getitem__(self, stat: str) -> Floats:
        """A statistic at each full dump [matrices, dumps], nan where it was not measured."""
        if stat not in self.wide.columns.get_level_values("stat"):
            return np.full((len(self.wide), len(self.steps)), np.nan)
        return pd.DataFrame(self.wide[stat]).reindex(columns=self.steps).to_numpy(dtype=np.float64)

    @property
    def windows(self) -> list[int]:
        """Lengths of the windows whose displacements were measured, ascending."""
        names = {str(name) for name in self.wide.columns.get_level_values("stat")}
        ends = {name.removeprefix("delta_ms_") for name in names if name.startswith("delta_ms_")} - {INIT}
        return sorted(int(end) for end in ends)


def _ratio_and_parts(dumps: Dumps, law: NullLaw) -> dict[str, Floats]:
    """R and its exact parts from initialisation, and S (`noise`), each [matrices, dumps]."""
    steps, rms = dumps.steps, dumps["rms"]
    noise = law.noise[steps]
    ratio = null_law.injected_ratio(rms, rms[:, :1], law.lr, law.weight_decay, steps)
    put = _put_in(dumps[f"delta_ms_{INIT}"], dumps[f"delta_dot_{INIT}"], rms[:, :1] ** 2, law.left[steps])
    size = _divided(put, noise)
    return {"R": ratio, "size": size, "along": ratio - size, "noise": np.broadcast_to(noise, put.shape),
            "size_white": _divided(put, law.white[steps])}


def _mechanism(dumps: Dumps, law: NullLaw) -> dict[str, Floats]:
    """D and its factors, averaged up to each dump, and what may decide them; each [matrices, dumps]."""
    size = update_size(dumps, law)
    white = _so_far(law.white_power[None], np.arange(1, len(law.lr) + 1), law, dumps.steps)
    c2 = _divided(_so_far(dumps["update_rms"] ** 2, dumps.steps, law, dumps.steps), white)
    gradients = {name: _so_far(dumps[name], dumps.steps, law, dumps.steps)
                 for name in ("grad_kurtosis", "epsilon_share", "grad_norm")}
    return {"D": size, "c2": c2, "memory": _divided(size, c2), **gradients, "grad_drift": _drift(dumps, law)}


def _drift(dumps: Dumps, law: NullLaw) -> Floats:
    """SD over the steps so far of ln(norm of the gradient). Adam's v lags behind a norm that changes."""
    with np.errstate(divide="ignore"):
        log = np.log(dumps["grad_norm"])
    log = np.where(np.isfinite(log), log, np.nan)
    mean, square = (_so_far(values, dumps.steps, law, dumps.steps) for values in (log, log**2))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)))


def update_size(dumps: Dumps, law: NullLaw) -> Floats:
    """D [matrices, dumps]: mean over the windows that ended by each dump, weighted by their part of S.

    Where windows of several lengths have ended, the longest counts. nan before the first one ends.
    """
    size = np.full((len(dumps.wide), len(dumps.steps)), np.nan)
    for length in dumps.windows:
        ends, mean = _windows(dumps, law, length)
        last = np.searchsorted(ends, dumps.steps, side="right") - 1
        size = np.where(last >= 0, mean[:, last], size) if len(ends) else size
    return size


def _windows(dumps: Dumps, law: NullLaw, length: int) -> tuple[Steps, Floats]:
    """Ends [windows] of the windows of one length, and D's mean over those so far, [matrices, windows]."""
    square, dot = dumps.wide[f"delta_ms_{length}"], dumps.wide[f"delta_dot_{length}"]
    end = square.columns.to_numpy(dtype=np.int64)
    start = end - length
    moved, along = square.to_numpy(dtype=np.float64), dot.to_numpy(dtype=np.float64)
    # mean W_b^2 = mean W_a^2 + 2 mean W_a D + mean D^2, summed from the start: windows need no dump at a
    change = np.cumsum(2 * along + moved, axis=1) - (2 * along + moved)
    keep = law.left[end] / law.left[start]
    put = _put_in(moved, along, dumps["rms"][:, :1] ** 2 + change, keep)
    size = _divided(put, law.white_between(start, length))
    weight = law.noise_between(start, end) / law.left[end] ** 2
    return end, np.cumsum(size * weight, axis=1) / np.cumsum(weight)


def _put_in(square: Floats, dot: Floats, start: Floats, keep: Floats) -> Floats:
    """mean (W_b - d W_a)^2 from mean D^2, mean W_a D and mean W_a^2, with D = W_b - W_a and d = `keep`."""
    put: Floats = square + 2 * (1 - keep) * dot + (1 - keep) ** 2 * start
    return put


def _so_far(values: Floats, steps: Steps, law: NullLaw, wanted: Steps) -> Floats:
    """Mean, weighted by lr^2, of a quantity of each update up to each `wanted` dump, [matrices, wanted].

    `values` [matrices, steps] are those of the last update before each of `steps`. Between them they are
    interpolated.
    """
    rate = law.lr**2
    means = np.full((len(values), len(wanted)), np.nan)
    for row, series in enumerate(values):
        known = np.isfinite(series) & (steps > 0)
        if known.any():
            each = np.interp(np.arange(len(rate)), steps[known] - 1, series[known])
            mean = _divided(np.cumsum(each * rate), np.cumsum(rate))
            means[row] = np.where(wanted > 0, mean[wanted - 1], np.nan)
    return means


def _divided(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, nan where bottom is 0."""
    return np.asarray(np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan),
                                where=np.asarray(bottom) != 0))


def causes(matrices: pd.DataFrame) -> pd.DataFrame:
    """What goes with D and R over the block matrices at the end of each run: arm, seed, cause, value.

    Exploratory, as matrices are no replicates. size_share, memory_share: parts of the variance of ln D,
    cov(ln part, ln D) / var(ln D), since ln D = ln c2 + ln memory exactly. The others are Spearman's rank
    correlations, see RANKS.
    """
    last = at_horizon(matrices[matrices["role"].isin(BLOCK)], 1.0)
    values = [(arm, seed, cause, value) for (arm, seed), rows in last.groupby(RUN)
              for cause, value in {**_variance_shares(rows), **_ranks(rows)}.items()]
    return pd.DataFrame(values, columns=[*RUN, "cause", "value"])


def _variance_shares(rows: pd.DataFrame) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        size, whole = np.log(rows["c2"].to_numpy()), np.log(rows["D"].to_numpy())
    good = np.isfinite(size) & np.isfinite(whole)
    if good.sum() < 3 or alike(whole[good]):
        return {"size_share": float("nan"), "memory_share": float("nan")}
    both = np.cov(size[good], whole[good])
    share = float(both[0, 1] / both[1, 1])
    return {"size_share": share, "memory_share": 1 - share}


def _ranks(rows: pd.DataFrame) -> dict[str, float]:
    return {name: _spearman(rows[one], rows[other]) for name, (one, other) in RANKS.items()}


def _spearman(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    pairs = pd.DataFrame({"one": one, "other": other}).replace([np.inf, -np.inf], np.nan).dropna().rank()
    if len(pairs) < 3 or pairs["one"].nunique() < 2 or pairs["other"].nunique() < 2:
        return float("nan")
    return float(np.corrcoef(pairs["one"], pairs["other"])[0, 1])
