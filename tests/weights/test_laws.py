"""Laws: their moments against scipy, and their draws against the laws."""

import math

import pytest
import torch
from scipy import stats

from variance_dynamics.weights.laws import (
    CONSTANT,
    NORMAL,
    ORTHOGONAL,
    UNIFORM,
    Law,
    constant,
    sample,
    truncated,
    truncated_kurtosis,
    truncated_std,
)
from variance_dynamics.weights.norms import norm_start


@pytest.mark.parametrize("cut", [0.5, 2.0, 3.0, 8.0])
def test_a_cut_normal_has_the_moments_of_scipy_s(cut):
    law = stats.truncnorm(-cut, cut)
    assert truncated_std(cut) == pytest.approx(float(law.std()), rel=1e-6)
    assert truncated_kurtosis(cut) == pytest.approx(float(law.stats("k")), abs=1e-6)
    assert truncated_std(math.inf) == 1 and truncated_kurtosis(math.inf) == 0


@pytest.mark.parametrize(("law", "scipys"), [
    (Law(NORMAL, 0.3), stats.norm(0, 0.3)), (Law(UNIFORM, 0.3), stats.uniform(-0.3 * 3**0.5, 0.6 * 3**0.5)),
    (Law(UNIFORM, 0.2 / 12**0.5, 0.1), stats.uniform(0, 0.2)),
    (truncated(0.3, 2), stats.truncnorm(-2, 2, 0, 0.3)), (truncated(0.3, 3), stats.truncnorm(-3, 3, 0, 0.3))])
def test_draws_follow_the_law(law, scipys):
    z = torch.randn(200, 200, generator=torch.Generator().manual_seed(0))
    values = sample(law, z).double().numpy().ravel()
    assert stats.kstest(values, scipys.cdf).pvalue > 1e-3
    assert law.std == pytest.approx(float(scipys.std()))
    assert abs(values - law.mean).max() <= law.bound * (1 + 1e-6)
    assert law.kurtosis == pytest.approx(float(scipys.stats("k")), abs=1e-6)


def test_constants_and_orthogonal_matrices():
    z = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    assert (sample(constant(0.25), z) == 0.25).all() and constant(0.25).kind == CONSTANT
    square = sample(Law(ORTHOGONAL, math.sqrt(2 / 20)), z)
    torch.testing.assert_close(square @ square.T, 2 * torch.eye(8))


@pytest.mark.parametrize(("arguments", "value"), [
    (("model.norm.weight", "LlamaRMSNorm"), 1), (("model.norm.weight", "GemmaRMSNorm"), 0),
    (("model.norm.weight", "Gemma3nRMSNorm"), 1), (("model.norm.weight", "Qwen3NextRMSNormGated"), 1),
    (("model.norm.weight", "Qwen3NextRMSNorm"), 0), (("model.norm.weight", "NemotronLayerNorm1P"), 1),
    (("model.norm.weight", "", "gemma2"), 0), (("model.norm.weight", "", "gemma3_text"), 0),
    (("model.norm.weight", "", "gemma3n"), 1), (("model.norm.weight", "", "llama"), 1), (("norm.weight",), 1),
    (("model.layers.0.linear_attn.norm.weight", "", "qwen3_next"), 1),
    (("model.layers.0.input_layernorm.weight", "", "qwen3_next"), 0),
    (("vision_tower.layers.0.layer_norm1.weight", "", "paligemma"), 1)])
def test_where_norms_start(arguments, value):
    assert norm_start(*arguments) == value


def test_zero_centred_classes_are_those_of_transformers():
    """Each class of the list that the installed version has multiplies by 1 + weight, from a weight of 0."""
    import inspect

    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nRMSNorm
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNorm, Qwen3NextRMSNormGated

    for kind in (GemmaRMSNorm, Gemma3nRMSNorm, Qwen3NextRMSNorm, Qwen3NextRMSNormGated):
        zero = "1.0 + self.weight" in inspect.getsource(kind)
        assert norm_start("norm.weight", kind.__name__) == (0.0 if zero else 1.0)
