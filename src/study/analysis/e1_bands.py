"""E1's band of stds that train, seed by seed: its edges, its overlap with the paper's, its shift with width.

A cell is a dataset, an optimizer and a shape. In each cell every seed has a grid of stds, and its band is the
contiguous stretch of stds that train around its best one. Theory's edges are known before training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from study.analysis.mlp import sizes
from study.analysis.statistics import Floats, log_trend, resamples
from study.analysis.verdicts import cell_names
from study.base.labelled import Labelled
from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory.propagation import natural_axis
from variance_dynamics.theory.sgd_band import band_edges, signal

CELL = ["dataset", "optimizer", "depth", "width"]
SLOPE = ["dataset", "optimizer", "depth", "edge"]
"""Columns that identify a slope over widths."""
EDGES = ("lower", "upper")
SIGNAL_ROWS = 1000
"""Training samples that the signal is computed from: the cost grows with the square of their number."""
NETWORK = [*CELL, "lr", "budget", "features", "classes", "input_second_moment", "signal"]


@dataclass(frozen=True)
class Bracket:
    """The edge of one seed's band lies between `inside` (trains) and `outside` (does not), both stds.

    At the grid's end `outside` is 0 (lower) or inf (upper): the edge is censored. A seed that never trains
    has inside = outside = inf (lower) or 0 (upper).
    """

    inside: float
    outside: float

    @property
    def censored(self) -> bool:
        return bool(np.isfinite(self.inside) and self.inside > 0 and self.outside in (0.0, np.inf))

    @property
    def std(self) -> float:
        """Half a grid step outside the last std that trains; the grid's end itself if censored."""
        return self.inside if self.censored else float(np.sqrt(self.inside) * np.sqrt(self.outside))


@dataclass(frozen=True)
class Edge:
    """The std at which half of the n seeds train, with its interval.

    std is nan where half of the seeds or more never train, lo or hi where the grid does not bound it.
    censored is the number of seeds whose band reaches the grid's end: from n/2 on, std is only a bound.
    """

    std: float
    lo: float
    hi: float
    n: int
    censored: int


def band(stds: ArrayLike, loss: ArrayLike, trains: ArrayLike) -> tuple[Bracket, Bracket]:
    """Lower and upper edge of one seed's contiguous band of training stds around the one of least loss.

    stds [k] ascending; loss [k], of which nan is the worst; trains [k] bool. Raises BadInput if the stds are
    not ascending, or not as many as the outcomes.
    """
    grid, good = np.asarray(stds, dtype=np.float64), np.asarray(trains, dtype=bool)
    if grid.shape != good.shape or np.any(np.diff(grid) <= 0):
        raise BadInput(f"stds of shape {grid.shape}: expected them ascending, one outcome for each")
    if not good.any():
        return Bracket(np.inf, np.inf), Bracket(0.0, 0.0)
    badness = np.where(good & ~np.isnan(loss), loss, np.inf)
    best = int(np.argmin(badness)) if np.isfinite(badness).any() else int(np.flatnonzero(good)[0])
    fails = np.flatnonzero(~good)
    below, above = fails[fails < best], fails[fails > best]
    low = int(below[-1]) + 1 if below.size else 0
    high = int(above[0]) - 1 if above.size else len(grid) - 1
    return (Bracket(float(grid[low]), float(grid[low - 1]) if below.size else 0.0),
            Bracket(float(grid[high]), float(grid[high + 1]) if above.size else np.inf))


def bridged(trains: ArrayLike) -> NDArray[np.bool_]:
    """`trains` [k] over ascending stds, in which a single failure between two that train counts as one."""
    good: NDArray[np.bool_] = np.array(trains, dtype=bool)
    good[1:-1] |= good[:-2] & good[2:]
    return good


