"""E1's band of stds that train, seed by seed: its edges, its overlap with the paper's, its shift."""

import numpy as np
import pandas as pd

from study.analysis.edges import Bracket, band, bridged
from study.analysis.over_seeds import trend
from variance_dynamics.theory.propagation import natural_axis

CELL = ["dataset", "optimizer", "depth", "width"]
EDGES = ("lower", "upper")


def sizes(features: int, classes: int, depth: int, width: int) -> list[int]:
    """Layer sizes of an MLP of `depth` weight layers."""
    return [features, *[width] * (depth - 1), classes]


def fan_factors(outcomes: pd.DataFrame) -> "pd.Series[float]":
    """The natural axis at std 1 of every run, so that a = std * fan_factor."""
    names = ["features", "classes", "depth", "width", "input_second_moment"]
    shapes = outcomes[names].drop_duplicates()
    factors = [natural_axis(1.0, sizes(*shape), moment) for *shape, moment in shapes.itertuples(index=False)]
    found = outcomes[names].merge(shapes.assign(fan_factor=np.asarray(factors, dtype=np.float64)), on=names)
    return found["fan_factor"].set_axis(outcomes.index)


def of(outcomes: pd.DataFrame, bridge: bool = False) -> pd.DataFrame:
    """A row per cell, seed and edge; with `bridge`, one std that fails between two that train counts as one.

    std (nan if the seed never trains), inside and outside (the bracket; see edges.Bracket), censored (the
    band reaches the grid's end) and fan_factor, the natural axis at std 1, so that a = std * fan_factor.
    """
    keys = [*CELL, "seed"]
    runs = outcomes.assign(fan_factor=fan_factors(outcomes)).sort_values([*keys, "std"])
    rows = []
    for key, grid in runs.groupby(keys, sort=True):
        trains = grid["trains"].to_numpy(dtype=bool)
        found = band(grid["std"], grid["tail_loss"], bridged(trains) if bridge else trains)
        for edge, bracket in zip(EDGES, found, strict=True):
            std = bracket.std if grid["trains"].any() else np.nan
            ends = (bracket.inside, bracket.outside, bracket.censored)
            rows.append((*key, edge, std, *ends, grid["fan_factor"].iloc[0]))
    return pd.DataFrame(rows, columns=[*keys, "edge", "std", "inside", "outside", "censored", "fan_factor"])


def brackets(rows: pd.DataFrame) -> list[Bracket]:
    """The brackets of rows of `of`, for `edges.half_of_seeds`."""
    return [Bracket(inside, outside) for inside, outside in zip(rows["inside"], rows["outside"], strict=True)]


def wide(bands: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and seed: ln_lower, ln_upper (nan without a band), censored (number of ends)."""
    logs = bands.assign(ln=np.log(bands["std"])).pivot(index=[*CELL, "seed"], columns="edge", values="ln")
    ends = bands.groupby([*CELL, "seed"])["censored"].sum()
    named = logs.rename(columns={edge: f"ln_{edge}" for edge in EDGES}).rename_axis(columns=None)
    return named.assign(censored=ends).reset_index()


def overlap(bands: pd.DataFrame, paper: list[float]) -> pd.DataFrame:
    """The measured band against the paper's, in log width, a row per cell and seed; 0 without a band.

    jaccard: intersection over union; paper_share: share of the paper's band that trains; band_share: share
    of the measured band that the paper names. A censored end counts as the grid's end, and the note says so.
    """
    found = wide(bands)
    low, high = np.log(paper)
    common = np.minimum(found["ln_upper"], high) - np.maximum(found["ln_lower"], low)
    common = common.clip(lower=0).fillna(0)
    width = (found["ln_upper"] - found["ln_lower"]).fillna(0)
    ends = found["dataset"] + "/" + found["optimizer"] + "/L" + found["depth"].astype(str)
    return found[[*CELL, "seed"]].assign(
        note=(ends + ": band counted to the grid's end").where(found["censored"] > 0, ""),
        jaccard=common / (width + (high - low) - common), paper_share=common / (high - low),
        band_share=(common / width.where(width > 0)).fillna(0))


def slopes(bands: pd.DataFrame) -> pd.DataFrame:
    """d ln(edge) / d ln(width), a row per dataset, optimizer, depth, edge and seed, where widths vary.

    predicted: the slope that keeps a = std * fan_factor fixed; -(L-1)/(2L), as the input layer's fan-in does
    not change. slope is nan and note says why where an edge is censored, or a seed has no band, at any
    width: a bound does not move.
    """
    group = ["dataset", "optimizer", "depth", "edge"]
    rows = []
    for key, runs in bands.groupby(group, sort=True):
        if runs["width"].nunique() < 2:
            continue
        note = _why_not(runs)
        for seed, points in runs.groupby("seed"):
            x = np.log(points["width"].to_numpy(dtype=np.float64))
            slope = np.nan if note else trend(x, np.log(points["std"].to_numpy()))
            rows.append((*key, seed, slope, -trend(x, np.log(points["fan_factor"].to_numpy())), note))
    return pd.DataFrame(rows, columns=[*group, "seed", "slope", "predicted", "note"])


def theory_slopes(edges: pd.DataFrame) -> pd.DataFrame:
    """band_theory: d ln(predicted edge) / d ln(width), a row per dataset, optimizer, depth and edge.

    edges: band_theory.predicted_edges; nan where an edge is not predicted at every width.
    """
    group = ["dataset", "optimizer", "depth", "edge"]
    rows = [(*key, trend(np.log(points["width"].to_numpy(dtype=np.float64)),
                         np.log(points["predicted"].to_numpy(dtype=np.float64))))
            for key, points in edges.groupby(group, sort=True)]
    return pd.DataFrame(rows, columns=[*group, "band_theory"])


def _why_not(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    name = f"{first['dataset']}/{first['optimizer']}/L{first['depth']}"
    if runs["std"].isna().any():
        return f"{name}: no band at some width"
    return f"{name}/{first['edge']}: edge beyond the grid" if runs["censored"].any() else ""


def widths(bands: pd.DataFrame) -> pd.DataFrame:
    """ln(upper / lower), a row per cell and seed; nan where an end is censored or there is no band."""
    found = wide(bands)
    return found[[*CELL, "seed", "censored"]].assign(
        ln_width=(found["ln_upper"] - found["ln_lower"]).where(found["censored"] == 0))
