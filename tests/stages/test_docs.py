"""The tables of README.md and docs/e3-arms.md, and what that page says in words, against the results."""

import re

import numpy as np
import pandas as pd
import pytest

from imports import ROOT
from study.analysis import claims, e3, e3_injected, e3_motion, source, verdicts
from study.analysis.params import AnalyzeParams
from study.analysis.statistics import over_seeds
from study.base import params
from study.stages import docs
from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import QKV

RULES = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
RUNS = ROOT / "data" / "recorded" / "full-cpu" / "gpt2"


def test_the_pages_show_the_results():
    for page, text in docs.pages(ROOT).items():
        assert page.read_text() == text, f"{page.name} is old: run python -m study.stages.docs"


def test_the_table_of_claims_has_a_row_per_claim_and_a_column_per_source():
    rows = [("e2_kaiming_faster", "sgd", True, seed, -0.5 - 0.01 * seed, np.nan, "") for seed in range(5)]
    judged = claims.judge(pd.DataFrame(rows, columns=verdicts.COLUMNS), RULES)
    lines = docs.claims_table(claims.detail({"full-cpu": judged, "local": judged}, RULES, {})).splitlines()
    assert lines[0] == "| claim | what is measured | this run | full-cpu |"
    assert len(lines) == 2 + len(claims.CLAIMS)
    row = next(line for line in lines if "`e2_kaiming_faster`" in line)
    assert row.count("**supported**: -0.52 [-0.54, -0.5], n = 5") == 2
    assert next(line for line in lines if "`e1_regimes`" in line).endswith("| not run | not run |")
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


def test_a_table_is_replaced_between_its_markers():
    page = docs.replaced("# a\n<!-- t -->\nold\n<!-- /t -->\nb\n", "t", "new")
    assert page == "# a\n<!-- t -->\nnew\n<!-- /t -->\nb\n" == docs.replaced(page, "t", "new")
    with pytest.raises(BadInput, match="no <!-- other -->"):
        docs.replaced(page, "other", "new")


@pytest.fixture(scope="module")
def measured():
    return e3.measure(*source.gpt2_tables(sorted(RUNS.glob("*/"))))


@pytest.fixture(scope="module")
def final(measured):
    return e3.final(measured.matrices, RULES).set_index(["arm", "role"])


@pytest.fixture(scope="module")
def page():
    return re.sub(r"\s+", " ", (ROOT / "docs" / "e3-arms.md").read_text()).replace("−", "-")


def ranged(row, name, digits=2):
    """`0.29 [0.20, 0.38]`"""
    mean, lo, hi = (f"{row[name + end]:.{digits}f}" for end in ("", "_lo", "_hi"))
    return f"{mean} [{lo}, {hi}]"


def test_the_law_and_what_sets_the_size_of_updates(measured, final, page):
    ratios = [f"{final.loc[('gpt2', role), 'R_over_D']:.1f}" for role in QKV]
    assert "R / D is {} for Q, {} for K and {} for V".format(*ratios) in page
    rows = e3_injected.causes(measured.matrices.query("arm == 'gpt2'"))
    causes = over_seeds(rows, ["cause"], ["value"], RULES).set_index("cause")
    assert f"{causes.loc['memory_share', 'value']:.0%} of its variance over matrices" in page
    assert f"rank correlation {ranged(causes.loc['c2_with_grad_kurtosis'], 'value')}" in page


def test_stds_from_both_sides(measured, final, page):
    rows = e3.convergence(measured, RULES)
    last = rows[(rows["step"] == rows["step"].max()) & rows["role"].isin(QKV)].set_index("other")
    elapsed = final.loc[("gpt2", "q"), "time_constants"]
    law = last["predicted"].mean()
    assert f"leaves {law:.2f} of a gap in variance after these {elapsed:.2f} time constants" in page
    for other in ("std_1", "gpt2"):
        left = last.loc[other, "left"]
        assert f"{left.min():.2f} to {left.max():.2f} are left" in page or (
            f"there are {left.min():.2f} to {left.max():.2f}" in page), other


def test_weight_decay_and_a_constant_lr(measured, final, page):
    strong = final.loc["wd_1"]
    assert f"({strong.loc['q', 'time_constants']:.1f} of the variance)" in page
    assert {f"{strong.loc[role, 'R']:.1f}" for role in "qk"} == {"1.2"} and "R is 1.2 for both" in page
    rows = measured.matrices[measured.matrices["role"].isin(QKV)]
    slopes = e3_motion.bands(rows, RULES.e3.last_share).groupby(["arm", "role"])["slope"].mean()
    for arm, words in {"constant_lr": "is {:.2f} to {:.2f} over Q, K and V",
                       "gpt2": "under the cosine it is {:.2f} to {:.2f}"}.items():
        assert words.format(slopes[arm].min(), slopes[arm].max()) in page


def test_layers_one_and_two(measured, page):
    main = measured.matrices.query("arm == 'gpt2'")
    table = e3_motion.earlier(main, RULES).set_index(["role", "layers"])
    shrinking = table.loc[("v", "1")]
    assert f"std) is {ranged(shrinking, 'growth', 3)}" in page
    assert f"(along: {shrinking['along']:.2f})" in page
    q, k = (table.loc[(role, "2")] for role in "qk")
    assert {q["outcome"], k["outcome"]} == {"refuted"}
    assert f"{ranged(q, 'R')} for Q and {ranged(k, 'R')} for K" in page
    assert f"(c² {q['c2']:.2f} and {k['c2']:.2f})" in page
    assert f"(memory {q['memory']:.2f} and {k['memory']:.2f})" in page
    last = e3_injected.at_horizon(main, 1.0)
    assert last.query("layer == 1 and role == 'v'")["growth"].max() < 0, "every seed's V shrinks"
    for role in "qk":
        growth = last[last["role"] == role].groupby("layer")["growth"].mean()
        assert growth.idxmin() == 2


def test_the_pilot(measured, page):
    errors = e3.forecast(measured.matrices, RULES).set_index(["roles", "arm"])
    main = errors.loc[("qkv", "gpt2")]
    words = "errs by {:.3f} in ln std for Q, K and V, the law by {:.3f}, no change by {:.3f}"
    assert words.format(*(main[f"error_{way}"] for way in ("pilot", "law", "no_change"))) in page
    pilot, law, floor = (errors.loc["qkv"][f"error_{way}"].mean() for way in ("pilot", "law", "floor"))
    assert f"over the eight arms it is {pilot:.3f} against {law:.3f}, and {floor:.3f} at the floor" in page
    open_ = errors.loc["qkv"].index[errors.loc["qkv"]["pilot_minus_law_hi"] >= 0]
    assert list(open_) == ["small_init"]
