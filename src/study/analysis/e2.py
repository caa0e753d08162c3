"""E2, Kaiming against Xavier and others: tables for the figures, effects for the claims, headline numbers.

`outcomes` come from mlp.outcomes, `curves` and `layers` are as the stage wrote them.
"""

import numpy as np
import pandas as pd

from study.analysis import e2_contrasts
from study.analysis.e2_contrasts import BEST, CELL, FASTEST, GRID, SHARED, STEPS
from study.analysis.mlp import per_layer, sizes, smoothed, train_loss
from study.analysis.params import AnalyzeParams
from study.analysis.statistics import over_seeds, p_values, short_ends, trend, within
from study.analysis.verdicts import cell_names, exploratory_effects, no_effects, primary_effects
from variance_dynamics.theory.propagation import kaiming_xavier_ratio

REFERENCE, RIVAL, CONTROL = "kaiming", "xavier", "xavier_sqrt2"
GRADIENT_SCALED = ("sgd", "momentum")
"""Optimizers whose step is proportional to the gradient."""
SMOOTHED = "smooth_train_loss"
"""The statistic that a recorded run keeps of the train loss, in place of every step's."""
KEYS = [*CELL, "scheme", "lr", "lr_kind"]
CENSORED = [f"censored_{REFERENCE}", f"censored_{RIVAL}"]
AT_FASTEST, UNCENSORED, EXPLODES = "/at the fastest lr", "/uncensored", "/explodes"
"""Endings of exploratory cells. claims.CLAIMS says what each of them shows."""
HEADLINES = (STEPS, "test_accuracy", "share_lr_trains")


def tables(outcomes: pd.DataFrame, curves: pd.DataFrame, layers: pd.DataFrame, params: AnalyzeParams
           ) -> dict[str, pd.DataFrame]:
    """The e2_* tables."""
    chosen = e2_contrasts.selected(outcomes)
    at_shared = e2_contrasts.at_shared_lr(outcomes)
    return {"e2_curves": training_curves(chosen, curves, params), "e2_threshold": threshold(chosen, params),
            "e2_lr": e2_contrasts.learning_rates(outcomes, params),
            "e2_layers": per_layer(at_shared, layers, [*CELL, "scheme"], params),
            "e2_gap": gap(outcomes, params), "e2_contrasts": against_reference(outcomes, params)}


