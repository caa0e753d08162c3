"""E1: which initial std trains. Tables for the figures, effects for the claims, headline numbers."""

import numpy as np
import pandas as pd

from study.analysis import bands as band_of
from study.analysis import effects
from study.analysis.band_theory import predicted_edges
from study.analysis.bands import CELL
from study.analysis.edges import half_of_seeds
from study.analysis.layers import per_layer
from study.analysis.over_seeds import over_seeds, trend, within
from study.analysis.params import AnalyzeParams

Tables = dict[str, pd.DataFrame]
REGIMES = ("trains", "vanishing", "exploding", "stalled")
LEVELS = ["share_censored", "cap", "axis", "scaled"]
PAPER = ["jaccard", "paper_share", "band_share"]
DIVERGES, BRIDGED, BAND_THEORY, DEEPER = "/diverges", "/bridged", "/band theory", "/without depth 2"
"""Endings of exploratory cells: see claims.CLAIMS."""


def tables(outcomes: pd.DataFrame, layers: pd.DataFrame, params: AnalyzeParams) -> Tables:
    """The e1_* tables; `outcomes` from outcomes.of and with_signal, `layers` as the stage wrote it."""
    bands, theory = band_of.of(outcomes), predicted_edges(outcomes)
    return {"e1_loss": loss(outcomes, params),
            "e1_layers": per_layer(outcomes, layers, [*CELL, "std"], params),
            "e1_edges": bridged(edges(bands, theory, params), outcomes, params),
            "e1_slopes": slopes(bands, theory, params),
            "e1_overlap": overlap(bands, params),
            "e1_widths": widths(bands, params), "e1_depth_law": depth_law(bands, params)}