def half_of_seeds(brackets: list[Bracket], confidence: float, draws: int, seed: int) -> Edge:
    """Median over seeds of the edge, in ln std, with the percentile bootstrap of the median at every n.

    The interval includes the grid's resolution: lo is a quantile of the medians of the brackets' lower ends,
    hi of their upper ends. At n = 5 that is the range of the seeds, which covers 94%.
    """
    with np.errstate(divide="ignore"):
        ends = np.log([[min(b.inside, b.outside), b.std, max(b.inside, b.outside)] for b in brackets])
    draw = resamples(len(brackets), draws, seed)
    tail = (1 - confidence) / 2
    lo = np.quantile(_medians(ends[:, 0][draw]), tail, method="inverted_cdf")
    hi = np.quantile(_medians(ends[:, 2][draw]), 1 - tail, method="inverted_cdf")
    std = _medians(ends[:, 1][None])[0]
    return Edge(_std(std), _std(lo), _std(hi), len(brackets), sum(b.censored for b in brackets))


def _medians(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # the mean of -inf and inf is nan: no bound
        return np.asarray(np.median(values, axis=1))


def _std(log: float) -> float:
    return float(np.exp(log)) if np.isfinite(log) else float("nan")


def fan_factors(outcomes: pd.DataFrame) -> "pd.Series[float]":
    """The natural axis at std 1 of every run, so that a = std * fan_factor."""
    names = ["features", "classes", "depth", "width", "input_second_moment"]
    shapes = outcomes[names].drop_duplicates()
    factors = [natural_axis(1.0, sizes(*shape), moment) for *shape, moment in shapes.itertuples(index=False)]
    runs = outcomes[names].merge(shapes.assign(fan_factor=np.asarray(factors, dtype=np.float64)), on=names)
    return runs["fan_factor"].set_axis(outcomes.index)


def edges_by_seed(outcomes: pd.DataFrame, bridge: bool = False) -> pd.DataFrame:
    """The edges of every seed's band, a row per cell, seed and edge.

    Columns beside these: std (nan if the seed never trains), inside and outside (see Bracket), censored (the
    band reaches the grid's end), and fan_factor, the natural axis at std 1, so that a = std * fan_factor.
    bridge: a single std that fails between two that train does not split a band.
    """
    keys = [*CELL, "seed"]
    runs = outcomes.assign(fan_factor=fan_factors(outcomes)).sort_values([*keys, "std"])
    rows = []
    for key, grid in runs.groupby(keys, sort=True):
        trains = grid["trains"].to_numpy(dtype=bool)
        ends = band(grid["std"], grid["tail_loss"], bridged(trains) if bridge else trains)
        for edge, bracket in zip(EDGES, ends, strict=True):
            std = bracket.std if grid["trains"].any() else np.nan
            rows.append((*key, edge, std, bracket.inside, bracket.outside, bracket.censored,
                         grid["fan_factor"].iloc[0]))
    return pd.DataFrame(rows, columns=[*keys, "edge", "std", "inside", "outside", "censored", "fan_factor"])


def brackets(edges: pd.DataFrame) -> list[Bracket]:
    """The brackets of rows of `edges_by_seed`, for `half_of_seeds`."""
    return [Bracket(*ends) for ends in zip(edges["inside"], edges["outside"], strict=True)]


def _by_seed(edges: pd.DataFrame) -> pd.DataFrame:
    """Both edges in a row per cell and seed: ln_lower, ln_upper (nan without a band), number censored."""
    logs = edges.assign(ln=np.log(edges["std"])).pivot(index=[*CELL, "seed"], columns="edge", values="ln")
    censored = edges.groupby([*CELL, "seed"])["censored"].sum()
    named = logs.rename(columns={edge: f"ln_{edge}" for edge in EDGES}).rename_axis(columns=None)
    return named.assign(censored=censored).reset_index()


def overlap(edges: pd.DataFrame, paper: list[float]) -> pd.DataFrame:
    """The measured band against the paper's, in log width, a row per cell and seed; 0 without a band.

    jaccard: intersection over union; paper_share: share of the paper's band that trains; band_share: share
    of the measured band that lies in the paper's. A censored edge counts as the grid's end, and note says so.
    """
    bands = _by_seed(edges)
    low, high = np.log(paper)
    common = np.minimum(bands["ln_upper"], high) - np.maximum(bands["ln_lower"], low)
    common = common.clip(lower=0).fillna(0)
    width = (bands["ln_upper"] - bands["ln_lower"]).fillna(0)
    cell = cell_names(bands, ["dataset", "optimizer", "depth"])
    return bands[[*CELL, "seed"]].assign(
        note=(cell + ": band counted to the grid's end").where(bands["censored"] > 0, ""),
        jaccard=common / (width + (high - low) - common), paper_share=common / (high - low),
        band_share=(common / width.where(width > 0)).fillna(0))


def widths(edges: pd.DataFrame) -> pd.DataFrame:
    """ln(upper / lower), a row per cell and seed; nan where an edge is censored or there is no band."""
    bands = _by_seed(edges)
    return bands[[*CELL, "seed", "censored"]].assign(
        ln_width=(bands["ln_upper"] - bands["ln_lower"]).where(bands["censored"] == 0))


def slopes(edges: pd.DataFrame) -> pd.DataFrame:
    """d ln(edge) / d ln(width), a row per SLOPE and seed, where widths vary.

    predicted: the slope that keeps a = std * fan_factor fixed. It is -(L-1)/(2L), as the input layer's fan-in
    does not change. Where an edge is censored at any width, or a seed has no band there, slope is nan and
    note says why, since a bound does not move.
    """
    rows = []
    for key, runs in edges.groupby(SLOPE, sort=True):
        if runs["width"].nunique() < 2:
            continue
        note = _why_no_slope(runs)
        for seed, points in runs.groupby("seed"):
            slope = np.nan if note else log_trend(points["width"], points["std"])
            rows.append((*key, seed, slope, -log_trend(points["width"], points["fan_factor"]), note))
    return pd.DataFrame(rows, columns=[*SLOPE, "seed", "slope", "predicted", "note"])


def _why_no_slope(runs: pd.DataFrame) -> str:
    if runs["std"].isna().any():
        return f"{cell_names(runs, SLOPE[:-1]).iloc[0]}: no band at some width"
    return f"{cell_names(runs, SLOPE).iloc[0]}: edge beyond the grid" if runs["censored"].any() else ""


def with_signal(outcomes: pd.DataFrame, data: Mapping[str, Labelled]) -> pd.DataFrame:
    """`outcomes` with the column signal: what the gradients of a dataset's samples share at that depth.

    It is nan for a dataset that `data` does not hold. A recorded run has the column already.
    """
    if "signal" in outcomes:
        return outcomes
    pairs = outcomes[["dataset", "depth"]].drop_duplicates()
    signals = [_signal(data.get(name), depth) for name, depth in pairs.itertuples(index=False)]
    return outcomes.merge(pairs.assign(signal=signals), on=["dataset", "depth"])


def _signal(data: Labelled | None, depth: int) -> float:
    if data is None:
        return float("nan")
    return signal(data.x["train"][:SIGNAL_ROWS], data.y["train"][:SIGNAL_ROWS], depth)


def predicted_edges(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Theory's std of each edge under SGD (see theory.sgd_band), a row per cell and edge.

    Cells of other optimizers, and of data without a signal, have no row. The upper edge is nan at depth 2,
    where this theory has none.
    """
    known = (outcomes["optimizer"] == "sgd") & outcomes["signal"].notna()
    rows = []
    for *cell, lr, steps, features, classes, moment, shared in (
            outcomes.loc[known, NETWORK].drop_duplicates().itertuples(index=False)):
        ends = band_edges(sizes(features, classes, *cell[2:]), lr, steps, shared, moment)
        rows += [(*cell, edge, std) for edge, std in zip(EDGES, ends, strict=True)]
    return pd.DataFrame(rows, columns=[*CELL, "edge", "predicted"]).replace(np.inf, np.nan)


def theory_slopes(edges: pd.DataFrame) -> pd.DataFrame:
    """Column band_theory: d ln(predicted edge) / d ln(width), a row per SLOPE, from `predicted_edges`.

    It is nan where an edge is not predicted at every width.
    """
    rows = [(*key, log_trend(points["width"], points["predicted"]))
            for key, points in edges.groupby(SLOPE, sort=True)]
    return pd.DataFrame(rows, columns=[*SLOPE, "band_theory"])
