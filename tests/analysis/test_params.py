"""The analyze section: params.yaml is valid, wrong values end in one line."""

import pytest

from imports import ROOT
from study.analysis.params import AnalyzeParams
from study.base import params
from variance_dynamics.base.errors import BadInput


@pytest.fixture
def tree():
    return params.read(ROOT / "params.yaml")


def test_the_params_of_the_study_are_valid(tree):
    assert params.section(tree, "analyze", AnalyzeParams).e3.primary_horizon == 0.25


@pytest.mark.parametrize("change, said", [
    ({"e1": {"trains_below": 0.99}}, r"analyze.e1.vanishing_within is 0.05: expected at most 0.01"),
    ({"e1": {"paper_band": [0.1, 0.01]}}, r"analyze.e1.paper_band is \[0.1, 0.01\]: expected the low end"),
    ({"e3": {"primary_horizon": 0.3}}, "analyze.e3.primary_horizon is 0.3: expected one of horizons"),
    ({"e3": {"null_bnd": 1}}, "analyze.e3.null_bnd is 1: expected no such key"),
    ({"recipes": {"weight_decay": 5e3}}, "weight_decay is 5000.0: expected less than 1 / lr = 1666.67"),
    ({"confidence": 95.0}, "analyze.confidence is 95.0"),
    ({"bootstrap": "many"}, "analyze.bootstrap is 'many'"),
])
def test_wrong_values_are_one_line_of_error(tree, change, said):
    with pytest.raises(BadInput, match=said) as problem:
        params.section({"analyze": params.merged(tree["analyze"], change)}, "analyze", AnalyzeParams)
    assert len(str(problem.value)) < 150 and "\n" not in str(problem.value)
