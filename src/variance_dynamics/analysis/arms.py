"""E3's arms against the law, matrix by matrix, and what short runs had shown, tested with seeds."""

import numpy as np
import pandas as pd

from variance_dynamics.analysis.expansion import RUN, at_horizon
from variance_dynamics.analysis.over_seeds import over_seeds
from variance_dynamics.analysis.params import AnalyzeParams

KNOBS = ("std", "lr", "schedule", "weight_decay", "scheme")
PARTS = ["R", "size", "along", "D", "c2", "memory", "persistence", "grad_kurtosis", "epsilon_share",
         "grad_drift"]
EARLIER = (("q", "1", 0.8, 0.9), ("k", "1", 0.8, 0.9), ("v", "1", -np.inf, 0.0),
           ("q", "2", 0.05, 0.15), ("k", "2", 0.05, 0.15),
           ("q", "deep", 0.7, 0.9), ("k", "deep", 0.7, 0.9), ("v", "deep", 0.5, 0.9))
"""R at the end of two short runs of one seed each: role, layers, low, high. deep: the last shallow_layers."""


def against_the_law(matrices: pd.DataFrame, runs: list[dict[str, object]], params: AnalyzeParams
                    ) -> pd.DataFrame:
    """Table e3_arms: each matrix of each arm at the horizons, measured and predicted.

    std and predicted (the law from the std measured at step 0), error = ln(std / predicted), R, R_over_D with
    their intervals over seeds; start, the std at step 0; time_constants of the variance passed, 2 sum lr wd;
    the arm's knobs (knob_std is the nominal initial std).
    """
    parts = [at_horizon(matrices, share).assign(horizon=share) for share in params.e3.horizons]
    rows = pd.concat(parts, ignore_index=True)
    with np.errstate(divide="ignore"):
        rows = rows.assign(error=np.log(rows["std"] / rows["predicted"]),
                           start=rows["std"] / np.exp(rows["growth"]))
    keys = ["arm", "horizon", "step", "layer", "role"]
    table = over_seeds(rows, keys, ["std", "error", "R", "R_over_D"], params)
    told = rows.groupby(keys, as_index=False)[["predicted", "start", "time_constants"]].mean()
    return table.merge(told, on=keys).merge(knobs(runs), on="arm")


def knobs(runs: list[dict[str, object]]) -> pd.DataFrame:
    """A row per arm: what it set; empty text or nan where run.json does not say."""
    first = {str(run["arm"]): run for run in reversed(runs)}
    texts = {"schedule", "scheme"}
    return pd.DataFrame([{"arm": arm, **{f"knob_{name}": run.get(name, "" if name in texts else np.nan)
                                         for name in KNOBS}} for arm, run in first.items()])


def earlier(matrices: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_earlier (exploratory): R at the end in the places where short runs had told something.

    earlier_lo, earlier_hi: the range told; found: confirmed if R's mean over seeds lies there, refuted if its
    interval misses it, else open, as with one seed. The other columns say what R is made of there (see
    injected): c2 below 1 is single updates smaller than white gradients' (spiky: grad_kurtosis; damped:
    epsilon_share), memory below 1 is successive ones taking each other back, persistence is agreement over
    more than a window, along is shrinking (below 0) or growing along the initial weights.
    """
    last = at_horizon(matrices, 1.0)
    last = last.assign(depth=last.groupby(RUN)["layer"].transform("max"))
    parts = [_place(last, *place, params.e3.shallow_layers) for place in EARLIER]
    keys = ["arm", "role", "layers", "earlier_lo", "earlier_hi"]
    table = over_seeds(pd.concat(parts, ignore_index=True), keys, PARTS, params)
    inside = table["R"].between(table["earlier_lo"], table["earlier_hi"]) & (table["n"] > 1)
    misses = (table["R_lo"] > table["earlier_hi"]) | (table["R_hi"] < table["earlier_lo"])
    return table.assign(found=np.select([inside, misses], ["confirmed", "refuted"], "open"))


def _place(last: pd.DataFrame, role: str, layers: str, low: float, high: float, most: int) -> pd.DataFrame:
    """Mean over the layers of one role, a row per run."""
    deep = last["layer"] > last["depth"] - np.minimum(most, last["depth"] // 2)
    chosen = deep if layers == "deep" else last["layer"] == int(layers)
    means = last[chosen & (last["role"] == role)].groupby(RUN)[PARTS].mean().reset_index()
    return means.assign(role=role, layers=layers, earlier_lo=low, earlier_hi=high)
