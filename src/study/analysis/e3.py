"""E3: from the raw tables of every (arm, seed) to tables over seeds, the claims' effects and a few metrics.

Raw tables are those of stage gpt2_pretrain, concatenated; see `injected` for R and D, `expansion` and
`forecast` for what is made of them. A run of one seed has means and no intervals.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis import arms, expansion, forecast
from study.analysis.causes import causes
from study.analysis.injected import Schedule, measure_run, schedules
from study.analysis.over_seeds import over_seeds, within
from study.analysis.params import AnalyzeParams
from variance_dynamics.weights.parameter import BLOCK, QKV

MATRIX = ["arm", "step", "layer", "role"]
MECHANISM = ["R", "size", "along", "D", "persistence", "c2", "memory", "grad_kurtosis", "epsilon_share",
             "grad_norm", "grad_drift"]


@dataclass(frozen=True)
class Measured:
    """Per-seed numbers of one source: injected.measure_run's table over all runs, and what they came from."""

    matrices: pd.DataFrame
    schedules: dict[tuple[str, int], Schedule]
    runs: list[dict[str, object]]
    frames: dict[str, pd.DataFrame]


def measure(frames: dict[str, pd.DataFrame], runs: list[dict[str, object]]) -> Measured:
    """frames: weights, losses, activations, histograms; runs: the knobs (run.json) of each (arm, seed)."""
    known = schedules(frames["losses"], runs)
    by_run = dict(iter(frames["weights"].groupby(["arm", "seed"])))
    parts = [measure_run(by_run[key], schedule).assign(arm=key[0], seed=key[1])
             for key, schedule in known.items()]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(R_over_D=rows["R"] / rows["D"], persistence=rows["size"] / rows["D"])
    return Measured(rows, known, runs, frames)


def tables(measured: Measured, params: AnalyzeParams) -> dict[str, pd.DataFrame]:
    """Every e3_ table over seeds, without the column source."""
    rows, frames = measured.matrices, measured.frames
    ratio = over_seeds(rows[rows["step"] > 0], MATRIX, ["R", "D", "R_over_D"], params)
    return {
        "e3_std": _std(rows, MATRIX, params),
        "e3_ratio": ratio,
        "e3_mechanism": _mechanism(rows, params),
        "e3_causes": _named(over_seeds(causes(rows), ["arm", "cause"], ["value"], params), "value"),
        "e3_final": _final(rows, params),
        "e3_arms": arms.against_the_law(rows, measured.runs, params),
        "e3_earlier": arms.earlier(rows, params),
        "e3_expansion": _expansion(rows, params),
        "e3_bands": over_seeds(expansion.bands(rows, params.e3.last_share), ["arm", "role"],
                               ["growth", "sd", "spread", "slope", "width"], params),
        "e3_state": _state(measured, params),
        "e3_convergence": _convergence(measured, params),
        "e3_forecast": _forecast(rows, params),
        "e3_errors": _errors(rows, params),
        "e3_hist": _histograms(frames["histograms"]),
        "e3_loss": _loss(frames["losses"], params),
        "e3_loss_gaps": _loss_gaps(measured, params),
        "e3_acts": _activations(frames["activations"], params),
    }


def _std(rows: pd.DataFrame, keys: list[str], params: AnalyzeParams) -> pd.DataFrame:
    found = within(over_seeds(rows, keys, ["std"], params), ["std"], 0, np.inf)
    found = _named(found, "std").rename(columns={"std": "value"})
    return found.merge(_means(rows, keys, ["predicted"]), on=keys)


