"""E2's comparisons: the learning rate of each scheme, and one scheme minus another, paired by seed."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from study.analysis.over_seeds import over_seeds, within
from study.analysis.params import AnalyzeParams
from study.analysis.statistics import (
    Floats,
    after_selection,
    deviations,
    differences,
    log_ratio,
    resamples,
)

CELL = ["dataset", "optimizer", "depth"]
SHARED, BEST, FASTEST, GRID = "shared", "best", "fastest", "grid"
CHOSEN_BY = {BEST: "val_loss", FASTEST: "steps"}
"""What an lr of that kind is the least of; the fastest is exploratory."""
STEPS = "ln_steps_ratio"
Contrast = Callable[[Floats, Floats], Floats]
SUMMARIES: dict[str, Callable[[Floats], Floats]] = {
    STEPS: lambda steps: np.log(steps.mean(axis=1)),
    "test_accuracy": lambda accuracy: accuracy.mean(axis=1),
    "spread": lambda accuracy: np.abs(accuracy - np.median(accuracy, axis=1, keepdims=True)).mean(axis=1)}
"""Of a scheme in every resample of the seeds, [draws] from [draws, n]; a contrast is a difference of two."""
COLUMN = {STEPS: "steps", "test_accuracy": "test_accuracy", "spread": "test_accuracy"}


def learning_rates(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Final validation loss (mean of min(loss, cap)) and share of seeds that train at every lr.

    best: the lr of least validation loss, the smaller one on a tie; at_grid_end: the best one is the
    grid's last on either side, so that a better one may lie beyond.
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
    """How many best lrs of each scheme are their grid's first or last, from `learning_rates`."""
    ends = {name: table.loc[table["best"] & (table["scheme"] == name), "at_grid_end"] for name in schemes}
    told = [f"{name} {found.sum()} of {len(found)}" for name, found in ends.items()]
    return f"best lr at the grid's end in cells of {', '.join(told)}"


