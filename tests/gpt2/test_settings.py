"""The design of settings: balanced, orthogonal, of resolution IV; each level changes what it says."""

from itertools import combinations

import numpy as np
import pytest

from study.gpt2.settings import SettingsParams, design, resolved, settings
from variance_dynamics.base.errors import BadInput


@pytest.mark.parametrize("factors", range(1, 9))
def test_every_factor_is_balanced_and_orthogonal_to_every_other_and_to_every_interaction(factors):
    """Resolution IV: no main effect is mixed with a main effect or with an interaction of two factors."""
    rows = design(factors)
    assert len(rows) == len(set(rows)) == 2 ** min(factors, 5)
    signs = 2 * np.array(rows) - 1
    assert not signs.sum(0).any()
    gram = signs.T @ signs
    assert (gram == len(rows) * np.eye(factors)).all()
    for i, j in combinations(range(factors), 2):
        others = [k for k in range(factors) if k not in (i, j)]
        assert not ((signs[:, i] * signs[:, j]) @ signs[:, others]).any(), (i, j)


def test_the_committed_design_changes_one_thing_at_a_time(tree):
    params = SettingsParams.model_validate(tree["gpt2_settings"])
    names, runs = settings(params), resolved(tree)
    assert list(names) == list(runs) and len(runs) == 32
    base = next(name for name, levels in names.items() if not any(levels.values()))
    for name, levels in names.items():
        expected = {key: value for factor, level in levels.items()
                    for key, value in params.factors[factor][level].items()}
        for key, value in expected.items():
            assert getattr(runs[name], key) == value, (name, key)
        same = set(runs[base].model_dump()) - {key for both in params.factors.values() for level in both
                                               for key in level}
        assert all(getattr(runs[name], key) == getattr(runs[base], key) for key in same)
        assert runs[name].steps == params.steps


@pytest.mark.parametrize(("change", "message"), [
    ({"factors": {}}, "gpt2_settings.factors: expected 1 to 8 factors"),
    ({"factors": {"a.b": [{}, {}]}}, "'a.b': expected letters, digits, _ and -"),
    ({"factors": {"lr": [{}]}}, "gpt2_settings.factors.lr"),
    ({"factors": {"lr": [{}, {"lr": 0.0}]}}, "lr is 0.0"),
    ({"factors": {"lr": [{}, {"rate": 1.0}]}}, "rate is 1.0: expected no such key"),
    ({"seeds": [1, 1]}, "expected entries that differ"),
    ({"warmup_steps": 500}, "warmup_steps is 500: expected at most steps"),
])
def test_bad_values_end_in_one_line(tree, change, message):
    tree["gpt2_settings"] |= change
    if "warmup_steps" in change:
        tree["gpt2_settings"]["factors"] = {"lr": [{}, {"lr": 3e-4}]}
    with pytest.raises(BadInput) as problem:
        resolved(tree)
    assert message in str(problem.value) and "\n" not in str(problem.value)