def training_curves(chosen: pd.DataFrame, curves: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Mean curves at the shared lr and at each scheme's best lr; train_loss is smoothed.

    A loss is min(loss, cap) and a diverged model has the accuracy of guessing, so that every mean is finite.
    """
    rows = curves[curves["run"].isin(chosen["run"])]
    evaluated = rows.loc[rows["stat"].isin(["val_loss", "val_accuracy"]), ["run", "step", "stat", "value"]]
    smooth = smooth_train_loss(rows, params.e2.smoothing_steps).assign(stat="train_loss")
    long = pd.concat([smooth, evaluated])
    long = long.merge(chosen[["run", "seed", "cap", "log_k", *KEYS]], on="run")
    losses = long["stat"] != "val_accuracy"
    value = np.where(losses, e2_contrasts.capped(long, "value"), long["value"].fillna(np.exp(-long["log_k"])))
    table = over_seeds(long.assign(mean=value), [*KEYS, "step", "stat"], ["mean"], params)
    table = within(table, ["mean"], 0, np.where(table["stat"] == "val_accuracy", 1, np.inf))
    return short_ends(table, "mean")


def smooth_train_loss(curves: pd.DataFrame, smoothing: int) -> pd.DataFrame:
    """Means of `smoothing` consecutive losses, at the last step of each: columns run, step, stat, value.

    A recorded run has them already, as SMOOTHED.
    """
    recorded = curves.loc[curves["stat"] == SMOOTHED, ["run", "step", "stat", "value"]]
    if len(recorded):
        return recorded
    runs = np.sort(curves["run"].unique())
    means = smoothed(train_loss(curves, runs), smoothing)[:, ::smoothing]
    steps = smoothing - 1 + smoothing * np.arange(means.shape[1])
    return pd.DataFrame({"run": np.repeat(runs, len(steps)), "step": np.tile(steps, len(runs)),
                         "stat": SMOOTHED, "value": means.ravel()})


def threshold(chosen: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Mean of min(steps to the threshold, budget). censored: number of seeds that never reach it."""
    table = within(over_seeds(chosen, KEYS, ["steps"], params), ["steps"], 1, chosen["budget"].max())
    counts = chosen.groupby(KEYS, as_index=False)["censored"].sum()
    return short_ends(table, "steps").merge(counts, on=KEYS)


def gap(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Kaiming minus Xavier, paired by seed: a row per cell, lr_kind and measure.

    The lr_kind "fastest" (each scheme at the lr of least mean steps) is exploratory. censored_kaiming,
    censored_xavier: seeds that never reach the threshold; where one has more, the ratio is only a bound.
    predicted, for ln_steps_ratio at the shared lr under SGD with or without momentum: -ln of the ratio of the
    first rates at which the loss falls, which geometry decides. Adam cancels the gradient's scale.
    """
    table = _over_pairs(e2_contrasts.paired(outcomes, REFERENCE, RIVAL, params, (BEST, FASTEST)), [], params)
    table = table.merge(head_starts(outcomes), on=["dataset", "depth"])
    known = (table["measure"] == STEPS) & (table["lr_kind"] == SHARED)
    known &= table["optimizer"].isin(GRADIENT_SCALED)
    return table.assign(predicted=table["predicted"].where(known))


def head_starts(outcomes: pd.DataFrame) -> pd.DataFrame:
    """-ln of Kaiming's first rate of loss decrease under SGD over Xavier's: dataset, depth, predicted."""
    shapes = outcomes[["dataset", "depth", "features", "classes", "width"]].drop_duplicates()
    rows = [(dataset, depth, -np.log(kaiming_xavier_ratio(sizes(features, classes, depth, width)).loss_rate))
            for dataset, depth, features, classes, width in shapes.itertuples(index=False)]
    return pd.DataFrame(rows, columns=["dataset", "depth", "predicted"])


def against_reference(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Every other scheme minus Kaiming, all exploratory but the control xavier_sqrt2, whose gap is 0."""
    others = [name for name in sorted(outcomes["scheme"].unique()) if name != REFERENCE] or [RIVAL]
    parts = []
    for name in others:
        pairs = e2_contrasts.paired(outcomes, name, REFERENCE, params).assign(scheme=name, versus=REFERENCE)
        parts.append(pairs.rename(columns={f"censored_{name}": "censored_scheme",
                                           f"censored_{REFERENCE}": "censored_versus"}))
    return _over_pairs(pd.concat(parts), ["scheme", "versus"], params)


def _over_pairs(pairs: pd.DataFrame, names: list[str], params: AnalyzeParams) -> pd.DataFrame:
    keys = [*CELL, *names, "lr_kind", "measure"]
    table = over_seeds(pairs, keys, ["effect"], params)
    table = table.assign(p=p_values(pairs, keys, "effect"))
    counted = [name for name in pairs.columns if str(name).startswith("censored")]
    counts = pairs.drop_duplicates(keys)[[*keys, *counted, "excluded"]]
    return short_ends(table, "effect").merge(counts, on=keys)


def claim_effects(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """The effects of E2's claims, with the columns verdicts.COLUMNS."""
    pairs = e2_contrasts.paired(outcomes, REFERENCE, RIVAL, params, (BEST, FASTEST))
    if pairs.empty:
        return no_effects()
    ends = e2_contrasts.best_at_grid_end(e2_contrasts.learning_rates(outcomes, params), REFERENCE, RIVAL)
    most, cell = params.e2.max_cells, [*CELL, "lr_kind"]
    steps, stable = pairs[pairs["measure"] == STEPS], pairs[pairs["measure"] == "share_lr_trains"]
    best, depth = _without_excluded(steps[steps["lr_kind"] == BEST]), slopes(steps)
    best = best.assign(note=best["note"] + "; " + ends)
    at_best, fastest = depth[depth["lr_kind"] == BEST], steps[steps["lr_kind"] == FASTEST]
    uncensored = steps[(steps["lr_kind"] == BEST) & (steps[CENSORED].sum(axis=1) == 0)]
    at_best = at_best.assign(note=at_best["note"] + "; " + _bounds(steps[steps["lr_kind"] == BEST]))
    faster, stability, grows = "e2_kaiming_faster", "e2_kaiming_more_stable", "e2_gap_grows_with_depth"
    return pd.concat([
        primary_effects(faster, best, ["optimizer"], most),
        exploratory_effects(faster, _without_excluded(steps), cell),
        exploratory_effects(faster, _without_excluded(fastest), ["optimizer"], AT_FASTEST),
        primary_effects(stability, stable, ["optimizer"], most),
        exploratory_effects(stability, stable, cell),
        exploratory_effects(stability, exploding(outcomes), CELL, EXPLODES),
        primary_effects(grows, at_best, ["optimizer"], most),
        exploratory_effects(grows, depth, ["dataset", "optimizer", "lr_kind"]),
        exploratory_effects(grows, slopes(fastest), ["optimizer"], AT_FASTEST),
        exploratory_effects(grows, slopes(uncensored), ["optimizer"], UNCENSORED),
    ], ignore_index=True)


def _bounds(steps: pd.DataFrame) -> str:
    """A note: the cells of one lr_kind where the rival alone is censored, and the ratio only a bound."""
    kaiming, xavier = (steps[name] for name in CENSORED)
    cells = steps[(xavier > 0) & (kaiming == 0)].drop_duplicates(CELL)
    named = ", ".join(cell_names(cells, CELL) + " " + cells[CENSORED[1]].astype(str))
    return f"{RIVAL} alone censored, so the lead is larger (seeds): {named}" if named else ""


def exploding(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Share of the lr grid that explodes, Kaiming minus Xavier, per cell and seed."""
    share = outcomes.assign(explodes=outcomes["regime"] == "exploding").pivot_table(
        index=[*CELL, "seed"], columns="scheme", values="explodes", aggfunc="mean")
    return (share[REFERENCE] - share[RIVAL]).rename("effect").reset_index()


def _without_excluded(steps: pd.DataFrame) -> pd.DataFrame:
    """`steps` with effect nan in the excluded cells, and a note that names them."""
    return steps.assign(effect=steps["effect"].where(~steps["excluded"]), predicted=np.nan,
                        note=(cell_names(steps, CELL) + ": both censored").where(steps["excluded"], ""))


def slopes(steps: pd.DataFrame) -> pd.DataFrame:
    """d ln(steps ratio) / d depth over the depths not excluded, per dataset, optimizer, lr_kind and seed."""
    rows = []
    group = ["dataset", "optimizer", "lr_kind", "seed"]
    for key, points in _without_excluded(steps).groupby(group, sort=True):
        used = points[points["effect"].notna()]
        slope = trend(used["depth"].to_numpy(dtype=np.float64), used["effect"].to_numpy())
        notes = [note for note in points["note"] if note]
        rows.append((*key, slope, "; ".join(notes)))
    return pd.DataFrame(rows, columns=[*group, "effect", "note"])


def numbers(outcomes: pd.DataFrame, params: AnalyzeParams) -> dict[str, float | int | None]:
    """The numbers of init_comparison: Kaiming minus Xavier at best lr, mean over cells.

    None where a number was not measured.
    """
    pairs = e2_contrasts.paired(outcomes, REFERENCE, RIVAL, params)
    values: dict[str, float | int | None] = {}
    for optimizer, rows in pairs[pairs["lr_kind"].isin([BEST, GRID])].groupby("optimizer"):
        for measure in HEADLINES:
            used = rows[(rows["measure"] == measure) & ~rows["excluded"]]
            values[f"e2_{measure}_{optimizer}"] = float(used["effect"].mean()) if len(used) else None
    best = pairs[(pairs["measure"] == STEPS) & (pairs["lr_kind"] == BEST)].drop_duplicates(CELL)
    lrs = e2_contrasts.learning_rates(outcomes, params)
    return values | {"e2_cells_left_out": int(best["excluded"].sum()),
                     "e2_best_lr_at_grid_end": float(lrs.loc[lrs["best"], "at_grid_end"].mean()),
                     "e2_control_largest_gap": control(outcomes, params)}


def control(outcomes: pd.DataFrame, params: AnalyzeParams) -> float | None:
    """Largest |xavier_sqrt2 minus kaiming| at the shared lr over cells, seeds and measures; 0 is expected."""
    if CONTROL not in set(outcomes["scheme"]):
        return None
    pairs = e2_contrasts.paired(outcomes, CONTROL, REFERENCE, params, kinds=())
    return float(pairs.loc[pairs["lr_kind"] == SHARED, "effect"].abs().max())
