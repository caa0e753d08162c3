"""E3, GPT-2 from scratch: tables over seeds, effects for the claims, and headline numbers.

Raw tables are those of stage gpt2_pretrain, concatenated. e3_injected measures R and D of every matrix,
e3_motion how its std moves. A run of one seed has means and no intervals.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis import e3_motion
from study.analysis.e3_injected import RUN, NullLaw, at_horizon, at_horizons, causes, laws, measure_run
from study.analysis.params import AnalyzeParams, E3Rules
from study.analysis.statistics import over_seeds, seed_means, short_ends, within
from study.analysis.verdicts import AGAINST_NO_CHANGE, COLUMNS, TIME_CONSTANTS, no_effects
from study.base.run_json import RunJson
from variance_dynamics.weights.parameter import BLOCK, QKV

CELL = ["arm", "step", "layer", "role"]
"""Columns that identify one measurement of one matrix, of which each seed has its own."""
MECHANISM = ["R", "size", "along", "D", "persistence", "c2", "memory", "grad_kurtosis", "epsilon_share",
             "grad_norm", "grad_drift"]
ERRORS = {"e3_forecast_error": "error_carried_on", "e3_law_error": "error_law",
          "e3_no_change_error": "error_no_change"}
"""Metrics and the columns of table e3_carried_on that they are. Their keys stay, as users type them."""
WIDER = 4
"""Bins of a histogram that are taken together."""
Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class MeasuredRuns:
    """The runs of one source: e3_injected.measure_run's table over all of them, and what it came from."""

    matrices: pd.DataFrame
    laws: dict[tuple[str, int], NullLaw]
    runs: list[RunJson]
    frames: Tables


def measure(frames: Tables, runs: list[RunJson]) -> MeasuredRuns:
    """frames: weights, losses, activations, histograms; runs: run.json of each (arm, seed)."""
    law_of = laws(frames["losses"], runs)
    by_run = dict(iter(frames["weights"].groupby(RUN)))
    parts = [measure_run(by_run[key], law).assign(arm=key[0], seed=key[1]) for key, law in law_of.items()]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(R_over_D=rows["R"] / rows["D"], persistence=rows["size"] / rows["D"])
    return MeasuredRuns(rows, law_of, runs, frames)


def tables(measured: MeasuredRuns, params: AnalyzeParams) -> Tables:
    """Every e3_ table over seeds, without the column source."""
    rows, frames = measured.matrices, measured.frames
    narrow = e3_motion.bands(rows, params.e3.last_share)
    activations = over_seeds(frames["activations"], ["arm", "step", "layer"], ["value"], params)
    return {
        "e3_std": _std(rows, params),
        "e3_ratio": over_seeds(rows[rows["step"] > 0], CELL, ["R", "D", "R_over_D"], params),
        "e3_mechanism": _mechanism(rows, params),
        "e3_causes": short_ends(over_seeds(causes(rows), ["arm", "cause"], ["value"], params), "value"),
        "e3_final": final(rows, params),
        "e3_arms": e3_motion.against_the_law(rows, measured.runs, params),
        "e3_earlier": e3_motion.earlier(rows, params),
        "e3_expansion": _expansion(rows, params),
        "e3_bands": over_seeds(narrow, ["arm", "role"], ["growth", "sd", "spread", "slope", "width"], params),
        "e3_state": states(measured, params),
        "e3_convergence": convergence(measured, params),
        "e3_carried_on": carried_on(rows, params),
        "e3_hist": _histograms(frames["histograms"]),
        "e3_loss": _loss(frames["losses"], params),
        "e3_loss_gaps": _loss_gaps(measured, params),
        "e3_acts": short_ends(activations, "value"),
    }


