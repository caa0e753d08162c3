"""What AdamW's updates put into each weight matrix, per run: R, the update size D, and what D is made of.

Between updates a and b a matrix decays by d = prod (1 - lr wd), and what the updates put in is
I = W_b - d W_a. With S the variance that noise of unit size puts in (theory.null_law),

    R = (rms_t^2 - d^2 rms_0^2) / S = size + along          from initialisation, exactly
    size = mean I^2 / S,   along = 2 d mean(W_0 I) / S       (noise: size 1, along 0)
    size_white = mean I^2 by what white gradients and momentum would have put in since the start
    D = mean I^2 over windows of W updates, by what white gradients would put into the same windows

so that R / D = persistence + along / D with persistence = size / D: agreement between updates that are more
than a window apart, and agreement with the initial weights. D itself is c^2 (1 + 2 sum rho_k): `c2` is the
mean square of one update and `memory` the rest, both by their values for white gradients.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics import Floats
from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import null_law

MATRIX = ["layer", "role"]
INIT = "init"
Steps = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """What the law knows of a run: the lr of update 0..T-1, the weight decay and beta1."""

    lr: Floats
    weight_decay: float
    beta1: float

    @cached_property
    def left(self) -> Floats:
        """d_t [T+1]: the factor left of an initial weight."""
        return null_law.decay(self.lr, self.weight_decay)

    @cached_property
    def noise(self) -> Floats:
        """S_t [T+1]: variance put in by noise of unit size."""
        return null_law.injected(self.lr, self.weight_decay)

    @cached_property
    def white(self) -> Floats:
        """[T+1]: variance put in by Adam's momentum over white gradients, from its start."""
        return null_law.injected(self.lr, self.weight_decay, self.beta1)

    @cached_property
    def white_power(self) -> Floats:
        """Mean square of update 0..T-1 under white gradients, [T]: 1 at first, then (1-b)/(1+b)."""
        b, update = self.beta1, np.arange(1.0, len(self.lr) + 1)
        power: Floats = (1 - b) / (1 + b) * (1 + b**update) / (1 - b**update)
        return power

    def noise_between(self, start: Steps, end: Steps) -> Floats:
        """S over updates start..end-1, same shape as both."""
        return self.noise[end] - self.noise[start] * (self.left[end] / self.left[start]) ** 2

    def white_between(self, start: Steps, length: int) -> Floats:
        """`white` of `length` updates from each `start` [n] on; momentum has been running since update 0."""
        put, cross = np.zeros(len(start)), np.zeros(len(start))
        for update in start + np.arange(length)[:, None]:
            warm = 1 - self.beta1 ** (update + 1.0)
            power = self.white_power[update] * warm**2
            rate, keep = self.lr[update] / warm, 1 - self.lr[update] * self.weight_decay
            put = keep**2 * put + 2 * keep * self.beta1 * rate * cross + rate**2 * power
            cross = keep * self.beta1 * cross + rate * power
        return put


def schedules(losses: pd.DataFrame, runs: list[dict[str, object]]) -> dict[tuple[str, int], Schedule]:
    """The schedule of each (arm, seed) from the recorded lr and the run's knobs.

    Raises BadInput if a run has no lr for some step.
    """
    rates = losses[losses["stat"] == "lr"].sort_values("step", kind="stable").groupby(["arm", "seed"])
    recorded = dict(iter(rates))
    found = {}
    for run in runs:
        key = (str(run["arm"]), int(str(run["seed"])))
        rows = recorded.get(key)
        if rows is None or not np.array_equal(rows["step"], np.arange(len(rows))):
            raise BadInput(f"losses of {key[0]}-{key[1]}: some steps have no lr: expected one a step from 0")
        found[key] = Schedule(rows["value"].to_numpy(dtype=np.float64), float(str(run["weight_decay"])),
                              float(str(run["beta1"])))
    return found


def measure_run(weights: pd.DataFrame, schedule: Schedule) -> pd.DataFrame:
    """One row per layer, role and dump of one run (long table `weights`), with the columns named above.

    `growth` is ln(std / initial std); `predicted` is the law's std from the *measured* std at step 0, which
    differs from the nominal one by the draw. time_constants: of the variance, 2 sum lr wd. nan where nothing
    defines a number.
    """
    wide = weights.pivot(index=MATRIX, columns=["stat", "step"], values="value")
    steps = wide["std"].columns.to_numpy(dtype=np.int64)
    if steps[0] != 0 or steps[-1] > len(schedule.lr):
        raise BadInput(f"dumps at steps {steps[0]} to {steps[-1]}: expected the first at 0 and none after "
                       f"{len(schedule.lr)}")
    dumps = Dumps(wide, steps)
    start, left = dumps["std"][:, :1], schedule.left[steps]
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log(dumps["std"] / start)
    predicted = np.sqrt((start * left) ** 2 + schedule.noise[steps])
    elapsed = np.broadcast_to(-2 * np.log(left), growth.shape)
    columns = {"std": dumps["std"], "growth": growth, "predicted": predicted, "time_constants": elapsed}
    columns |= _ratio(dumps, schedule) | _mechanism(dumps, schedule)
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


