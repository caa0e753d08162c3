"""What is written of the verdicts, and the README's table of them."""

import json

import numpy as np
import pandas as pd
import pytest

from imports import ROOT
from study.analysis import claims, ledger, verdicts
from study.analysis.params import AnalyzeParams
from study.base import params

PARAMS = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
DETAIL = ROOT / "metrics" / "claims_detail.json"


@pytest.fixture
def judged():
    rows = [("e2_kaiming_faster", "sgd", True, seed, -0.5 - 0.01 * seed, np.nan, "depth 20 left out")
            for seed in range(5)]
    return claims.judge(pd.DataFrame(rows, columns=verdicts.COLUMNS), PARAMS)


def test_summary_and_detail_agree(judged):
    summary = ledger.summary(judged)
    assert list(summary) == list(claims.CLAIMS)
    assert summary["e2_kaiming_faster"]["verdict"] == "supported"
    assert summary["e2_kaiming_faster"]["effect"] == pytest.approx(-0.52)
    detail = ledger.detail({"local": judged, "full-cpu": judged}, PARAMS, {})
    told = detail["claims"]["e2_kaiming_faster"]["sources"]["full-cpu"]
    assert {name: told[name] for name in summary["e2_kaiming_faster"]} == summary["e2_kaiming_faster"]
    assert told["cells"]["sgd"]["n"] == 5 and "depth 20 left out" in told["note"]
    assert "95%" in detail["rule_of_all"]
    json.dumps(detail)


def test_the_table_has_a_row_per_claim_and_a_column_per_source(judged):
    lines = ledger.markdown(ledger.detail({"local": judged, "full-cpu": judged}, PARAMS, {})).splitlines()
    assert lines[0] == "| claim | what is measured | this run | full-cpu |"
    assert len(lines) == 2 + len(claims.CLAIMS)
    row = next(line for line in lines if "`e2_kaiming_faster`" in line)
    assert row.count("**supported**: -0.52 [-0.54, -0.5], n = 5") == 2
    assert next(line for line in lines if "`e1_regimes`" in line).endswith("| not run | not run |")
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


def test_the_readme_s_table_is_replaced_between_its_markers(judged):
    detail = ledger.detail({"local": judged}, PARAMS, {})
    readme = ledger.in_readme(f"# a\n{ledger.START}\nold\n{ledger.END}\nb\n", detail)
    assert readme == f"# a\n{ledger.START}\n{ledger.markdown(detail)}\n{ledger.END}\nb\n"
    assert ledger.in_readme(readme, detail) == readme


@pytest.mark.skipif(not DETAIL.exists(), reason="the study has not been run")
def test_the_readme_shows_the_verdicts_of_the_committed_run():
    readme = (ROOT / "README.md").read_text()
    detail = json.loads(DETAIL.read_text())
    current = ledger.in_readme(readme, detail)
    assert current == readme, "the README's table of claims is old: run python tests/readme_claims.py"