def _std(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    table = within(over_seeds(rows, CELL, ["std"], params), ["std"], 0, np.inf)
    table = short_ends(table, "std").rename(columns={"std": "value"})
    return table.merge(seed_means(rows, CELL, ["predicted"]), on=CELL)


def _mechanism(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """R = D x persistence + along and D = c2 x memory of each matrix, at the horizons."""
    horizons = at_horizons(rows, params.e3.horizons)
    return over_seeds(horizons, ["arm", "horizon", "step", "layer", "role"], MECHANISM, params)


def final(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_final: each arm and role at the last step, mean over layers.

    std as measured, predicted by the law, R, D and R_over_D, with intervals; step; time_constants of the
    variance that have passed.
    """
    numbers, ends = ["std", "predicted", "R", "D", "R_over_D"], ["step", "time_constants"]
    last = at_horizon(rows, 1.0)
    per_run = last.groupby([*RUN, "role"])[[*numbers, *ends]].mean().reset_index()
    keys = ["arm", "role"]
    return over_seeds(per_run, keys, numbers, params).merge(seed_means(per_run, keys, ends), on=keys)


def _expansion(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    effects = e3_motion.shallow_minus_deep(rows, params.e3)
    keys = ["arm", "horizon", "role", "without_first"]
    return short_ends(over_seeds(effects, keys, ["effect"], params), "effect")


def states(measured: MeasuredRuns, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_state: what moves each matrix at the end, and its state in a word, from means over seeds.

    agree: share of the seeds whose own numbers give the same word.
    """
    keys = ["arm", "layer", "role"]
    moved = e3_motion.motion(measured.matrices, measured.laws, params.e3.last_share)
    table = over_seeds(moved, keys, ["slope", "decay", "noise"], params)
    table = table.assign(state=_state_words(table, params))
    by_seed = moved.assign(own=_state_words(moved, params)).merge(table[[*keys, "state"]], on=keys)
    by_seed = by_seed.assign(agree=(by_seed["own"] == by_seed["state"]).astype(float))
    return table.merge(seed_means(by_seed, keys, ["agree"]), on=keys)


def _state_words(rows: pd.DataFrame, params: AnalyzeParams) -> list[str]:
    return [e3_motion.state(slope, decay, noise, params.e3.narrow_slope)
            for slope, decay, noise in zip(rows["slope"], rows["decay"], rows["noise"], strict=True)]


def convergence(measured: MeasuredRuns, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_convergence: see e3_motion.convergence."""
    rows = e3_motion.convergence(measured.matrices, measured.runs, measured.laws)
    keys = ["arm", "other", "role", "step"]
    table = short_ends(over_seeds(rows, keys, ["left"], params), "left")
    return table.merge(seed_means(rows, keys, ["predicted"]), on=keys)


def carried_on(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Table e3_carried_on: mean |ln error| of each way to predict the final std, see e3_motion.carried_on.

    roles: qkv, or block for all matrices in blocks.
    """
    errors = e3_motion.carried_on(rows, params.e3.forecast_fraction)
    parts = [e3_motion.mean_errors(errors, roles).assign(roles=name)
             for name, roles in (("qkv", QKV), ("block", BLOCK))]
    numbers = [*ERRORS.values(), "law_minus_no_change", "carried_on_minus_law"]
    return over_seeds(pd.concat(parts), ["arm", "roles"], numbers, params)


def _histograms(rows: pd.DataFrame) -> pd.DataFrame:
    """Density per unit of weight, of the first seed; the bins are cut from each matrix's own range.

    WIDER neighbouring bins are taken together, which leaves less noise.
    """
    first = rows[rows["seed"] == rows.groupby("arm")["seed"].transform("min")]
    numbered = first.assign(bin=first.groupby(CELL).cumcount() // WIDER)
    bins = numbered.groupby([*CELL, "bin"], as_index=False).agg(
        left=("left", "min"), right=("right", "max"), count=("count", "sum"))
    share = bins["count"] / bins.groupby(CELL)["count"].transform("sum")
    return bins.assign(density=share / (bins["right"] - bins["left"]))[[*CELL, "left", "right", "density"]]


def _loss(rows: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    table = short_ends(over_seeds(rows, ["arm", "step", "stat"], ["value"], params), "value")
    return table.rename(columns={"value": "mean"})


def _loss_gaps(measured: MeasuredRuns, params: AnalyzeParams) -> pd.DataFrame:
    """Last validation loss of `arm` minus that of `other`, paired by seed.

    Only arms that differ in the initial std alone are compared. Each pair has a row in either order.
    """
    losses = measured.frames["losses"]
    last = losses[losses["stat"] == "val_loss"].sort_values("step").groupby(RUN)["value"].last()
    val = last.to_dict()
    rows = [(arm, other, seed, val[arm, seed] - val[other, seed])
            for low, high, seed in e3_motion.pairs(measured.runs) if {(low, seed), (high, seed)} <= val.keys()
            for arm, other in ((low, high), (high, low))]
    table = pd.DataFrame(rows, columns=["arm", "other", "seed", "gap"])
    return short_ends(over_seeds(table, ["arm", "other"], ["gap"], params), "gap")


def claim_effects(measured: MeasuredRuns, params: AnalyzeParams) -> pd.DataFrame:
    """The effects of E3's claims, with the columns verdicts.COLUMNS. Empty where an arm was not run."""
    rules, matrices = params.e3, measured.matrices
    parts = [_shallow(matrices, rules), *_narrow(measured, rules), *_null_law(matrices, rules)]
    return pd.concat([no_effects(), *parts], ignore_index=True).assign(predicted=np.nan, note="")[COLUMNS]


def _shallow(matrices: pd.DataFrame, rules: E3Rules) -> pd.DataFrame:
    rows = e3_motion.shallow_minus_deep(matrices, rules)
    primary = ((rows["arm"] == rules.arm) & (rows["horizon"] == rules.primary_horizon)
               & (rows["role"] == e3_motion.ALL) & ~rows["without_first"])
    without = np.where(rows["without_first"], "/without layer 1", "")
    percent = rows["horizon"].map("{:.0%}".format)
    return rows.assign(claim="e3_shallow_expands_first", primary=primary,
                       cell=rows["arm"] + "/" + rows["role"] + "/" + percent + without)


def _narrow(measured: MeasuredRuns, rules: E3Rules) -> list[pd.DataFrame]:
    """Effects of the arm with a constant lr. Without one they are the main arm's, and decide nothing."""
    rows = e3_motion.narrowness(measured.matrices, rules)
    steady = {key for key, law in measured.laws.items() if e3_motion.is_constant(law)}
    constant = [arm == rules.constant_arm and (arm, seed) in steady
                for arm, seed in zip(rows["arm"], rows["seed"], strict=True)]
    chosen = rows[constant] if any(constant) else rows[rows["arm"] == rules.arm]
    elapsed = [measured.laws[key].time_constants[-1]
               for key in zip(chosen["arm"], chosen["seed"], strict=True)]
    claim = "e3_narrow_bands"
    return [chosen.assign(claim=claim, cell=chosen["arm"], primary=any(constant)),
            chosen.assign(claim=claim, cell=TIME_CONSTANTS, primary=False, effect=elapsed)]


def _null_law(matrices: pd.DataFrame, rules: E3Rules) -> list[pd.DataFrame]:
    """R of each role, mean over layers and over dumps from `null_from_step` on, and the law's error.

    The error is that of the final ln std, minus the error of "no change".
    """
    judged = matrices[matrices["role"].isin(QKV) & (matrices["step"] >= max(1, rules.null_from_step))]
    if not len(judged):
        return []
    means = judged.groupby([*RUN, "role"])[["R", "R_over_D"]].mean().reset_index()
    error = e3_motion.mean_errors(e3_motion.carried_on(matrices, rules.forecast_fraction), QKV)
    main = means["arm"] == rules.arm
    role = np.where(main, means["role"], means["arm"] + "/" + means["role"])
    closer = np.where(error["arm"] == rules.arm, AGAINST_NO_CHANGE, error["arm"] + "/" + AGAINST_NO_CHANGE)
    claim = "e3_null_law"
    return [means.assign(claim=claim, cell=role, primary=main, effect=means["R"]),
            means.assign(claim=claim, cell=means["arm"] + "/" + means["role"] + "/R_over_D", primary=False,
                         effect=means["R_over_D"]),
            error.assign(claim=claim, cell=closer, primary=error["arm"] == rules.arm,
                         effect=error["law_minus_no_change"])]


def numbers(tables: Tables, params: AnalyzeParams) -> dict[str, float | int | None]:
    """The numbers of gpt2, of the main arm; None where a number was not measured.

    Variances are given as log10, errors as mean |ln std|.
    """
    main = {name: table[table["arm"] == params.e3.arm] for name, table in tables.items()}
    errors, loss = main["e3_carried_on"], main["e3_loss"]
    values = {**_final_numbers(main), **_expansion_numbers(main, params), **_state_numbers(main)}
    values |= {name: _mean(errors, column, roles="qkv") for name, column in ERRORS.items()}
    values["e3_val_loss"] = _mean(loss, "mean", stat="val_loss", step=loss["step"].max())
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def _final_numbers(main: Tables) -> dict[str, float]:
    """Means over layers at the last step. (R of the claim, in claims.json, is a mean over dumps too.)"""
    ratios = {f"e3_{name}_end_{role}": _mean(main["e3_final"], name, role=role)
              for name in ("R", "R_over_D") for role in QKV}
    stds = {role: _mean(main["e3_final"], "std", role=role) for role in QKV}
    return ratios | {f"e3_log10_variance_end_{role}": 2 * np.log10(std) for role, std in stds.items()}


def _expansion_numbers(main: Tables, params: AnalyzeParams) -> dict[str, float]:
    first, last = params.e3.primary_horizon, max(params.e3.horizons)
    shown = {(first, ""): False, (first, "_without_layer_1"): True, (last, ""): False}
    return {f"e3_shallow_minus_deep_at_{100 * share:g}{suffix}": _mean(
                main["e3_expansion"], "effect", horizon=share, role=e3_motion.ALL, without_first=without)
            for (share, suffix), without in shown.items()}


def _state_numbers(main: Tables) -> dict[str, float]:
    """Share of the Q, K and V matrices that are in a state in every seed; the rest is quiet or undecided."""
    rows = main["e3_state"][main["e3_state"]["role"].isin(QKV)]
    words = rows["state"].where(rows["agree"] == 1, "undecided")
    return {f"e3_share_{word}": float((words == word).mean()) for word in e3_motion.STATES[:3]}


def _mean(rows: pd.DataFrame, value: str, **where: object) -> float:
    chosen = np.logical_and.reduce([rows[name] == wanted for name, wanted in where.items()])
    return float(rows.loc[chosen, value].mean())
