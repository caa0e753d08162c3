"""What E1 and E2 share: the outcome of each model, and the signal and gradient in each of its layers.

A run is one model of a grid: `models` has a row per run, `curves` one per run, step and statistic, `layers`
one per run, step, layer and statistic. All are as the stages mlp_sweep and init_comparison write them.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.params import AnalyzeParams, E1Rules
from study.analysis.statistics import Floats, over_seeds, short_ends
from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory.propagation import forward_second_moment, gradient_norm
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.schemes import SCHEMES

KEPT = "outcomes.parquet"
"""The file of a recorded run that holds `measured`. It stands in for the models and every step's loss."""
FINAL = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
INIT = ["dataset", "depth", "width", "scheme", "std"]
"""Columns that decide a network's weights at init, but for the seed."""
DATA = ["features", "classes", "input_second_moment"]
"""Columns that say what a network must know of its dataset."""


def sizes(features: int, classes: int, depth: int, width: int) -> list[int]:
    """Layer sizes of an MLP of `depth` weight layers."""
    return [features, *[width] * (depth - 1), classes]


def outcomes(models: pd.DataFrame, curves: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """`models` with one column per outcome, a row per run: see `measured` and `judged`."""
    return judged(measured(models, curves, params), params)


def measured(models: pd.DataFrame, curves: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """`models` with the outcomes that are counted from each run's curves.

    initial_loss: train loss of the first minibatch, before any update. tail_loss: mean train loss of the last
    steps, inf if it is not finite. budget: the number of steps. steps: minibatches seen until the smoothed
    loss is below the threshold, at most the budget. censored: it never was. val_loss, val_accuracy,
    test_loss, test_accuracy: the last evaluation's; a diverged model has the accuracy of guessing.
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
    """`measured` with each run judged against the loss of guessing.

    log_k: that loss, ln(classes), in nat. regime, trains: by the rule of params e1. cap: the loss from which
    on a run counts as exploding. Means over seeds take min(loss, cap), so that a diverged seed has a number.
    diverges (exploratory): the run explodes and its loss rose, as it is not finite or above initial_loss.
    The other exploding runs started with a huge loss and have not yet unlearned it.
    """
    log_k = _log_k(runs)
    regime = regimes(runs["tail_loss"].to_numpy(), log_k, params.e1)
    rose = np.isinf(runs["tail_loss"]) | (runs["tail_loss"] > runs["initial_loss"])
    return runs.assign(log_k=log_k, cap=params.e1.exploding_above * log_k, regime=regime,
                       trains=regime == "trains", diverges=(regime == "exploding") & rose)


def _log_k(runs: pd.DataFrame) -> Floats:
    return np.asarray(np.log(runs["classes"].to_numpy(dtype=np.float64)))


def train_loss(curves: pd.DataFrame, runs: NDArray[np.int32]) -> Floats:
    """Minibatch losses [run, step]. Raises BadInput if a run lacks a step or has it twice."""
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
    """Mean of each `smoothing` consecutive losses, [run, steps - smoothing + 1]."""
    windows = np.lib.stride_tricks.sliding_window_view(loss, smoothing, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(windows.mean(axis=-1))


def _final(curves: pd.DataFrame) -> pd.DataFrame:
    """The last value of each evaluation, a row per run."""
    rows = curves.loc[curves["stat"].isin(FINAL)].sort_values("step", kind="stable")
    last = rows.drop_duplicates(["run", "stat"], keep="last")
    wide = last.pivot(index="run", columns="stat", values="value").reindex(columns=list(FINAL))
    return wide.astype(np.float64)


def per_layer(runs: pd.DataFrame, layers: pd.DataFrame, keys: list[str], params: AnalyzeParams
              ) -> pd.DataFrame:
    """Geometric means over seeds, a row per `keys`, layer and stat, with theory beside them.

    stat is second_moment or grad_norm, both at init, or grad_norm_end, at the last evaluation. Zero has no
    logarithm: a cell in which a seed has zero, or diverged, has no value.
    """
    last = layers.loc[layers["stat"] == "grad_norm", "step"].max()
    end = layers[(layers["stat"] == "grad_norm") & (layers["step"] == last)].assign(stat="grad_norm_end")
    rows = pd.concat([layers[layers["step"] == 0], end]).merge(runs[["run", *keys, "seed"]], on="run")
    value = np.log(rows["value"].where(np.isfinite(rows["value"]) & (rows["value"] > 0)))
    table = over_seeds(rows.assign(value=value), [*keys, "layer", "stat"], ["value"], params)
    table = short_ends(table, "value")
    table = table.assign(**{name: np.exp(table[name]) for name in ("value", "lo", "hi")})
    theory = predicted_layers(runs)
    shared = [name for name in theory.columns if name in table.columns]
    return table.merge(theory[[*shared, "predicted"]], on=shared, how="left")


def predicted_layers(runs: pd.DataFrame) -> pd.DataFrame:
    """Theory's second moment, and gradient norm of one sample, of each layer at init, per INIT and layer.

    They are means over initialisations, for the gradient norm the root of the mean square. Finite width
    makes the typical second moment of one sample lower (1812.05994).
    """
    rows = []
    networks = runs[[*INIT, *DATA]].drop_duplicates()
    for *init, features, classes, moment in networks.itertuples(index=False):
        _, depth, width, scheme, sigma = init
        shape = sizes(features, classes, depth, width)
        stds = layer_stds(shape, scheme, sigma)
        signal = forward_second_moment(shape, stds, moment)
        gradient = gradient_norm(shape, stds, moment, error=(1 - 1 / classes) ** 0.5)
        for layer in range(depth):
            rows += [(*init, layer + 1, "second_moment", signal[layer]),
                     (*init, layer + 1, "grad_norm", gradient[layer])]
    return pd.DataFrame(rows, columns=[*INIT, "layer", "stat", "predicted"])


def layer_stds(shape: list[int], scheme: str, sigma: float) -> list[float]:
    """The std that a scheme gives each weight layer of an MLP; `sigma` is used by schemes that take one."""
    depth = len(shape) - 1
    matrices = [Parameter("", "readout" if layer == depth else "hidden", layer, depth, *fans)
                for layer, fans in enumerate(pairwise(shape), 1)]
    return [SCHEMES[scheme].std(matrix, sigma) for matrix in matrices]
