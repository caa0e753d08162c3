"""Every claim's rule on data whose verdict is known, and the form in which verdicts are written."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from imports import ROOT
from study.analysis.claims import CLAIMS, cells, detail, judge, summary
from study.analysis.params import AnalyzeParams
from study.analysis.verdicts import (
    AGAINST_NO_CHANGE,
    COLUMNS,
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_RUN,
    SUPPORTED,
    TIME_CONSTANTS,
)
from study.base import params

PARAMS = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
# A seed's effect that says the claim, that denies it, and that lies at the threshold (`predicted` is 2).
SAID = {
    "e1_regimes": (0.95, 0.05, PARAMS.e1.regimes_share),
    "e1_stability_band": (0.95, 0.05, PARAMS.e1.overlap),
    "e1_band_follows_fan_in": (2.1, 0.1, 2 * PARAMS.e1.fan_in),
    "e2_kaiming_faster": (-1, 1, 0),
    "e2_kaiming_more_stable": (0.5, -0.5, 0),
    "e2_gap_grows_with_depth": (-0.1, 0.1, 0),
    "e3_shallow_expands_first": (0.5, -0.5, 0),
    "e3_narrow_bands": (-1, 1, 0),
    "e3_null_law": (1.0, 0.4, PARAMS.e3.null_band[0]),
}


def effects(claim, means, seeds=5, noise=0.01, primary=True, seed=0):
    """A row per cell and seed: normal seeds around each cell's mean."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame([(claim, cell, primary, s, mean + noise * rng.normal(), 2.0, "")
                         for cell, mean in means.items() for s in range(seeds)], columns=COLUMNS)


def cells_of(claim, value):
    if claim == "e3_narrow_bands":
        return {"a": value, TIME_CONSTANTS: 2.0}
    if claim != "e3_null_law":
        return {"a": value, "b": value}
    return {"q": value, "k": value, "v": value, AGAINST_NO_CHANGE: -0.1}


def verdict(claim, means, **how):
    return CLAIMS[claim].decide(effects(claim, means, **how), PARAMS)


def test_the_claims_of_the_study_are_all_there():
    assert list(CLAIMS) == list(SAID)


@pytest.mark.parametrize("claim", CLAIMS)
def test_data_that_say_it_support_it_and_data_that_deny_it_contradict_it(claim):
    said, denied, between = SAID[claim]
    assert verdict(claim, cells_of(claim, said)).verdict == SUPPORTED
    assert verdict(claim, cells_of(claim, denied)).verdict == CONTRADICTED
    assert verdict(claim, cells_of(claim, between), noise=0.1).verdict == INCONCLUSIVE


@pytest.mark.parametrize("claim", CLAIMS)
def test_noise_alone_seldom_decides(claim):
    """At the threshold a verdict is wrong once in twenty times (2.5% on each side)."""
    cells = cells_of(claim, SAID[claim][2])
    decided = [verdict(claim, cells, noise=0.2, seed=s).verdict for s in range(50)]
    assert decided.count(INCONCLUSIVE) >= 43


@pytest.mark.parametrize("claim", CLAIMS)
def test_too_little_data_is_not_run(claim):
    said = cells_of(claim, SAID[claim][0])
    assert verdict(claim, {}).verdict == NOT_RUN
    alone = verdict(claim, said, seeds=1)
    assert (alone.verdict, np.isnan(alone.lo)) == (NOT_RUN, True)
    exploratory = verdict(claim, said, primary=False).verdict
    assert exploratory == (INCONCLUSIVE if claim == "e3_narrow_bands" else NOT_RUN)
    nothing = effects(claim, said).assign(effect=np.nan)
    assert judge(nothing, PARAMS)[claim].verdict == NOT_RUN


def test_each_claim_is_judged_by_its_own_effects():
    data = pd.concat([effects("e1_regimes", {"a": 0.95}), effects("e2_kaiming_faster", {"a": 1.0})])
    decided = {name: judged.verdict for name, judged in judge(data, PARAMS).items()}
    assert decided.pop("e1_regimes") == SUPPORTED and decided.pop("e2_kaiming_faster") == CONTRADICTED
    assert set(decided.values()) == {NOT_RUN}


def test_the_interval_is_students_over_the_seeds_means_of_cells():
    data = effects("e2_kaiming_faster", {"sgd": -1.0, "adamw": -0.2}, noise=0.5)
    pooled = judge(data, PARAMS)["e2_kaiming_faster"]
    means = data.groupby("seed")["effect"].mean()
    lo, hi = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (pooled.effect, pooled.lo, pooled.hi, pooled.n) == pytest.approx((means.mean(), lo, hi, 5))


