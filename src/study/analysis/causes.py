"""What sets the update size D, and R, over the matrices of a run. Exploratory: matrices are no replicates."""

import numpy as np
import pandas as pd

from study.analysis.expansion import RUN, at_horizon
from variance_dynamics.weights.parameter import BLOCK

RANKS = {
    "c2_with_grad_kurtosis": ("c2", "grad_kurtosis"),   # spiky or sparse gradients make single updates small
    "c2_with_epsilon_share": ("c2", "epsilon_share"),   # epsilon damps them
    "memory_with_grad_norm": ("memory", "grad_norm"),
    "D_with_layer": ("D", "layer"),
    "D_with_grad_drift": ("D", "grad_drift"),           # a norm that changes finds Adam's denominator behind
    "R_with_D": ("R", "D"),
    "R_with_persistence": ("R", "persistence"),
    "R_with_along": ("R", "along"),
    "R_with_grad_drift": ("R", "grad_drift"),
}


def causes(matrices: pd.DataFrame) -> pd.DataFrame:
    """Columns arm, seed, cause, value: at the end of each run, over the matrices of its blocks.

    size_share, memory_share: parts of the variance of ln D, since ln D = ln c2 + ln memory exactly:
    cov(ln part, ln D) / var(ln D). The others are rank correlations (Spearman's), see RANKS.
    """
    last = at_horizon(matrices[matrices["role"].isin(BLOCK)], 1.0)
    found = [(arm, seed, cause, value) for (arm, seed), rows in last.groupby(RUN)
             for cause, value in {**_shares(rows), **_ranks(rows)}.items()]
    return pd.DataFrame(found, columns=[*RUN, "cause", "value"])


def _shares(rows: pd.DataFrame) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        size, whole = np.log(rows["c2"].to_numpy()), np.log(rows["D"].to_numpy())
    good = np.isfinite(size) & np.isfinite(whole)
    if good.sum() < 3 or np.ptp(whole[good]) == 0:
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