def _mechanism(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """R = D x persistence + along and D = c2 x memory of each matrix, at the horizons."""
    horizons = [expansion.at_horizon(rows, share).assign(horizon=share) for share in params.e3.horizons]
    return over_seeds(pd.concat(horizons), ["arm", "horizon", "step", "layer", "role"], MECHANISM, params)


def _final(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Each arm and role at the end, mean over layers: measured and predicted std, R and D; step,
    time_constants of the variance.
    """
    numbers = ["std", "predicted", "R", "D", "R_over_D"]
    last = expansion.at_horizon(rows, 1.0)
    numbers_and_ends = [*numbers, "step", "time_constants"]
    per_run = last.groupby(["arm", "seed", "role"])[numbers_and_ends].mean().reset_index()
    found = over_seeds(per_run, ["arm", "role"], numbers, params)
    return found.merge(_means(per_run, ["arm", "role"], ["step", "time_constants"]), on=["arm", "role"])


def _expansion(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    found = expansion.shallow_minus_deep(rows, params.e3)
    keys = ["arm", "horizon", "role", "without_first"]
    return _named(over_seeds(found, keys, ["effect"], params), "effect")


def _state(measured: Measured, params: AnalyzeParams) -> pd.DataFrame:
    """What moves each matrix at the end, and in a word (expansion.state), from means over seeds.

    agree: share of the seeds of which the same word is said.
    """
    keys = ["arm", "layer", "role"]
    moved = expansion.motion(measured.matrices, measured.schedules, params.e3.last_share)
    found = over_seeds(moved, keys, ["slope", "decay", "noise"], params)
    found = found.assign(state=_states(found, params))
    each = moved.assign(own=_states(moved, params)).merge(found[[*keys, "state"]], on=keys)
    each = each.assign(agree=(each["own"] == each["state"]).astype(float))
    return found.merge(_means(each, keys, ["agree"]), on=keys)


def _states(rows: pd.DataFrame, params: AnalyzeParams) -> list[str]:
    return [expansion.state(slope, decay, noise, params.e3.narrow_slope)
            for slope, decay, noise in zip(rows["slope"], rows["decay"], rows["noise"], strict=True)]


def _convergence(measured: Measured, params: AnalyzeParams) -> pd.DataFrame:
    rows = expansion.convergence(measured.matrices, measured.runs, measured.schedules)
    keys = ["arm", "other", "role", "step"]
    found = _named(over_seeds(rows, keys, ["left"], params), "left")
    return found.merge(_means(rows, keys, ["predicted"]), on=keys)


def _loss_gaps(measured: Measured, params: AnalyzeParams) -> pd.DataFrame:
    """Arms that differ in the initial std alone, each pair both ways: last validation loss of `arm` minus
    that of `other`, paired by seed.
    """
    losses = measured.frames["losses"]
    last = losses[losses["stat"] == "val_loss"].sort_values("step").groupby(expansion.RUN)["value"].last()
    val = last.to_dict()
    rows = [(arm, other, seed, val[arm, seed] - val[other, seed])
            for low, high, seed in expansion.pairs(measured.runs) if {(low, seed), (high, seed)} <= val.keys()
            for arm, other in ((low, high), (high, low))]
    table = pd.DataFrame(rows, columns=["arm", "other", "seed", "gap"])
    return _named(over_seeds(table, ["arm", "other"], ["gap"], params), "gap")


def _forecast(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    found = forecast.forecasts(rows, params.e3.forecast_fraction)
    return _means(found, ["arm", "layer", "role"], ["at", "size", "std", *forecast.WAYS,
                                                    *(f"error_{way}" for way in forecast.WAYS)])


def _errors(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Mean |ln error| of each way to tell the final std, over Q, K and V and over all matrices in blocks."""
    found = forecast.forecasts(rows, params.e3.forecast_fraction)
    parts = [forecast.errors(found, roles).assign(roles=name)
             for name, roles in (("qkv", QKV), ("block", BLOCK))]
    names = [*(f"error_{way}" for way in forecast.WAYS), "law_minus_no_change", "forecast_minus_law"]
    return over_seeds(pd.concat(parts), ["arm", "roles"], names, params)


def _histograms(rows: pd.DataFrame) -> pd.DataFrame:
    """Density per unit of weight, of the first seed (bins are those of each matrix's own range)."""
    first = rows[rows["seed"] == rows.groupby("arm")["seed"].transform("min")]
    keys = ["arm", "step", "layer", "role"]
    share = first["count"] / first.groupby(keys)["count"].transform("sum")
    return first.assign(density=share / (first["right"] - first["left"]))[[*keys, "left", "right", "density"]]


def _loss(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    found = _named(over_seeds(rows, ["arm", "step", "stat"], ["value"], params), "value")
    return found.rename(columns={"value": "mean"})


def _activations(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    return _named(over_seeds(rows, ["arm", "step", "layer"], ["value"], params), "value")


def _named(found: pd.DataFrame, value: str) -> pd.DataFrame:
    """The interval of a table's only value is called lo and hi."""
    return found.rename(columns={f"{value}_lo": "lo", f"{value}_hi": "hi"})


def _means(rows: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """Means over seeds in the order of over_seeds."""
    return rows.groupby(keys, sort=True)[values].mean().reset_index()
