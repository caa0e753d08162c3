"""E3's arms against the law, matrix by matrix, and what short runs had shown, tested with seeds."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.expansion import RUN, at_horizon
from study.analysis.over_seeds import over_seeds
from study.analysis.params import AnalyzeParams

KNOBS = ("std", "lr", "schedule", "weight_decay", "scheme", "n_layer", "n_embd")
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
"""Parts of R = c2 memory persistence + along: their value for white gradients, and what less and more are."""
MATTERS = 0.05
"""A part that is off by less is not named."""


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

    earlier_lo, earlier_hi: the range told; found: confirmed if R's interval over seeds lies there, refuted if
    it misses it, else open, as with one seed. growth is ln(std / initial std). The other columns say what R
    is made of there (see injected): c2 below 1 is single updates smaller than white gradients' (spiky:
    grad_kurtosis; damped: epsilon_share), memory below 1 is successive ones taking each other back,
    persistence is agreement over more than a window, along is shrinking (below 0) or growing along the
    initial weights. why: the parts whose intervals leave out white gradients' value, in words.
    """
    last = at_horizon(matrices, 1.0)
    last = last.assign(depth=last.groupby(RUN)["layer"].transform("max"))
    parts = [_place(last, *place, params.e3.shallow_layers) for place in EARLIER]
    keys = ["arm", "role", "layers", "earlier_lo", "earlier_hi"]
    table = over_seeds(pd.concat(parts, ignore_index=True), keys, PARTS, params)
    inside = (table["R_lo"] >= table["earlier_lo"]) & (table["R_hi"] <= table["earlier_hi"])
    misses = (table["R_lo"] > table["earlier_hi"]) | (table["R_hi"] < table["earlier_lo"])
    return table.assign(found=np.select([inside, misses], ["confirmed", "refuted"], "open"),
                        why=[_why(row) for row in table.to_dict("records")])


def _why(row: dict[Hashable, Any]) -> str:
    """CAUSES of a row, e.g. `small updates (c2 0.73)`; empty with one seed."""
    told = [f"{words[int(row[part] > white)]} ({part} {row[part]:.2g})"
            for part, (white, *words) in CAUSES.items() if abs(row[part] - white) > MATTERS
            and (row[f"{part}_lo"] > white or row[f"{part}_hi"] < white)]
    return ", ".join(told)


def _place(last: pd.DataFrame, role: str, layers: str, low: float, high: float, most: int) -> pd.DataFrame:
    """Mean over the layers of one role, a row per run."""
    deep = last["layer"] > last["depth"] - np.minimum(most, last["depth"] // 2)
    chosen = deep if layers == "deep" else last["layer"] == int(layers)
    means = last[chosen & (last["role"] == role)].groupby(RUN)[PARTS].mean().reset_index()
    return means.assign(role=role, layers=layers, earlier_lo=low, earlier_hi=high)