def loss(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Final train loss (mean of min(loss, cap)), test accuracy, steps to threshold and regimes per std.

    axis: a, the std on the natural axis; scaled: in units of sqrt(2 / width). share_*: of the n seeds;
    share_diverges is exploratory: those exploding whose loss ended above where it started.
    """
    shares = {f"share_{name}": (outcomes["regime"] == name).astype(float) for name in REGIMES}
    shares["share_diverges"] = outcomes["diverges"].astype(float)
    rows = outcomes.assign(
        loss=outcomes[["tail_loss", "cap"]].min(axis=1), accuracy=outcomes["test_accuracy"],
        axis=outcomes["std"] * band_of.fan_factors(outcomes),
        scaled=outcomes["std"] * np.sqrt(outcomes["width"] / 2),
        share_censored=outcomes["censored"].astype(float), **shares)
    keys = [*CELL, "std"]
    means = rows.groupby(keys, as_index=False)[[*shares, *LEVELS]].mean()
    table = over_seeds(rows, keys, ["loss", "accuracy", "steps"], params).merge(means, on=keys)
    table = within(within(table, ["loss"], 0, table["cap"]), ["accuracy"], 0, 1)
    return within(table, ["steps"], 1, outcomes["budget"].max())


def edges(bands: pd.DataFrame, theory: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Std where half of the seeds train, with its bootstrap interval; a row per cell and edge.

    axis* are the same on the natural axis, scaled* in units of the critical std sqrt(2 / width), and centre
    is the std of a = 1. predicted: theory's edge, under SGD. censored: seeds whose band reaches the grid's
    end; never: seeds that train nowhere.
    """
    rows = []
    for key, seeds in bands.groupby([*CELL, "edge"], sort=True):
        edge = half_of_seeds(band_of.brackets(seeds), params.confidence, params.bootstrap, params.seed)
        rows.append((*key, edge.std, edge.lo, edge.hi, edge.n, edge.censored, int(seeds["std"].isna().sum()),
                     1 / seeds["fan_factor"].iloc[0]))
    names = ["std", "lo", "hi", "n", "censored", "never", "centre"]
    found = pd.DataFrame(rows, columns=[*CELL, "edge", *names])
    for unit, std in (("axis", found["centre"]), ("scaled", np.sqrt(2 / found["width"]))):
        ends = {unit: found["std"] / std, f"{unit}_lo": found["lo"] / std, f"{unit}_hi": found["hi"] / std}
        found = found.assign(**ends)
    return found.merge(theory, on=[*CELL, "edge"], how="left")


def bridged(found: pd.DataFrame, outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """`edges` with the exploratory column bridged: the edge if a single std that fails splits no band."""
    keys = [*CELL, "edge"]
    whole = edges(band_of.of(outcomes, bridge=True), found[[*keys, "predicted"]], params)
    return found.merge(whole[[*keys, "std"]].rename(columns={"std": "bridged"}), on=keys)


def overlap(bands: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """The measured band against the paper's, in log width: see bands.overlap."""
    rows = band_of.overlap(bands, params.e1.paper_band)
    return within(over_seeds(rows, CELL, PAPER, params), PAPER, 0, 1)


def slopes(bands: pd.DataFrame, theory: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """d ln(edge) / d ln(width) over seeds; note says why there is none.

    predicted: that of the natural axis, the theory of the claim's rule; critical: that of the critical std
    sqrt(2 / width); band_theory (exploratory): that of theory.bands' edge, about -1/2, known under SGD.
    """
    keys = ["dataset", "optimizer", "depth", "edge"]
    rows = band_of.slopes(bands)
    table = over_seeds(rows, keys, ["slope"], params).rename(columns={"slope_lo": "lo", "slope_hi": "hi"})
    told = rows.drop_duplicates(keys)[[*keys, "predicted", "note"]]
    table = table.merge(told, on=keys).assign(critical=-0.5)
    return table.merge(band_of.theory_slopes(theory), on=keys, how="left")


def widths(bands: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """ln(upper edge / lower edge) over seeds; censored: ends beyond the grid, of 2n (then no mean)."""
    rows = band_of.widths(bands)
    table = over_seeds(rows, CELL, ["ln_width"], params)
    return table.merge(rows.groupby(CELL, as_index=False)["censored"].sum(), on=CELL)


def depth_law(bands: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """d ln(ln_width) / d ln(depth) over the depths where all seeds have both edges inside the grid.

    predicted: -1, if the depth scale 1/|ln(n sigma^2/2)| sets the band (1611.01232).
    """
    keys = ["dataset", "optimizer", "width"]
    whole = band_of.widths(bands).groupby(CELL).filter(lambda seeds: bool(seeds["ln_width"].notna().all()))
    deep = whole.groupby(keys).filter(lambda cell: cell["depth"].nunique() > 1)
    rows = pd.DataFrame([(*key, _exponent(runs["depth"], runs["ln_width"]))
                         for key, runs in deep.groupby([*keys, "seed"])], columns=[*keys, "seed", "exponent"])
    table = over_seeds(rows, keys, ["exponent"], params)
    return table.rename(columns={"exponent_lo": "lo", "exponent_hi": "hi"}).assign(predicted=-1.0)


def _exponent(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    return trend(np.log(x.to_numpy(dtype=np.float64)), np.log(y.to_numpy(dtype=np.float64)))


def shapes_with_all_regimes(outcomes: pd.DataFrame, explodes: "pd.Series[bool]") -> pd.DataFrame:
    """Per cell and seed, effect 1 where some std trains, a smaller one vanishes and a larger one explodes."""
    keys = [*CELL, "seed"]
    low = outcomes["std"].where(outcomes["regime"] == "vanishing")
    high = outcomes["std"].where(explodes)
    cells = outcomes.assign(low=low, high=high).groupby(keys)
    between = ((outcomes["std"] > cells["low"].transform("min"))
               & (outcomes["std"] < cells["high"].transform("max")) & outcomes["trains"])
    shapes = outcomes.assign(effect=between.astype(float)).groupby(keys)
    return shapes.agg(effect=("effect", "max")).reset_index()


def claim_effects(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Effects of the e1 claims, per cell and seed: claim cell primary seed effect predicted note."""
    bands, most, task = band_of.of(outcomes), params.e2.max_cells, ["dataset", "optimizer"]
    whole, deeper = band_of.of(outcomes, bridge=True), bands[bands["depth"] > 2]
    regimes = shapes_with_all_regimes(outcomes, outcomes["regime"] == "exploding")
    strict = shapes_with_all_regimes(outcomes, outcomes["diverges"])
    jaccard, whole_jaccard = (_overlap(rows, "jaccard", params) for rows in (bands, whole))
    coverage = _overlap(bands, "paper_share", params)
    shift = band_of.slopes(bands).rename(columns={"slope": "effect"})
    return pd.concat([
        effects.primary("e1_regimes", regimes, task, most),
        effects.exploratory("e1_regimes", regimes, CELL),
        effects.exploratory("e1_regimes", _pooled(strict), task, DIVERGES),
        effects.primary("e1_stability_band", jaccard, task, most),
        effects.exploratory("e1_stability_band", jaccard, CELL),
        effects.exploratory("e1_stability_band", _pooled(coverage), task, "/coverage"),
        effects.exploratory("e1_stability_band", _pooled(whole_jaccard), task, BRIDGED),
        effects.primary("e1_band_follows_fan_in", shift, task, most),
        effects.exploratory("e1_band_follows_fan_in", shift, [*task, "depth", "edge"]),
        effects.exploratory("e1_band_follows_fan_in", _relative(band_of.slopes(whole)), task, BRIDGED),
        effects.exploratory("e1_band_follows_fan_in", _by_band_theory(bands, outcomes), task, BAND_THEORY),
        effects.exploratory("e1_band_follows_fan_in", _relative(band_of.slopes(deeper)), task, DEEPER),
    ], ignore_index=True)


def _overlap(bands: pd.DataFrame, measure: str, params: AnalyzeParams) -> pd.DataFrame:
    found = band_of.overlap(bands, params.e1.paper_band)
    return found.assign(effect=found[measure])


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean effect over shapes, a row per dataset, optimizer and seed."""
    return rows.groupby(["dataset", "optimizer", "seed"])["effect"].mean().reset_index()


def _relative(slopes: pd.DataFrame) -> pd.DataFrame:
    """Mean slope over the mean of those predicted, as the claim's rule has it, per seed."""
    task = ["dataset", "optimizer", "seed"]
    known = slopes[slopes["slope"].notna()]
    means = known.groupby(task)[["slope", "predicted"]].mean()
    return (means["slope"] / means["predicted"]).rename("effect").reset_index()


def _by_band_theory(bands: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """`_relative` to the slope of theory.bands' edges, where it has any."""
    keys = ["dataset", "optimizer", "depth", "edge"]
    theory = band_of.theory_slopes(predicted_edges(outcomes)).dropna()
    return _relative(band_of.slopes(bands).drop(columns="predicted").merge(theory, on=keys).rename(
        columns={"band_theory": "predicted"}))


def metrics(outcomes: pd.DataFrame, params: AnalyzeParams) -> dict[str, float | int | None]:
    """Headline numbers of metrics/mlp_sweep.json.

    log10 of the edges of the deepest and widest MLP (of the grid's end where it is censored), overlap with
    the paper's band, slope over width and |ln(edge / theory's)|, means over shapes; null where none is.
    """
    bands, task = band_of.of(outcomes), ["dataset", "optimizer"]
    measured = edges(bands, predicted_edges(outcomes), params)
    deep = measured[measured["depth"] == measured["depth"].max()]
    deep = deep[deep["width"] == deep.groupby("dataset")["width"].transform("max")]
    ends = deep.set_index(["edge", *task])["std"]
    overlap = band_of.overlap(bands, params.e1.paper_band).groupby(task)["jaccard"].mean()
    slope = band_of.slopes(bands).groupby("optimizer")["slope"].mean()
    found = (_metrics("e1_log10", ends.map(np.log10)) | _metrics("e1_overlap", overlap)
             | _metrics("e1_slope", slope) | _metrics("e1_ln_error", errors(measured)))
    return dict(found)


def errors(measured: pd.DataFrame) -> "pd.Series[float]":
    """Mean |ln(edge / theory's)| by edge and optimizer, over edges inside the grid that theory predicts."""
    known = measured[(measured["censored"] == 0) & measured["predicted"].notna()]
    off = known.assign(off=(np.log(known["std"]) - np.log(known["predicted"])).abs())
    return off.groupby(["edge", "optimizer"])["off"].mean()


def _metrics(prefix: str, values: "pd.Series[float]") -> dict[str, float | None]:
    names = ["_".join([prefix, *np.atleast_1d(key)]) for key in values.index]
    return {name: float(value) if np.isfinite(value) else None
            for name, value in zip(names, values, strict=True)}
