"""How the std of the weight matrices moves: shallow against deep, how narrow it ends, and what moves it.

`matrices` is injected.measure_run's table of every run: a row per arm, seed, layer, role and step.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from study.analysis.injected import Schedule
from study.analysis.params import E3Rules
from variance_dynamics.weights.parameter import QKV

RUN = ["arm", "seed"]
ALL = "qkv"
STATES = ("drifting", "equilibrium", "frozen", "quiet")


def at_horizon(matrices: pd.DataFrame, share: float) -> pd.DataFrame:
    """Each run's rows of the last dump at or before `share` of its steps."""
    limit = share * matrices.groupby(RUN)["step"].transform("max") + 1e-9
    before = matrices[matrices["step"] <= limit]
    return before[before["step"] == before.groupby(RUN)["step"].transform("max")]


def shallow_minus_deep(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    """Mean ln(std / initial std) of the first layers minus that of the last, a row per run, horizon and role.

    role is q, k, v or their mean (qkv); `without_first` leaves layer 1 out of the shallow ones. A model of
    fewer than twice `shallow_layers` layers is split in half.
    """
    rows = matrices[matrices["role"].isin(QKV)]
    parts = [_contrast(at_horizon(rows, share), rules.shallow_layers, first)
             .assign(horizon=share, without_first=first == 2) for share in rules.horizons for first in (1, 2)]
    each = pd.concat(parts, ignore_index=True)
    mean = each.groupby([*RUN, "horizon", "without_first"])["effect"].mean().reset_index().assign(role=ALL)
    return pd.concat([each, mean], ignore_index=True)


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
    keys = [*RUN, "layer", "role"]
    means = rows.groupby(keys)[["x", "growth"]].transform("mean")
    dx, dy = rows["x"] - means["x"], rows["growth"] - means["growth"]
    sums = rows[keys].assign(top=dx * dy, bottom=dx**2).groupby(keys, as_index=False).sum()
    slope = sums["top"] / sums["bottom"].where(sums["bottom"] > 0)
    return sums[keys].assign(slope=slope)


def bands(matrices: pd.DataFrame, last_share: float) -> pd.DataFrame:
    """How narrow each role's std ends, a row per run and role.

    slope: mean over layers of |d ln std / d ln step| over the last share of the steps. growth, sd: mean
    and SD over layers of ln(std / initial std) at the end; spread = sd / |growth|. width: ln(largest /
    smallest std).
    """
    last = at_horizon(matrices[matrices["layer"] > 0], 1.0)
    by_role = last.groupby([*RUN, "role"])
    found = by_role.agg(growth=("growth", "mean"), sd=("growth", "std"), low=("std", "min"),
                        high=("std", "max"))
    slope = slopes(matrices, last_share).assign(slope=lambda rows: rows["slope"].abs())
    with np.errstate(divide="ignore", invalid="ignore"):
        found = found.assign(slope=slope.groupby([*RUN, "role"])["slope"].mean(),
                             spread=found["sd"] / found["growth"].abs(),
                             width=np.log(found["high"] / found["low"]))
    return found.drop(columns=["low", "high"]).reset_index()


def narrowness(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    """Per run, ln of the largest of Q, K and V's slopes and spreads in units of their limits (`effect`).

    The logarithm because a spread is a ratio: it is huge where the std of a role hardly moves on average.
    """
    found = bands(matrices[matrices["role"].isin(QKV)], rules.last_share)
    worst = np.maximum(found["slope"] / rules.narrow_slope, found["spread"] / rules.narrow_spread)
    with np.errstate(divide="ignore"):
        return found.assign(effect=np.log(worst)).groupby(RUN)["effect"].max().reset_index()


def is_constant(schedule: Schedule) -> bool:
    """Whether the lr stays the same over the last half of the run."""
    late = schedule.lr[len(schedule.lr) // 2 :]
    return bool(np.ptp(late) <= 1e-9 * late.max())


def motion(matrices: pd.DataFrame, schedules: Mapping[tuple[str, int], Schedule], last_share: float
           ) -> pd.DataFrame:
    """What moves each matrix at the end, a row per run, layer and role, as d ln std / d ln step.

    slope: as measured; decay: of weight decay alone; noise: of the law's noise alone (D = 1) on the
    measured std.
    """
    last = at_horizon(matrices, 1.0)
    found = slopes(matrices, last_share).merge(last[[*RUN, "layer", "role", "std", "step"]],
                                               on=[*RUN, "layer", "role"])
    ends = {key: _at_the_end(schedule, int(step), last_share) for key, schedule in schedules.items()
            for step in last.loc[(last["arm"] == key[0]) & (last["seed"] == key[1]), "step"].head(1)}
    decay, noise = np.array([ends[key] for key in zip(found["arm"], found["seed"], strict=True)]).T
    return found.assign(decay=decay, noise=noise / found["std"] ** 2).drop(columns=["std", "step"])


def _at_the_end(schedule: Schedule, end: int, last_share: float) -> tuple[float, float]:
    start = int((1 - last_share) * end)
    time = np.log(end / max(start, 1))
    put_in = schedule.noise_between(np.array([start]), np.array([end]))[0]
    return float(np.log(schedule.left[end] / schedule.left[start]) / time), float(put_in / 2 / time)


def state(slope: float, decay: float, noise: float, limit: float) -> str:
    """One word for a matrix, from its motion at the end and the limit of the narrow-band rule.

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


def convergence(matrices: pd.DataFrame, runs: list[dict[str, object]],
                schedules: Mapping[tuple[str, int], Schedule]) -> pd.DataFrame:
    """Arms that differ in the initial std alone: the share left of their gap in variance, by role and step.

    By the law the gap is d_t^2 of the initial one, whatever the lr puts in (`predicted`). A row per pair of
    arms (arm starts lower, other higher), seed, role and step; variances are means over layers.
    """
    variance = matrices.assign(value=matrices["std"] ** 2).groupby([*RUN, "role", "step"])["value"].mean()
    parts = [_gap(variance, low, high, int(str(seed)), schedules[low, int(str(seed))])
             for low, high, seed in pairs(runs)]
    columns = ["arm", "other", "seed", "role", "step", "left", "predicted"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def pairs(runs: list[dict[str, object]]) -> list[tuple[str, str, object]]:
    """Arms of one seed that differ in the initial std alone: that of the lower std, the other, the seed."""

    def rest(run: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in run.items() if name not in ("arm", "std")}

    ordered = sorted(runs, key=lambda run: (float(str(run["std"])), str(run["arm"])))
    return [(str(low["arm"]), str(high["arm"]), low["seed"]) for i, low in enumerate(ordered)
            for high in ordered[i + 1 :] if low["std"] != high["std"] and rest(low) == rest(high)]


def _gap(variance: "pd.Series[float]", low: str, high: str, seed: int, schedule: Schedule) -> pd.DataFrame:
    gap = pd.DataFrame({"gap": variance.loc[high, seed] - variance.loc[low, seed]}).reset_index()
    start = gap["role"].map(gap[gap["step"] == 0].set_index("role")["gap"])
    left = schedule.left[gap["step"].to_numpy()] ** 2
    return gap.assign(arm=low, other=high, seed=seed, left=gap["gap"] / start, predicted=left)
