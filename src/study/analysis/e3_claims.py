"""What E3's claims are judged by: one effect per cell and seed, from injected.measure_run's table."""

import numpy as np
import pandas as pd

from study.analysis import effects, expansion, forecast
from study.analysis.e3 import Measured
from study.analysis.params import AnalyzeParams, E3Rules
from study.analysis.verdicts import AGAINST_NO_CHANGE, COLUMNS, TIME_CONSTANTS
from variance_dynamics.weights.parameter import QKV


def claim_effects(measured: Measured, params: AnalyzeParams) -> pd.DataFrame:
    """Columns claim, cell, primary, seed, effect, predicted, note. Empty where an arm was not run."""
    rules, matrices = params.e3, measured.matrices
    parts = [_shallow(matrices, rules), *_narrow(measured, rules), *_null_law(matrices, rules)]
    found = pd.concat([effects.none(), *parts], ignore_index=True)
    return found.assign(predicted=np.nan, note="")[COLUMNS]


def _shallow(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    rows = expansion.shallow_minus_deep(matrices, rules)
    primary = ((rows["arm"] == rules.arm) & (rows["horizon"] == rules.primary_horizon)
               & (rows["role"] == expansion.ALL) & ~rows["without_first"])
    without = np.where(rows["without_first"], "/without layer 1", "")
    percent = rows["horizon"].map("{:.0%}".format)
    return rows.assign(claim="e3_shallow_expands_first", primary=primary,
                       cell=rows["arm"] + "/" + rows["role"] + "/" + percent + without)


def _narrow(measured: Measured, rules: E3Rules) -> list[pd.DataFrame]:
    """Of the arm with a constant lr, or else of the main arm, whose lr decays: that decides nothing."""
    rows = expansion.narrowness(measured.matrices, rules)
    steady = {key for key, schedule in measured.schedules.items() if expansion.is_constant(schedule)}
    constant = [arm == rules.constant_arm and (arm, seed) in steady
                for arm, seed in zip(rows["arm"], rows["seed"], strict=True)]
    chosen = rows[constant] if any(constant) else rows[rows["arm"] == rules.arm]
    elapsed = [-2 * np.log(measured.schedules[key].left[-1])
               for key in zip(chosen["arm"], chosen["seed"], strict=True)]
    claim = "e3_narrow_bands"
    return [chosen.assign(claim=claim, cell=chosen["arm"], primary=any(constant)),
            chosen.assign(claim=claim, cell=TIME_CONSTANTS, primary=False, effect=elapsed)]


def _null_law(matrices: pd.DataFrame, rules: E3Rules) -> list[pd.DataFrame]:
    """R of each role, mean over layers and dumps from `null_from_step` on; the error against no change's."""
    judged = matrices[matrices["role"].isin(QKV) & (matrices["step"] >= max(1, rules.null_from_step))]
    if not len(judged):
        return []
    means = judged.groupby(["arm", "seed", "role"])[["R", "R_over_D"]].mean().reset_index()
    error = forecast.errors(forecast.forecasts(matrices, rules.forecast_fraction), QKV)
    main = means["arm"] == rules.arm
    role = np.where(main, means["role"], means["arm"] + "/" + means["role"])
    closer = np.where(error["arm"] == rules.arm, AGAINST_NO_CHANGE, error["arm"] + "/" + AGAINST_NO_CHANGE)
    claim = "e3_null_law"
    return [means.assign(claim=claim, cell=role, primary=main, effect=means["R"]),
            means.assign(claim=claim, cell=means["arm"] + "/" + means["role"] + "/R_over_D", primary=False,
                         effect=means["R_over_D"]),
            error.assign(claim=claim, cell=closer, primary=error["arm"] == rules.arm,
                         effect=error["law_minus_no_change"])]
