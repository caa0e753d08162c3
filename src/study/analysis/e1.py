"""E1, which initial std trains: tables for the figures, effects for the claims, headline numbers.

`outcomes` come from mlp.outcomes and e1_bands.with_signal; `edges` are each seed's, from e1_bands.
"""

import numpy as np
import pandas as pd

from study.analysis import e1_bands
from study.analysis.e1_bands import CELL, SLOPE, edges_by_seed, half_of_seeds, predicted_edges, theory_slopes
from study.analysis.mlp import per_layer
from study.analysis.params import AnalyzeParams
from study.analysis.statistics import log_trend, over_seeds, seed_means, short_ends, within
from study.analysis.verdicts import exploratory_effects, primary_effects

REGIMES = ("trains", "vanishing", "exploding", "stalled")
PAPER = ["jaccard", "paper_share", "band_share"]
TASK = ["dataset", "optimizer"]
DIVERGES, COVERAGE, BRIDGED = "/diverges", "/coverage", "/bridged"
BAND_THEORY, DEEPER = "/band theory", "/without depth 2"
"""Endings of exploratory cells. claims.CLAIMS says what each of them shows."""


def tables(outcomes: pd.DataFrame, layers: pd.DataFrame, params: AnalyzeParams) -> dict[str, pd.DataFrame]:
    """The e1_* tables; `layers` as the stage wrote it."""
    edges, theory = edges_by_seed(outcomes), predicted_edges(outcomes)
    return {"e1_loss": loss(outcomes, params),
            "e1_layers": per_layer(outcomes, layers, [*CELL, "std"], params),
            "e1_edges": median_edges(edges, theory, params),
            "e1_slopes": slopes(edges, theory, params),
            "e1_overlap": overlap(edges, params),
            "e1_widths": widths(edges, params), "e1_depth_law": depth_law(edges, params)}


