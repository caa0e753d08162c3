"""What became of each model: its regime, steps to the threshold, final losses and accuracies."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.params import AnalyzeParams, E1Rules
from variance_dynamics.base.errors import BadInput

Floats = NDArray[np.float64]
KEPT = "outcomes.parquet"
"""What a recorded run has of `measured`, in place of models and of every step's loss."""
FINAL = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")


def of(models: pd.DataFrame, curves: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """`models` with one column per outcome, a row per run: see `measured` and `judged`."""
    return judged(measured(models, curves, params), params)


def measured(models: pd.DataFrame, curves: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """What a run's curves come down to.

    initial_loss: train loss of the first minibatch, before any update. tail_loss: mean train loss of the last
    steps; inf if not finite. steps: minibatches seen until the smoothed loss is below the threshold, at most
    the budget; censored: it never was. val_loss, val_accuracy, test_loss, test_accuracy: the last ones; a
    diverged model's accuracy is chance.
    """
    runs = models.sort_values("run", ignore_index=True)
    loss = train_loss(curves, runs["run"].to_numpy())
    steps = steps_to(loss, params.e2.threshold * _log_k(runs), params.e2.smoothing_steps)
    budget = loss.shape[1]
    runs = runs.assign(initial_loss=loss[:, 0], tail_loss=tail_loss(loss, params.e1.tail_fraction),
                       steps=np.fmin(steps, budget), censored=np.isinf(steps), budget=budget)
    final = _final(curves).reindex(runs["run"]).reset_index(drop=True)
    chance = dict.fromkeys(("val_accuracy", "test_accuracy"), 1 / runs["classes"])
    return pd.concat([runs, final.fillna(chance)], axis=1)


def judged(runs: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Each run against the loss of guessing.

    log_k: that loss, ln(classes), nat. regime, trains: the rule of params e1. cap: the loss from which a
    run counts as exploding; means over seeds take min(loss, cap), so that a diverged seed stays a number.
    diverges (exploratory): exploding, and its loss rose: it is not finite or above initial_loss. The others
    started with a huge loss and have not unlearned it yet.
    """
    log_k = _log_k(runs)
    regime = regimes(runs["tail_loss"].to_numpy(), log_k, params.e1)
    rose = np.isinf(runs["tail_loss"]) | (runs["tail_loss"] > runs["initial_loss"])
    return runs.assign(log_k=log_k, cap=params.e1.exploding_above * log_k, regime=regime,
                       trains=regime == "trains", diverges=(regime == "exploding") & rose)


def _log_k(runs: pd.DataFrame) -> Floats:
    return np.asarray(np.log(runs["classes"].to_numpy(dtype=np.float64)))


def train_loss(curves: pd.DataFrame, runs: NDArray[np.int32]) -> Floats:
    """Minibatch losses [run, step]; every run has every step.

    Raises BadInput if a step is missing or there twice.
    """
    rows = curves.loc[curves["stat"] == "train_loss", ["run", "step", "value"]]
    steps = int(rows["step"].max()) + 1 if len(rows) else 0
    if len(rows) != len(runs) * steps or not steps:
        raise BadInput(f"curves hold {len(rows)} train losses: expected {len(runs)} runs x {steps} steps")
    loss = np.zeros((len(runs), steps))
    loss[np.searchsorted(runs, rows["run"]), rows["step"]] = rows["value"]
    return loss


def tail_loss(loss: Floats, fraction: float) -> Floats:
    """Mean of the last `fraction` of the steps, [run], from [run, step]; inf where it is not finite."""
    count = max(1, round(fraction * loss.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = loss[:, -count:].mean(axis=1)
    return np.where(np.isfinite(mean), mean, np.inf)


def regimes(tail: Floats, log_k: Floats, rule: E1Rules) -> NDArray[np.str_]:
    """trains, exploding, vanishing or stalled, by the mean loss of the last steps alone (no theory)."""
    ratio = tail / log_k
    vanishing = np.abs(ratio - 1) <= rule.vanishing_within
    conditions = [ratio < rule.trains_below, ratio > rule.exploding_above, vanishing]
    return np.select(conditions, ["trains", "exploding", "vanishing"], "stalled")


def steps_to(loss: Floats, threshold: Floats, smoothing: int) -> Floats:
    """Minibatches seen until the mean of the last `smoothing` losses is below `threshold` [run], or inf."""
    if loss.shape[1] < smoothing:
        return np.full(len(loss), np.inf)
    below = smoothed(loss, smoothing) < threshold[:, None]
    return np.where(below.any(axis=1), below.argmax(axis=1) + float(smoothing), np.inf)


def smoothed(loss: Floats, smoothing: int) -> Floats:
    """Mean of each `smoothing` losses in a row, [run, steps - smoothing + 1]."""
    windows = np.lib.stride_tricks.sliding_window_view(loss, smoothing, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(windows.mean(axis=-1))


def _final(curves: pd.DataFrame) -> pd.DataFrame:
    """The last value of each evaluation, a row per run."""
    rows = curves.loc[curves["stat"].isin(FINAL)].sort_values("step", kind="stable")
    last = rows.drop_duplicates(["run", "stat"], keep="last")
    wide = last.pivot(index="run", columns="stat", values="value").reindex(columns=list(FINAL))
    return wide.astype(np.float64)
