"""E2's comparisons: the learning rate of each scheme, and one scheme minus another, paired by seed.

An lr_kind says at which lr two schemes are compared: at one that all schemes share, or each at its own lr,
the best by validation or the fastest. The kind "grid" is a comparison over all of the lr grid.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from study.analysis.params import AnalyzeParams
from study.analysis.statistics import (
    Floats,
    after_selection,
    deviations,
    log_ratio,
    over_seeds,
    resamples,
    within,
)

CELL = ["dataset", "optimizer", "depth"]
SHARED, BEST, FASTEST, GRID = "shared", "best", "fastest", "grid"
CHOSEN_BY = {BEST: "val_loss", FASTEST: "steps"}
"""The number that the chosen lr of each kind minimises. The kind "fastest" is exploratory."""
STEPS = "ln_steps_ratio"
Contrast = Callable[[Floats, Floats], Floats]
SUMMARIES: dict[str, Callable[[Floats], Floats]] = {
    STEPS: lambda steps: np.log(steps.mean(axis=1)),
    "test_accuracy": lambda accuracy: accuracy.mean(axis=1),
    "spread": lambda accuracy: np.abs(accuracy - np.median(accuracy, axis=1, keepdims=True)).mean(axis=1)}
"""A scheme's number in every resample of the seeds, [draws] from [draws, n]. A contrast is a difference."""
COLUMN = {STEPS: "steps", "test_accuracy": "test_accuracy", "spread": "test_accuracy"}
"""The outcome that each of SUMMARIES is computed from."""