def test_a_cell_on_the_other_side_bars_support_after_holm():
    mixed = verdict("e2_kaiming_faster", {"sgd": -3.0, "momentum": -3.0, "adamw": 0.5})
    assert mixed.hi < 0 and mixed.verdict == INCONCLUSIVE
    assert "for it: momentum, sgd, against it: adamw, neither: no cell" in mixed.note
    p = stats.ttest_1samp(effects("e2_kaiming_faster", {"a": -3.0})["effect"], 0).pvalue
    assert verdict("e2_kaiming_faster", {"a": -3.0}).cells["a"].p_holm == pytest.approx(p)


def test_what_changed_after_looking_is_said_in_the_note():
    said = [effects(claim, cells_of(claim, SAID[claim][0])) for claim in CLAIMS]
    notes = {name: each.note for name, each in judge(pd.concat(said), PARAMS).items()}
    assert {name for name, note in notes.items() if "changed after looking" in note} == {
        "e2_kaiming_faster", "e2_kaiming_more_stable", "e2_gap_grows_with_depth", "e3_narrow_bands"}
    assert "changed after looking: E2's lr grids had five rates each" in notes["e2_kaiming_more_stable"]


@pytest.mark.parametrize("seeds, expected", [(2, INCONCLUSIVE), (5, INCONCLUSIVE), (6, SUPPORTED)])
def test_seeds_that_are_all_alike_need_the_sign_test(seeds, expected):
    assert verdict("e1_regimes", {"a": 1.0}, seeds=seeds, noise=0).verdict == expected


def test_seeds_that_differ_by_rounding_alone_are_alike():
    """As totals of the same numbers in another order: t would call them a difference of great certainty."""
    rows = effects("e1_regimes", {"a": 1.0}, seeds=2, noise=0)
    rows["effect"] = [0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1]
    assert rows["effect"].nunique() == 2
    assert judge(rows, PARAMS)["e1_regimes"].verdict == INCONCLUSIVE
    rows = effects("e2_kaiming_faster", {"sgd": -3.0, "adamw": 0.1})
    rows.loc[rows["cell"] == "adamw", "effect"] = [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]
    assert "against it: adamw (all seeds alike)" in judge(rows, PARAMS)["e2_kaiming_faster"].note


def test_a_cell_of_seeds_all_alike_counts_for_its_side():
    rows = effects("e2_kaiming_faster", {"sgd": -3.0, "adamw": 0.1})
    rows.loc[rows["cell"] == "adamw", "effect"] = 0.1
    judged = judge(rows, PARAMS)["e2_kaiming_faster"]
    assert judged.hi < 0 and judged.verdict == INCONCLUSIVE
    assert "for it: sgd, against it: adamw (all seeds alike), neither" in judged.note


def test_a_seed_that_lacks_a_cell_is_dropped():
    rows = effects("e2_kaiming_faster", {"sgd": -3.0, "adamw": -0.1})
    rows.loc[0, "effect"] = np.nan
    judged = judge(rows, PARAMS)["e2_kaiming_faster"]
    assert judged.n == 4 and judged.effect == pytest.approx(-1.55, abs=0.05)
    assert "1 seeds lack a cell" in judged.note


def test_left_out_cells_do_not_count_and_are_named():
    data = effects("e2_kaiming_faster", {"sgd": -1.0, "adamw": 5.0})
    left_out = data["cell"] == "adamw"
    data.loc[left_out, ["effect", "note"]] = [np.nan, "adamw left out: censored"]
    judged = judge(data, PARAMS)["e2_kaiming_faster"]
    assert judged.verdict == SUPPORTED and list(judged.cells) == ["sgd"] and "adamw left out" in judged.note


def test_seeds_without_a_value_are_not_counted():
    data = effects("e3_shallow_expands_first", {"qkv": 0.5})
    data.loc[0, "effect"] = np.inf
    assert judge(data, PARAMS)["e3_shallow_expands_first"].n == 4


@pytest.mark.parametrize("roles, error, expected", [
    ({"q": 1.0, "k": 1.1, "v": 0.9}, -0.1, SUPPORTED),
    ({"q": 1.0, "k": 1.1, "v": 0.5}, -0.1, CONTRADICTED),  # one role outside is enough
    ({"q": 1.0, "k": 1.1, "v": 1.6}, -0.1, CONTRADICTED),
    ({"q": 1.0, "k": 1.1, "v": 0.9}, 0.1, CONTRADICTED),   # no change is closer
    ({"q": 1.0, "k": 1.1, "v": 0.8}, -0.1, INCONCLUSIVE),
    ({"q": 1.0, "k": 1.1, "v": 0.9}, 0.0, INCONCLUSIVE)])