def loss(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Final train loss (mean of min(loss, cap)), test accuracy, steps to the threshold and regimes per std.

    axis: a, the std on the natural axis; cap: the loss from which on a run counts as exploding. share_*:
    shares of the n seeds; share_diverges is exploratory: seeds that explode and whose loss ended above its
    start.
    """
    shares = {f"share_{name}": (outcomes["regime"] == name).astype(float) for name in REGIMES}
    shares["share_diverges"] = outcomes["diverges"].astype(float)
    rows = outcomes.assign(
        loss=outcomes[["tail_loss", "cap"]].min(axis=1), accuracy=outcomes["test_accuracy"],
        axis=outcomes["std"] * e1_bands.fan_factors(outcomes), **shares)
    keys = [*CELL, "std"]
    means = seed_means(rows, keys, [*shares, "cap", "axis"])
    table = over_seeds(rows, keys, ["loss", "accuracy", "steps"], params).merge(means, on=keys)
    table = within(within(table, ["loss"], 0, table["cap"]), ["accuracy"], 0, 1)
    return within(table, ["steps"], 1, outcomes["budget"].max())


def median_edges(edges: pd.DataFrame, theory: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Std at which half of the seeds train, with its bootstrap interval, a row per cell and edge.

    axis*: the same on the natural axis; centre: the std of a = 1; predicted: theory's edge, under SGD.
    censored: number of seeds whose band reaches the grid's end; never: number that train nowhere.
    """
    rows = []
    for key, seeds in edges.groupby([*CELL, "edge"], sort=True):
        edge = half_of_seeds(e1_bands.brackets(seeds), params.confidence, params.bootstrap, params.seed)
        rows.append((*key, edge.std, edge.lo, edge.hi, edge.n, edge.censored, int(seeds["std"].isna().sum()),
                     1 / seeds["fan_factor"].iloc[0]))
    names = ["std", "lo", "hi", "n", "censored", "never", "centre"]
    table = pd.DataFrame(rows, columns=[*CELL, "edge", *names])
    centre = table["centre"]
    table = table.assign(axis=table["std"] / centre, axis_lo=table["lo"] / centre,
                         axis_hi=table["hi"] / centre)
    return table.merge(theory, on=[*CELL, "edge"], how="left")


def overlap(edges: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """The measured band against the paper's, in log width, over seeds: see e1_bands.overlap."""
    rows = e1_bands.overlap(edges, params.e1.paper_band)
    return within(over_seeds(rows, CELL, PAPER, params), PAPER, 0, 1)


def slopes(edges: pd.DataFrame, theory: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """d ln(edge) / d ln(width) over seeds; note says why there is none.

    predicted: the slope of the natural axis, the theory of the claim's rule; critical: the slope of the
    critical std sqrt(2 / width); band_theory (exploratory): the slope of theory.sgd_band's edge, about -1/2,
    known under SGD.
    """
    rows = e1_bands.slopes(edges)
    table = short_ends(over_seeds(rows, SLOPE, ["slope"], params), "slope")
    constant = rows.drop_duplicates(SLOPE)[[*SLOPE, "predicted", "note"]]
    table = table.merge(constant, on=SLOPE).assign(critical=-0.5)
    return table.merge(theory_slopes(theory), on=SLOPE, how="left")


def widths(edges: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """ln(upper edge / lower edge) over seeds. censored: edges beyond the grid, of 2n; if any, no mean."""
    rows = e1_bands.widths(edges)
    table = over_seeds(rows, CELL, ["ln_width"], params)
    return table.merge(rows.groupby(CELL, as_index=False)["censored"].sum(), on=CELL)


def depth_law(edges: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """d ln(ln_width) / d ln(depth) over the depths at which all seeds have both edges inside the grid.

    predicted: -1, if the depth scale 1/|ln(n sigma^2/2)| sets the band (1611.01232).
    """
    keys = ["dataset", "optimizer", "width"]
    whole = e1_bands.widths(edges).groupby(CELL).filter(lambda seeds: bool(seeds["ln_width"].notna().all()))
    deep = whole.groupby(keys).filter(lambda cell: cell["depth"].nunique() > 1)
    rows = pd.DataFrame([(*key, log_trend(runs["depth"], runs["ln_width"]))
                         for key, runs in deep.groupby([*keys, "seed"])], columns=[*keys, "seed", "exponent"])
    return short_ends(over_seeds(rows, keys, ["exponent"], params), "exponent").assign(predicted=-1.0)


def shapes_with_all_regimes(outcomes: pd.DataFrame, explodes: "pd.Series[bool]") -> pd.DataFrame:
    """Effect 1 where some std trains, a smaller one vanishes and a larger one explodes, else 0.

    A row per cell and seed; explodes [runs] says which runs of `outcomes` count as exploding.
    """
    keys = [*CELL, "seed"]
    low = outcomes["std"].where(outcomes["regime"] == "vanishing")
    high = outcomes["std"].where(explodes)
    cells = outcomes.assign(low=low, high=high).groupby(keys)
    between = ((outcomes["std"] > cells["low"].transform("min"))
               & (outcomes["std"] < cells["high"].transform("max")) & outcomes["trains"])
    shapes = outcomes.assign(effect=between.astype(float)).groupby(keys)
    return shapes.agg(effect=("effect", "max")).reset_index()


def claim_effects(outcomes: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """The effects of E1's claims, with the columns verdicts.COLUMNS."""
    edges, most = edges_by_seed(outcomes), params.e2.max_cells
    whole, deeper = edges_by_seed(outcomes, bridge=True), edges[edges["depth"] > 2]
    regimes = shapes_with_all_regimes(outcomes, outcomes["regime"] == "exploding")
    strict = shapes_with_all_regimes(outcomes, outcomes["diverges"])
    jaccard, whole_jaccard = (_overlap(rows, "jaccard", params) for rows in (edges, whole))
    coverage = _overlap(edges, "paper_share", params)
    shift = e1_bands.slopes(edges).rename(columns={"slope": "effect"})
    regime, band, fan_in = "e1_regimes", "e1_stability_band", "e1_band_follows_fan_in"
    return pd.concat([
        primary_effects(regime, regimes, TASK, most),
        exploratory_effects(regime, regimes, CELL),
        exploratory_effects(regime, strict, TASK, DIVERGES),
        primary_effects(band, jaccard, TASK, most),
        exploratory_effects(band, jaccard, CELL),
        exploratory_effects(band, coverage, TASK, COVERAGE),
        exploratory_effects(band, whole_jaccard, TASK, BRIDGED),
        primary_effects(fan_in, shift, TASK, most),
        exploratory_effects(fan_in, shift, SLOPE),
        exploratory_effects(fan_in, _relative(e1_bands.slopes(whole)), TASK, BRIDGED),
        exploratory_effects(fan_in, _relative_to_band_theory(edges, outcomes), TASK, BAND_THEORY),
        exploratory_effects(fan_in, _relative(e1_bands.slopes(deeper)), TASK, DEEPER),
    ], ignore_index=True)


def _overlap(edges: pd.DataFrame, measure: str, params: AnalyzeParams) -> pd.DataFrame:
    rows = e1_bands.overlap(edges, params.e1.paper_band)
    return rows.assign(effect=rows[measure])


def _relative(slopes: pd.DataFrame) -> pd.DataFrame:
    """Mean slope over the mean of the predicted ones, as in the claim's rule, per seed."""
    known = slopes[slopes["slope"].notna()]
    means = known.groupby([*TASK, "seed"])[["slope", "predicted"]].mean()
    return (means["slope"] / means["predicted"]).rename("effect").reset_index()


def _relative_to_band_theory(edges: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """`_relative` with the slope of theory.sgd_band's edges as the predicted one, where there is one."""
    theory = theory_slopes(predicted_edges(outcomes)).dropna().rename(columns={"band_theory": "predicted"})
    return _relative(e1_bands.slopes(edges).drop(columns="predicted").merge(theory, on=SLOPE))


def numbers(outcomes: pd.DataFrame, params: AnalyzeParams) -> dict[str, float | int | None]:
    """The numbers of mlp_sweep; None where a number was not measured.

    log10 of the edges of the deepest and widest MLP (of the grid's end where it is censored), and means over
    shapes of the overlap with the paper's band, of the slope over width and of |ln(edge / theory's)|.
    """
    edges = edges_by_seed(outcomes)
    medians = median_edges(edges, predicted_edges(outcomes), params)
    deep = medians[medians["depth"] == medians["depth"].max()]
    deep = deep[deep["width"] == deep.groupby("dataset")["width"].transform("max")]
    log_edges = deep.set_index(["edge", *TASK])["std"].map(np.log10)
    jaccard = e1_bands.overlap(edges, params.e1.paper_band).groupby(TASK)["jaccard"].mean()
    slope = e1_bands.slopes(edges).groupby("optimizer")["slope"].mean()
    return {**_named("e1_log10", log_edges), **_named("e1_overlap", jaccard), **_named("e1_slope", slope),
            **_named("e1_ln_error", _theory_errors(medians))}


def _theory_errors(medians: pd.DataFrame) -> "pd.Series[float]":
    """Mean |ln(edge / theory's)| by edge and optimizer, over edges inside the grid that theory predicts."""
    known = medians[(medians["censored"] == 0) & medians["predicted"].notna()]
    error = known.assign(error=(np.log(known["std"]) - np.log(known["predicted"])).abs())
    return error.groupby(["edge", "optimizer"])["error"].mean()


def _named(prefix: str, values: "pd.Series[float]") -> dict[str, float | None]:
    names = ["_".join([prefix, *np.atleast_1d(key)]) for key in values.index]
    return {name: float(value) if np.isfinite(value) else None
            for name, value in zip(names, values, strict=True)}
