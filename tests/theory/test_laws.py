"""The law of each optimizer against torch's own optimizers in float64, on white gradients."""

import numpy as np
import pytest
import torch

from lion import Lion
from optimizer_noise import CASES, TALL, WIDE, cosine, error, simulated
from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import null_law
from variance_dynamics.theory.laws import LAWS, law_of, lion_noise, muon_noise, orthogonalised


@pytest.mark.parametrize("case", CASES)
def test_the_final_std_is_that_of_the_optimizer_on_noise_to_two_percent(case):
    steps = 1500 if case == "lion" else 500  # its momentum needs hundreds of steps to grow old
    assert abs(error(case, steps)[-1]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("start", [0.005, 0.1])
def test_the_same_over_a_long_run_from_both_sides_and_all_along_it(case, start):
    errors = np.mean([error(case, 4000, start, seed) for seed in range(2)], axis=0)
    assert abs(errors[-1]) < 0.02 and np.abs(errors[400:]).max() < 0.05


def test_all_laws_but_that_without_one_are_simulated():
    assert {name for name, *_ in CASES.values()} == set(LAWS) - {"sgd"}


@pytest.mark.parametrize("steps", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_decay_in_proportion_to_the_lr_keeps_the_norm_flat(steps):
    """arXiv 2506.02285 and 2512.08217: AdamW from its equilibrium, over a cosine."""
    rates = cosine(2e-3, steps)
    start = null_law.equilibrium(2e-3, 1.0)
    flat = simulated(lambda p: torch.optim.AdamW(p, betas=(0.9, 0.99)), (300, 300), rates, rates / 2e-3,
                     start)
    law = null_law.std(start, rates, rates / 2e-3)
    assert np.abs(law / start - 1).max() < 0.01
    assert np.abs(flat / start - 1).max() < 0.01
    steady = null_law.std(start, rates, 1.0)
    assert steady[-1] < 0.85 * start, "with a constant decay it falls with the lr"


def test_the_correlation_of_orthogonalised_matrices_by_pairs_of_them():
    draws = torch.Generator().manual_seed(0)
    for shape in ((64, 64), (32, 128)):
        first, other = (torch.randn(20, *shape, generator=draws, dtype=torch.float64) for _ in range(2))
        square, along = orthogonalised(shape)
        for r in (0.85, 0.6, 0.3):
            second = r * first + (1 - r**2) ** 0.5 * other
            u, v = (torch.stack([muon_of(each) for each in batch]) for batch in (first, second))
            assert u.square().sum().item() / (20 * min(shape)) == pytest.approx(square, rel=0.02)
            correlation = ((u * v).sum() / u.square().sum()).item()
            assert correlation == pytest.approx(along * r + (1 - along) * r**5, abs=0.03)


def muon_of(gradient):
    """The first update of torch's Muon, which is the orthogonalised gradient, at lr 1."""
    weight = torch.nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient.clone()
    optimizer = torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    optimizer.step()
    return -weight.detach() / (0.2 * max(gradient.shape) ** 0.5)


def test_lion_s_noise_by_simulation():
    """The mean square of a sum of 2000 updates of Lion is 2000 D, less what the start lacks."""
    weight = torch.nn.Parameter(torch.zeros(4000, dtype=torch.float64))
    optimizer, draws = Lion([weight], lr=1.0), torch.Generator().manual_seed(0)
    for step in range(2400):
        if step == 400:
            start = weight.detach().clone()
        weight.grad = torch.randn(4000, generator=draws, dtype=torch.float64)
        optimizer.step()
    measured = (weight.detach() - start).square().mean().item()
    noise = lion_noise()
    assert measured == pytest.approx(null_law.injected_by(noise, np.ones(2000), 0.0)[-1], rel=0.06)
    assert noise.long_run == pytest.approx(45.9, abs=0.1)


def test_noise_with_memory_is_the_double_sum_over_its_correlations():
    noise, rates, decay = null_law.Noise(2.0, ((0.5, 0.9), (0.2, 0.3))), cosine(1e-1, 60), 1.0
    lag = np.abs(np.arange(60)[:, None] - np.arange(60))
    correlations = np.where(lag == 0, 2.0, 0.5 * 0.9**lag + 0.2 * 0.3**lag)
    for steps in (1, 2, 17, 60):
        kept = np.array([np.prod(1 - rates[i + 1 : steps] * decay) for i in range(steps)]) * rates[:steps]
        expected = kept @ correlations[:steps, :steps] @ kept
        assert null_law.injected_by(noise, rates, decay)[steps] == pytest.approx(expected, rel=1e-12)
    settled = null_law.injected_by(noise, np.full(5000, 0.02), decay)[-1]
    assert null_law.equilibrium(0.02, decay, noise) ** 2 == pytest.approx(settled, rel=1e-9)
    assert null_law.equilibrium(1e-6, 0.1, noise) ** 2 == pytest.approx(noise.long_run * 1e-6 / 0.2, rel=1e-3)


def test_white_noise_is_adamw_s_law_bit_for_bit():
    rates = cosine(1e-2, 300)
    assert np.array_equal(law_of("adamw").std(0.02, rates, 0.1), null_law.std(0.02, rates, 0.1))
    assert np.array_equal(null_law.std(0.02, rates, np.full(300, 0.1)), null_law.std(0.02, rates, 0.1))


def test_muon_does_not_care_which_side_is_long_but_for_its_adjustment():
    assert muon_noise(TALL, "match_rms_adamw") == muon_noise(WIDE, "match_rms_adamw")
    assert muon_noise(TALL).square == pytest.approx(4 * muon_noise(WIDE).square)
    adjusted = muon_noise((768, 768), "match_rms_adamw").square  # .2 of an update of rms 1
    assert adjusted == pytest.approx(0.04 * orthogonalised((768, 768))[0])


@pytest.mark.parametrize("arguments, message", [
    (("sgd",), "optimizer is sgd: there is no such law, as the gradient's scale"),
    (("adam", 0.1), "optimizer is adam, with weight decay: there is no such law"),
    (("muon",), "shape is missing: expected rows and columns"),
    (("muon", 0.1, (4, 4), "other"), "adjust_lr is 'other': expected one of original, match_rms_adamw"),
    (("adamq",), "did you mean adam")])
def test_where_there_is_no_law_a_line_says_so(arguments, message):
    with pytest.raises(BadInput, match=message):
        law_of(*arguments)
