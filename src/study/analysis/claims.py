"""The claims: the paper's sentences and what theory implies, each with a rule fixed before looking.

`judge` gives the verdicts of one source's effects, `summary` and `detail` their form in the metrics' files.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from study.analysis import e1, e2
from study.analysis.params import AnalyzeParams
from study.analysis.statistics import over_seeds, short_ends
from study.analysis.verdicts import Claim, Verdict, beyond, null_law, settled

MORE_RATES = "E2's lr grids had five rates each; two faster ones came after the first results"

CLAIMS: dict[str, Claim] = {
    "e1_regimes": Claim(
        origin="paper",
        sentence="On a log sweep of the initial std, compact ReLU MLPs vanish at small std and explode at "
                 "large std.",
        effect="mean over datasets and optimizers of the share of shapes with vanishing below, explosion "
               "above, and training in between",
        rule="A shape (depth x width) of a dataset and an optimizer counts if, with the mean train loss of "
             "the last {e1.tail_fraction:.0%} of steps in units of ln K, some std trains (below "
             "{e1.trains_below:g}), some smaller std vanishes (within {e1.vanishing_within:.0%} of 1) and "
             "some larger one explodes (not finite or above {e1.exploding_above:g}: a high loss at the end, "
             "whether it rose or has fallen from the higher loss that large initial logits give). Supported "
             "if a seed's share of shapes is above {e1.regimes_share:g} by its interval, contradicted if "
             "below.",
        decide=beyond(lambda p: p.e1.regimes_share, 1),
        aside={e1.DIVERGES: "exploding only if the loss ends above where it started"}),
    "e1_stability_band": Claim(
        origin="paper",
        sentence="The stds that train form a broad band, from 1e-2 to 1e-1.",
        effect="overlap of the measured band with the paper's, intersection over union in log std",
        rule="A seed's band is the contiguous stretch of training stds around its best one (0 where nothing "
             "trains). Supported if its overlap with [{e1.paper_band[0]:g}, {e1.paper_band[1]:g}] "
             "(intersection over union in log std, mean over depths and widths) is above {e1.overlap:g} by "
             "its interval, contradicted if below: a band that merely contains the paper's does not confirm "
             "where it ends.",
        decide=beyond(lambda p: p.e1.overlap, 1),
        aside={e1.BRIDGED: "where a single std that fails does not split a band",
               e1.COVERAGE: "share of the paper's band that trains"}),
    "e1_band_follows_fan_in": Claim(
        origin="implied by the paper's theory",
        sentence="Variance is kept at std = sqrt(2 / fan-in), so the band of stds that train moves as layers "
                 "widen.",
        effect="d ln(edge) / d ln(width), in units of the theory's",
        rule="Slope of ln(edge of the band) over ln(width), mean over depths and over edges that lie inside "
             "the grid, divided by the slope of the natural axis sigma (prod g_l)^(1/2L). 1 is the theory, 0 "
             "a band that stays. A single std inside a band that fails splits the band, so a seed's band may "
             "be an island around its best std. Supported if above {e1.fan_in:g} by its interval (nearer to "
             "the theory), contradicted if below. (That theory is of the variance at init. Another, of SGD, "
             "was written after the first runs: in it both edges go as width^-1/2. It is exploratory, in the "
             "note and in e1_slopes.)",
        decide=beyond(lambda p: p.e1.fan_in, 1, relative=True),
        aside={e1.BRIDGED: "where a single std that fails does not split a band",
               e1.DEEPER: "without depth 2, whose slopes lie on both sides of the theory's",
               e1.BAND_THEORY: "under SGD in units of the slope of that theory's edges"}),
    "e2_kaiming_faster": Claim(
        origin="paper",
        sentence="Under ReLU, Kaiming (fan-in) initialisation converges faster than Xavier.",
        effect="ln(steps with Kaiming / steps with Xavier)",
        rule="Steps until the smoothed train loss is below {e2.threshold:g} ln K, at most the budget, each "
             "scheme at its own best lr (chosen on validation, anew in every resample of the seeds, so that "
             "the interval holds the choice: Efron 2014); ln of the ratio of the means, paired by seed, mean "
             "over resamples, datasets and depths; cells where both schemes are censored in more than "
             "{e2.censored_share:.0%} of the seeds are left out. "
             "Supported if below 0 by its interval, contradicted if above.",
        decide=beyond(lambda _: 0.0, -1),
        changed=f"{MORE_RATES}; until a review the interval took each best lr as given",
        aside={e2.AT_FASTEST: "each at the lr that gets there soonest"}),
    "e2_kaiming_more_stable": Claim(
        origin="paper",
        sentence="Under ReLU, Kaiming (fan-in) initialisation trains more stably than Xavier.",
        effect="share of the lr grid that trains, Kaiming minus Xavier",
        rule="Share of the learning rates at which a seed trains (below {e1.trains_below:g} ln K in the end),"
             " Kaiming minus Xavier, paired by seed, mean over datasets and depths. The other lrs are too "
             "slow for the budget, or diverge (the cells /explodes count the latter). "
             "Supported if above 0 by its interval, contradicted if below.",
        decide=beyond(lambda _: 0.0, 1),
        changed=f"{MORE_RATES}, where the default study's effect was 0.2",
        aside={e2.EXPLODES: "share of the lr grid that explodes, Kaiming minus Xavier"}),
    "e2_gap_grows_with_depth": Claim(
        origin="implied by the paper's theory",
        sentence="Xavier halves the signal's variance in every ReLU layer of constant width, so "
                 "Kaiming's lead grows with depth.",
        effect="d ln(steps with Kaiming / steps with Xavier) / d depth",
        rule="Slope over depth of the ln ratio of steps of e2_kaiming_faster, one for each optimizer. "
             "Supported if below 0 by its interval (the lead grows), contradicted if above. Seeds that never "
             "get there count with the budget. This hides part of the lead in the deepest nets, where Xavier "
             "alone is cut off, so the slope is nearer to 0 than the truth.",
        decide=beyond(lambda _: 0.0, -1),
        changed=f"{MORE_RATES}; until a review the interval took each best lr as given",
        aside={e2.UNCENSORED: "over the depths where every seed of both gets there",
               e2.AT_FASTEST: "each at the lr that gets there soonest"}),
    "e3_shallow_expands_first": Claim(
        origin="paper",
        sentence="While GPT-2 learns, the std of Q, K and V expands fast in shallow layers and gradually in "
                 "deep ones.",
        effect="mean ln(std / initial std), shallow minus deep layers",
        rule="Mean over Q, K and V of ln(std / initial std) in the first {e3.shallow_layers} layers minus "
             "that in the last {e3.shallow_layers}, at {e3.primary_horizon:.0%} of the steps, arm {e3.arm}. "
             "Supported if above 0 by its interval, contradicted if below.",
        decide=beyond(lambda _: 0.0, 1)),
    "e3_narrow_bands": Claim(
        origin="paper",
        sentence="In the end the std of Q, K and V settles into narrow bands.",
        effect="ln of the larger of slope and spread, in units of their limits",
        rule="Under a constant lr (arm {e3.constant_arm}), for each of Q, K and V: in the last "
             "{e3.last_share:.0%} of the steps the mean over layers of |d ln std / d ln step| is at most "
             "{e3.narrow_slope:g}, and the SD over layers of ln(std / initial std) at most "
             "{e3.narrow_spread:g} of its mean's size. "
             "Supported if ln of the largest of these, in units of its limit, is below 0 by its interval, "
             "contradicted if above; seen only under a decaying lr, or in a run of fewer than "
             "{e3.settle_time_constants:g} time constants of the variance (2 sum lr wd): inconclusive.",
        decide=settled,
        changed="the logarithm and the time constants came after one short trial run of one seed had shown "
                "that V's mean growth can be about 0, which makes the ratio unbounded; since a review a run "
                "of fewer time constants does not support it either"),
    "e3_null_law": Claim(
        origin="theory (2305.17212, 2405.13698)",
        sentence="The std of Q, K and V follows from the lr schedule and the weight decay alone, as for pure "
                 "noise.",
        effect="R, injected variance over the law's, of the role furthest from 1",
        rule="R, mean over layers and over the dumps from step {e3.null_from_step} on, arm {e3.arm}, lies "
             "within [{e3.null_band[0]:g}, {e3.null_band[1]:g}] by its interval for each of Q, K and V, and "
             "the law's final |ln std| error is below that of no change by its interval. Contradicted if, "
             "after Holm, R of a role lies outside or the error above; else inconclusive.",
        decide=null_law),
}


COMMON_RULE = (
    "The unit of replication is the seed: its effect is its mean over the claim's primary cells, fixed "
    "beforehand, and one {confidence:.0%} interval over seeds decides (Student's t below 10 seeds, bootstrap "
    "from 10 on). A cell that lies on the other side of the threshold after Holm's correction over the "
    "primary cells, or with all seeds alike, bars the verdict; seeds that are all alike in the claim's "
    "effect decide only if 2^(1-n) is at most one minus the confidence. A seed that lacks a cell is dropped. "
    "With one seed, or without the arm, a claim is not run. (What is said of seeds that are all alike, or "
    "lack a cell, came with a review after the first results and changed no verdict.)")


def judge(effects: pd.DataFrame, params: AnalyzeParams) -> dict[str, Verdict]:
    """The verdict of every claim from one source's effects (those of e1, e2 and e3, concatenated).

    A claim without data is "not run".
    """
    return {name: claim.judge(effects[effects["claim"] == name], params) for name, claim in CLAIMS.items()}


def cells(effects: pd.DataFrame, params: AnalyzeParams) -> pd.DataFrame:
    """Table claims_cells: every cell over seeds, with the columns claim, cell, primary, effect, lo, hi, n.

    Cells that are not primary are exploratory.
    """
    rows = effects.assign(effect=effects["effect"].astype(float), primary=effects["primary"].astype(bool))
    rows = rows[np.isfinite(rows["effect"])]
    return short_ends(over_seeds(rows, ["claim", "cell", "primary"], ["effect"], params), "effect")


def summary(verdicts: dict[str, Verdict]) -> dict[str, dict[str, Any]]:
    """metrics/claims.json: claim id -> verdict and effect. Intervals and seeds are in claims_detail.json."""
    return {name: {"verdict": judged.verdict, "effect": judged.effect} for name, judged in verdicts.items()}


def detail(verdicts: dict[str, dict[str, Verdict]], params: AnalyzeParams, origins: dict[str, dict[str, Any]]
           ) -> dict[str, Any]:
    """metrics/claims_detail.json: sentences and rules, and per source the verdict, its note and its cells.

    verdicts: by source and claim; origins: by recorded run, where it comes from.
    """
    texts = {name: {"origin": claim.origin, "sentence": claim.sentence, "effect": claim.effect,
                    "rule": claim.rule_text(params),
                    "sources": {source: _described(judged[name]) for source, judged in verdicts.items()}}
             for name, claim in CLAIMS.items()}
    return {"rule_of_all": COMMON_RULE.format(confidence=params.confidence), "claims": texts,
            "recorded": origins}


def _described(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.verdict, "effect": verdict.effect, "ci_low": verdict.lo, "ci_high": verdict.hi,
            "n": verdict.n, "note": verdict.note,
            "cells": {name: asdict(cell) for name, cell in verdict.cells.items()}}