def test_the_null_law_needs_every_role_and_to_beat_no_change(roles, error, expected):
    judged = verdict("e3_null_law", {**roles, AGAINST_NO_CHANGE: error})
    furthest = max(roles.values(), key=lambda r: max((1 - r) / 0.2, (r - 1) / 0.25))
    assert judged.verdict == expected
    assert judged.effect == pytest.approx(furthest, abs=0.05)


@pytest.mark.parametrize("seeds, expected", [(2, INCONCLUSIVE), (5, INCONCLUSIVE), (6, SUPPORTED)])
def test_the_null_law_is_not_supported_by_an_interval_of_no_width(seeds, expected):
    rows = effects("e3_null_law", cells_of("e3_null_law", 1.0), seeds=seeds, noise=1e-3)
    rows.loc[rows["cell"] == "v", "effect"] = 1.0
    judged = judge(rows, PARAMS)["e3_null_law"]
    assert judged.verdict == expected and ("all seeds alike" in judged.note) == (expected == INCONCLUSIVE)
    tied = verdict("e3_null_law", cells_of("e3_null_law", 0.4), seeds=2, noise=0)
    assert tied.verdict == INCONCLUSIVE


def test_exploratory_cells_are_in_the_note_and_decide_nothing():
    rule = effects("e1_regimes", {"a": 0.95, "b": 0.85})
    aside = effects("e1_regimes", {"a/diverges": 0.2, "b/diverges": 0.4}, primary=False)
    alone, both = (judge(rows, PARAMS)["e1_regimes"] for rows in (rule, pd.concat([rule, aside])))
    means = aside.groupby("seed")["effect"].mean()
    lo, hi = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert f"above where it started: {means.mean():.2g} [{lo:.2g}, {hi:.2g}]" in both.note
    assert "exploratory" not in alone.note
    assert replace(both, note="") == replace(alone, note="")


def test_the_table_of_cells_is_over_seeds():
    data = pd.concat([effects("e1_regimes", {"a": 0.9}), effects("e1_regimes", {"b": 0.2}, primary=False)])
    table = cells(data, PARAMS).set_index("cell")
    assert table["primary"].to_dict() == {"a": True, "b": False}
    judged = judge(data, PARAMS)["e1_regimes"].cells["a"]
    assert tuple(table.loc["a", ["effect", "lo", "hi", "n"]]) == pytest.approx(
        (judged.effect, judged.lo, judged.hi, judged.n))
    assert cells(data[:0], PARAMS).empty


def test_a_short_run_decides_nothing_about_narrow_bands():
    short = verdict("e3_narrow_bands", {"a": 3.0, TIME_CONSTANTS: 0.1})
    assert short.verdict == INCONCLUSIVE and "time constants" in short.note
    assert short.effect == pytest.approx(3, abs=0.1)
    still = verdict("e3_narrow_bands", {"a": -1.0, TIME_CONSTANTS: 0.1})
    assert still.verdict == INCONCLUSIVE, "it may have stayed where it began"


def test_rule_texts_hold_the_thresholds_of_params():
    assert "10% of steps" in CLAIMS["e1_regimes"].rule_text(PARAMS)
    changed = PARAMS.model_copy(update={"e3": PARAMS.e3.model_copy(update={"narrow_slope": 0.5})})
    assert "at most 0.5," in CLAIMS["e3_narrow_bands"].rule_text(changed)
    for claim in CLAIMS.values():
        assert "{" not in claim.rule_text(PARAMS)


def test_summary_and_detail_agree():
    data = effects("e2_kaiming_faster", {"sgd": -0.5}).assign(note="depth 20 left out")
    verdicts = judge(data, PARAMS)
    numbers = summary(verdicts)
    assert list(numbers) == list(CLAIMS)
    assert numbers["e2_kaiming_faster"]["verdict"] == SUPPORTED
    assert numbers["e2_kaiming_faster"]["effect"] == pytest.approx(data["effect"].mean())
    content = detail({"local": verdicts, "full-cpu": verdicts}, PARAMS, {"full-cpu": {"parts": 3}})
    recorded = content["claims"]["e2_kaiming_faster"]["sources"]["full-cpu"]
    assert {name: recorded[name] for name in numbers["e2_kaiming_faster"]} == numbers["e2_kaiming_faster"]
    assert recorded["cells"]["sgd"]["n"] == 5 and "depth 20 left out" in recorded["note"]
    assert "95%" in content["rule_of_all"] and content["recorded"] == {"full-cpu": {"parts": 3}}
    json.dumps(content)