def _ratio(dumps: Dumps, schedule: Schedule) -> dict[str, Floats]:
    """R and its exact parts from initialisation, and S (`noise`), each [matrices, dumps]."""
    left, square = schedule.left[dumps.steps], dumps["rms"] ** 2
    noise = schedule.noise[dumps.steps]
    ratio = _by(square - left**2 * square[:, :1], noise)
    put = _put_in(dumps[f"delta_ms_{INIT}"], dumps[f"delta_dot_{INIT}"], square[:, :1], left)
    size = _by(put, noise)
    return {"R": ratio, "size": size, "along": ratio - size, "noise": np.broadcast_to(noise, put.shape),
            "size_white": _by(put, schedule.white[dumps.steps])}


def _mechanism(dumps: Dumps, schedule: Schedule) -> dict[str, Floats]:
    """D and its factors, averaged up to each dump, and what may set them; each [matrices, dumps]."""
    size = update_size(dumps, schedule)
    white = _so_far(schedule.white_power[None], np.arange(1, len(schedule.lr) + 1), schedule, dumps.steps)
    c2 = _by(_so_far(dumps["update_rms"] ** 2, dumps.steps, schedule, dumps.steps), white)
    causes = {name: _so_far(dumps[name], dumps.steps, schedule, dumps.steps)
              for name in ("grad_kurtosis", "epsilon_share", "grad_norm")}
    return {"D": size, "c2": c2, "memory": _by(size, c2), **causes, "grad_drift": _drift(dumps, schedule)}


def _drift(dumps: Dumps, schedule: Schedule) -> Floats:
    """SD over the steps so far of ln(norm of the gradient): a norm that changes finds Adam's v behind."""
    with np.errstate(divide="ignore"):
        log = np.log(dumps["grad_norm"])
    log = np.where(np.isfinite(log), log, np.nan)
    mean, square = (_so_far(values, dumps.steps, schedule, dumps.steps) for values in (log, log**2))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)))


def update_size(dumps: Dumps, schedule: Schedule) -> Floats:
    """D [matrices, dumps]: mean over the windows that ended by each dump, weighted as they count in S.

    Of several window lengths the longest that has ended counts; nan before the first ends.
    """
    found = np.full((len(dumps.wide), len(dumps.steps)), np.nan)
    for length in dumps.windows:
        ends, mean = _windows(dumps, schedule, length)
        last = np.searchsorted(ends, dumps.steps, side="right") - 1
        found = np.where(last >= 0, mean[:, last], found) if len(ends) else found
    return found


def _windows(dumps: Dumps, schedule: Schedule, length: int) -> tuple[Steps, Floats]:
    """Ends [windows] of the windows of one length, and D's mean over those so far, [matrices, windows]."""
    square, dot = dumps.wide[f"delta_ms_{length}"], dumps.wide[f"delta_dot_{length}"]
    end = square.columns.to_numpy(dtype=np.int64)
    start = end - length
    moved, along = square.to_numpy(dtype=np.float64), dot.to_numpy(dtype=np.float64)
    # mean W_b^2 = mean W_a^2 + 2 mean W_a D + mean D^2, summed from the start: windows need no dump at a
    change = np.cumsum(2 * along + moved, axis=1) - (2 * along + moved)
    keep = schedule.left[end] / schedule.left[start]
    put = _put_in(moved, along, dumps["rms"][:, :1] ** 2 + change, keep)
    size = _by(put, schedule.white_between(start, length))
    weight = schedule.noise_between(start, end) / schedule.left[end] ** 2
    return end, np.cumsum(size * weight, axis=1) / np.cumsum(weight)


def _put_in(square: Floats, dot: Floats, start: Floats, keep: Floats) -> Floats:
    """mean (W_b - d W_a)^2 from mean D^2, mean W_a D and mean W_a^2, with D = W_b - W_a and d = `keep`."""
    put: Floats = square + 2 * (1 - keep) * dot + (1 - keep) ** 2 * start
    return put


def _so_far(values: Floats, steps: Steps, schedule: Schedule, wanted: Steps) -> Floats:
    """Mean, weighted by lr^2, of a quantity of each update up to each `wanted` dump, [matrices, wanted].

    `values` [matrices, steps] are those of the last update before each of `steps`; others are interpolated.
    """
    rate = schedule.lr**2
    found = np.full((len(values), len(wanted)), np.nan)
    for row, series in enumerate(values):
        known = np.isfinite(series) & (steps > 0)
        if known.any():
            each = np.interp(np.arange(len(rate)), steps[known] - 1, series[known])
            mean = _by(np.cumsum(each * rate), np.cumsum(rate))
            found[row] = np.where(wanted > 0, mean[wanted - 1], np.nan)
    return found


def _by(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, nan where bottom is 0."""
    return np.asarray(np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan),
                                where=np.asarray(bottom) != 0))