def learning_rates(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Final validation loss (mean of min(loss, cap)) and share of seeds that train at every lr.

    best: the lr of least validation loss, the smaller one on a tie. at_grid_end: the best lr is the smallest
    or the largest of the grid, so that a better one may lie beyond.
    """
    keys = [*CELL, "scheme", "lr"]
    share = outcomes["trains"].astype(float)
    rows = outcomes.assign(val_loss=capped(outcomes, "val_loss"), share_trains=share)
    table = over_seeds(rows, keys, ["val_loss", "share_trains"], params)
    table = table.merge(rows.groupby(keys, as_index=False)["cap"].first(), on=keys)
    table = within(within(table, ["val_loss"], 0, table["cap"]), ["share_trains"], 0, 1).drop(columns="cap")
    lrs = table.groupby(keys[:-1])["lr"]
    ends = (table["lr"] == lrs.transform("min")) | (table["lr"] == lrs.transform("max"))
    least = table.sort_values(["val_loss", "lr"], kind="stable").drop_duplicates(keys[:-1])
    best = table.index.isin(least.index)
    shared = outcomes.groupby(keys, as_index=False)["shared"].first()
    return table.assign(best=best, at_grid_end=best & ends).merge(shared, on=keys)


def capped(rows: pd.DataFrame, loss: str) -> "pd.Series[float]":
    """min(loss, cap); a loss that is not a number is a diverged one."""
    return rows[loss].astype(float).fillna(np.inf).clip(upper=rows["cap"])


def best_at_grid_end(table: pd.DataFrame, *schemes: str) -> str:
    """A note: how many best lrs of each scheme are their grid's first or last, from `learning_rates`."""
    ends = {name: table.loc[table["best"] & (table["scheme"] == name), "at_grid_end"] for name in schemes}
    counts = [f"{name} {at_end.sum()} of {len(at_end)}" for name, at_end in ends.items()]
    return f"best lr at the grid's end in cells of {', '.join(counts)}"


def at_shared_lr(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The runs at the lr that all schemes share."""
    return outcomes[outcomes["shared"].astype(bool)]


def at_own_lr(outcomes: pd.DataFrame, lr_kind: str) -> pd.DataFrame:
    """The runs at their scheme's own lr of that kind, by the mean over seeds; the smaller one on a tie."""
    keys, column = [*CELL, "scheme"], CHOSEN_BY[lr_kind]
    lrs = [outcomes[key] for key in [*keys, "lr"]]
    means = _criterion(outcomes, lr_kind).groupby(lrs).mean().reset_index()
    chosen = means.sort_values([column, "lr"], kind="stable").drop_duplicates(keys)[[*keys, "lr"]]
    return outcomes.merge(chosen, on=[*keys, "lr"]).assign(lr_kind=lr_kind)


def _criterion(runs: pd.DataFrame, lr_kind: str) -> "pd.Series[float]":
    """Each run's number by which an lr of that kind is chosen."""
    return capped(runs, "val_loss") if lr_kind == BEST else runs[CHOSEN_BY[lr_kind]].astype(float)


def selected(outcomes: pd.DataFrame, kinds: Sequence[str] = (BEST,)) -> pd.DataFrame:
    """The runs to compare, with lr_kind: those at the shared lr, and at each scheme's own lr of `kinds`."""
    return pd.concat([at_shared_lr(outcomes).assign(lr_kind=SHARED),
                      *(at_own_lr(outcomes, kind) for kind in kinds)], ignore_index=True)


def paired(outcomes: pd.DataFrame, first: str, second: str, params: AnalyzeParams,
           kinds: Sequence[str] = (BEST,)) -> pd.DataFrame:
    """`first` minus `second`, a row per dataset, optimizer, depth, lr_kind, measure and seed.

    lr_kind is shared, or one of `kinds`, where every resample of the seeds chooses its lr (see
    `_at_own_lrs`), or grid.

    effect, by measure: ln_steps_ratio (per-seed values of `log_ratio`, whose mean is the ln ratio of the mean
    of min(steps, budget)), test_accuracy, spread (|accuracy - median|), share_lr_trains (lr_kind grid).
    censored_NAME: number of the scheme's seeds that are censored; censored: the smaller of the two numbers.
    excluded: the measure is ln_steps_ratio and `censored` is above params' share of the seeds.
    """
    keys = [*CELL, "lr_kind"]
    if not {first, second} <= set(outcomes["scheme"]):
        return pd.DataFrame(columns=[*keys, "seed", "effect", "measure", "censored", "excluded"])
    chosen = selected(outcomes, kinds)
    fixed = _at_fixed_lrs(outcomes, chosen, first, second)
    own = [_at_own_lrs(outcomes, first, second, kind, params) for kind in kinds]
    pairs = pd.concat([fixed[~fixed["lr_kind"].isin(kinds)], *own], ignore_index=True)
    names = [f"censored_{first}", f"censored_{second}"]
    censored = _by_seed(chosen, keys, "censored", first, second)
    counts = pd.concat([frame.sum(axis=1) for frame in censored], axis=1, keys=names)
    counts = counts.assign(censored=counts.min(axis=1)).reset_index()
    none = dict.fromkeys([*names, "censored"], 0)
    pairs = pairs.merge(counts, on=keys, how="left").fillna(none).astype(dict.fromkeys(none, int))
    most = params.e2.censored_share * outcomes["seed"].nunique()
    return pairs.assign(excluded=(pairs["measure"] == STEPS) & (pairs["censored"] > most))


def _at_fixed_lrs(outcomes: pd.DataFrame, chosen: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """`first` minus `second` by each measure, at the lrs of `chosen` and over the grid, paired by seed."""
    keys = [*CELL, "lr_kind"]
    steps, accuracy = (_by_seed(chosen, keys, name, first, second) for name in ("steps", "test_accuracy"))
    shares = outcomes.groupby([*CELL, "scheme", "seed"], as_index=False)["trains"].mean()
    trains = _by_seed(shares.assign(lr_kind=GRID), keys, "trains", first, second)
    parts: list[tuple[str, Contrast, list[pd.DataFrame]]] = [
        (STEPS, log_ratio, steps), ("test_accuracy", np.subtract, accuracy),
        ("spread", _spread, accuracy), ("share_lr_trains", np.subtract, trains)]
    return pd.concat([_long(*part) for part in parts], ignore_index=True)


def _at_own_lrs(outcomes: pd.DataFrame, first: str, second: str, lr_kind: str, params: AnalyzeParams
                ) -> pd.DataFrame:
    """`first` minus `second`, each at its own lr of that kind, per cell, measure and seed.

    The choice of the lr is noisy too, so each resample of the seeds makes it anew. The mean over seeds is the
    mean over resamples, and its interval includes the choice (see statistics.after_selection).
    """
    rows = []
    for key, cell in outcomes.groupby(CELL, sort=True):
        runs = [cell[cell["scheme"] == name] for name in (first, second)]
        if any(scheme.empty for scheme in runs):
            continue
        ours, theirs = (_resampled(scheme, lr_kind, params) for scheme in runs)
        seeds = np.sort(cell["seed"].unique())
        for measure in SUMMARIES:
            values = after_selection(ours[measure] - theirs[measure], len(seeds), params.seed)
            rows += [(*key, lr_kind, seed, value, measure) for seed, value in zip(seeds, values, strict=True)]
    return pd.DataFrame(rows, columns=[*CELL, "lr_kind", "seed", "effect", "measure"])


def _resampled(runs: pd.DataFrame, lr_kind: str, params: AnalyzeParams) -> dict[str, Floats]:
    """Each of SUMMARIES of one scheme in one cell, at the lr that each resample chooses."""
    runs = runs.assign(chosen_by=_criterion(runs, lr_kind))
    wide = runs.pivot(index="seed", columns="lr", values=["chosen_by", *sorted(set(COLUMN.values()))])
    draw = resamples(len(wide), params.bootstrap, params.seed)
    means = wide["chosen_by"].to_numpy(float)[draw].mean(axis=1)
    best = means.round(12).argmin(axis=1)[:, None]  # on a tie the smaller lr, whatever the last bits are
    return {name: summary(wide[COLUMN[name]].to_numpy(float)[draw, best])
            for name, summary in SUMMARIES.items()}


def _by_seed(rows: pd.DataFrame, keys: list[str], value: str, *schemes: str) -> list[pd.DataFrame]:
    """A frame for each scheme, cells x seeds, all with the cells of the first."""
    wide = rows.pivot(index=["scheme", *keys], columns="seed", values=value)
    first, *others = (pd.DataFrame(wide.loc[name]) for name in schemes)
    return [first, *(other.reindex(first.index) for other in others)]


def _long(measure: str, contrast: Contrast, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """`contrast` of two frames from `_by_seed`, cell by cell, as rows."""
    first, second = frames
    pairs = zip(first.to_numpy(float), second.to_numpy(float), strict=True)
    values = pd.DataFrame([contrast(a, b) for a, b in pairs], index=first.index, columns=first.columns)
    long = values.melt(ignore_index=False, var_name="seed", value_name="effect").reset_index()
    return long.assign(measure=measure)


def _spread(first: Floats, second: Floats) -> Floats:
    return deviations(first) - deviations(second)
