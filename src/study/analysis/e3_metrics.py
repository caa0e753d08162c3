"""E3's headline numbers, from the tables of e3: those of the main arm, and of Q, K and V."""

import numpy as np
import pandas as pd

from study.analysis import expansion, forecast
from study.analysis.params import AnalyzeParams
from variance_dynamics.weights.parameter import QKV

Tables = dict[str, pd.DataFrame]


def metrics(tables: Tables, params: AnalyzeParams) -> dict[str, float | None]:
    """name -> number; None where it was not measured. Variances as log10, errors as mean |ln std|."""
    main = {name: table[table["arm"] == params.e3.arm] for name, table in tables.items()}
    numbers = {**_final(main), **_expansion(main, params), **_states(main)}
    errors, loss = main["e3_errors"], main["e3_loss"]
    numbers |= {f"e3_{way}_error": _mean(errors, f"error_{way}", roles="qkv") for way in forecast.WAYS}
    numbers["e3_val_loss"] = _mean(loss, "mean", stat="val_loss", step=loss["step"].max())
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}


def _final(main: Tables) -> dict[str, float]:
    """Mean over layers at the last step; the claim's R is the mean over dumps, in claims.json."""
    found = {f"e3_{name}_end_{role}": _mean(main["e3_final"], name, role=role)
             for name in ("R", "R_over_D") for role in QKV}
    stds = {role: _mean(main["e3_final"], "std", role=role) for role in QKV}
    return found | {f"e3_log10_variance_end_{role}": 2 * np.log10(std) for role, std in stds.items()}


def _expansion(main: Tables, params: AnalyzeParams) -> dict[str, float]:
    first, last = params.e3.primary_horizon, max(params.e3.horizons)
    shown = {(first, ""): False, (first, "_without_layer_1"): True, (last, ""): False}
    return {f"e3_shallow_minus_deep_at_{100 * share:g}{suffix}": _mean(
                main["e3_expansion"], "effect", horizon=share, role=expansion.ALL, without_first=without)
            for (share, suffix), without in shown.items()}


def _states(main: Tables) -> dict[str, float]:
    """Share of the Q, K and V matrices in each state in every seed; the rest is quiet or undecided."""
    rows = main["e3_state"][main["e3_state"]["role"].isin(QKV)]
    states = rows["state"].where(rows["agree"] == 1, "undecided")
    return {f"e3_share_{word}": float((states == word).mean()) for word in expansion.STATES[:3]}


def _mean(rows: pd.DataFrame, value: str, **where: object) -> float:
    chosen = np.logical_and.reduce([rows[name] == wanted for name, wanted in where.items()])
    return float(rows.loc[chosen, value].mean())