def at_shared_lr(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The runs at the lr that all schemes share."""
    return outcomes[outcomes["shared"].astype(bool)]


def selected(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The runs to compare, with lr_kind: those at the shared lr, and those at their scheme's best lr.

    The best lr is chosen on the mean validation loss over seeds; the smaller one on a tie.
    """
    return pd.concat([at_shared_lr(outcomes).assign(lr_kind=SHARED), at_least(outcomes, BEST)],
                     ignore_index=True)


def at_least(outcomes: pd.DataFrame, lr_kind: str) -> pd.DataFrame:
    """The runs at their scheme's lr of that kind, the smaller one on a tie."""
    keys, column = [*CELL, "scheme"], CHOSEN_BY[lr_kind]
    lrs = [outcomes[key] for key in [*keys, "lr"]]
    means = criterion(outcomes, lr_kind).groupby(lrs).mean().reset_index()
    least = means.sort_values([column, "lr"], kind="stable").drop_duplicates(keys)[[*keys, "lr"]]
    return outcomes.merge(least, on=[*keys, "lr"]).assign(lr_kind=lr_kind)


def criterion(runs: pd.DataFrame, lr_kind: str) -> "pd.Series[float]":
    """Each run's number by which an lr of that kind is chosen."""
    return capped(runs, "val_loss") if lr_kind == BEST else runs[CHOSEN_BY[lr_kind]].astype(float)


def paired(outcomes: pd.DataFrame, first: str, second: str, params: AnalyzeParams,
           kinds: Sequence[str] = (BEST,)) -> pd.DataFrame:
    """`first` minus `second`, a row per dataset, optimizer, depth, lr_kind, measure and seed.

    lr_kind is shared or one of `kinds`, where every resample of the seeds chooses its lr: see `at_chosen_lr`.

    effect, by measure: ln_steps_ratio (log_ratio's per-seed values: their mean is the ln ratio of the mean
    of min(steps, budget)), test_accuracy, spread (|accuracy - median|), share_lr_trains (lr_kind "grid").
    censored: the lesser of the two schemes' numbers of censored seeds, censored_NAME each one's. excluded:
    for ln_steps_ratio, the lesser number is over the share of seeds in params.
    """
    keys = [*CELL, "lr_kind"]
    if not {first, second} <= set(outcomes["scheme"]):
        return pd.DataFrame(columns=[*keys, "seed", "effect", "measure", "censored", "excluded"])
    runs = [at_shared_lr(outcomes).assign(lr_kind=SHARED), *(at_least(outcomes, kind) for kind in kinds)]
    chosen = pd.concat(runs, ignore_index=True)
    steps, accuracy = (_by_seed(chosen, keys, name, first, second) for name in ("steps", "test_accuracy"))
    censored = _by_seed(chosen, keys, "censored", first, second)
    shares = outcomes.groupby([*CELL, "scheme", "seed"], as_index=False)["trains"].mean()
    trains = _by_seed(shares.assign(lr_kind=GRID), keys, "trains", first, second)
    parts = [(STEPS, log_ratio, steps), ("test_accuracy", differences, accuracy),
             ("spread", _spread, accuracy), ("share_lr_trains", differences, trains)]
    fixed = pd.concat([_long(*part) for part in parts], ignore_index=True)
    again = [at_chosen_lr(outcomes, first, second, kind, params) for kind in kinds]
    found = pd.concat([fixed[~fixed["lr_kind"].isin(kinds)], *again], ignore_index=True)
    names = [f"censored_{first}", f"censored_{second}"]
    counts = pd.concat([frame.sum(axis=1) for frame in censored], axis=1, keys=names)
    counts = counts.assign(censored=counts.min(axis=1)).reset_index()
    whole = dict.fromkeys([*names, "censored"], 0)
    found = found.merge(counts, on=keys, how="left").fillna(whole).astype(dict.fromkeys(whole, int))
    most = params.e2.censored_share * outcomes["seed"].nunique()
    return found.assign(excluded=(found["measure"] == STEPS) & (found["censored"] > most))


def at_chosen_lr(outcomes: pd.DataFrame, first: str, second: str, lr_kind: str, params: AnalyzeParams
                 ) -> pd.DataFrame:
    """`first` minus `second`, each at its own lr of that kind, per cell, measure and seed.

    The choice of the lr is noisy too, so each resample of the seeds makes it: the mean over seeds is the mean
    over resamples, and its interval holds the choice (statistics.after_selection).
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
    """Each of SUMMARIES of a cell's scheme at the lr of that kind, resample by resample."""
    runs = runs.assign(chosen_by=criterion(runs, lr_kind))
    wide = runs.pivot(index="seed", columns="lr", values=["chosen_by", *sorted(set(COLUMN.values()))])
    taken = resamples(len(wide), params.bootstrap, params.seed)
    means = wide["chosen_by"].to_numpy(float)[taken].mean(axis=1)
    best = means.round(12).argmin(axis=1)[:, None]  # a tie is the smaller lr's, whatever the last bits
    return {name: summary(wide[COLUMN[name]].to_numpy(float)[taken, best])
            for name, summary in SUMMARIES.items()}


def _by_seed(rows: pd.DataFrame, keys: list[str], value: str, *schemes: str) -> list[pd.DataFrame]:
    """A frame for each scheme, cells x seeds, of the same cells."""
    wide = rows.pivot(index=["scheme", *keys], columns="seed", values=value)
    first, *others = (pd.DataFrame(wide.loc[name]) for name in schemes)
    return [first, *(other.reindex(first.index) for other in others)]


def _long(measure: str, contrast: Contrast, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """`contrast` of two frames from `_by_seed`, cell by cell, as rows."""
    first, second = frames
    pairs = zip(first.to_numpy(float), second.to_numpy(float), strict=True)
    found = pd.DataFrame([contrast(a, b) for a, b in pairs], index=first.index, columns=first.columns)
    long = found.melt(ignore_index=False, var_name="seed", value_name="effect").reset_index()
    return long.assign(measure=measure)


def _spread(first: Floats, second: Floats) -> Floats:
    return deviations(first) - deviations(second)
