"""The null law against a step-by-step loop and against Adam itself on simulated gradients."""

import time

import numpy as np
import pytest
import torch

from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory import null_law


def cosine(steps, peak=1e-2, warmup=20):
    t = np.arange(steps)
    return peak * np.where(t < warmup, (t + 1) / warmup, 0.55 + 0.45 * np.cos(np.pi * t / steps))


def adamw_on_noise(lr, weight_decay, betas, sigma_0, weights=6000):
    """Weights after each update of torch.optim.AdamW on white gradients, [T+1, weights].

    Each gradient meets +W_0 and -W_0, so that the sample has no correlation between them.
    """
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    half = sigma_0 * torch.randn(weights // 2, generator=draws, dtype=torch.float64)
    weight = torch.nn.Parameter(torch.cat([half, -half]))
    optimizer = torch.optim.AdamW([weight], betas=betas, eps=0.0, weight_decay=weight_decay, foreach=False)
    states = [weight.detach().clone()]
    for rate in lr:
        optimizer.param_groups[0]["lr"] = float(rate)
        weight.grad = torch.randn(weights // 2, generator=draws, dtype=torch.float64).repeat(2)
        optimizer.step()
        states.append(weight.detach().clone())
    return torch.stack(states).numpy()


def rms(states):
    return np.sqrt((states**2).mean(axis=-1))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 9.0])
@pytest.mark.parametrize("lr", [np.full(37, 3e-2), cosine(257), np.array([0.1]), np.linspace(0, 0.03, 64)])
def test_vectorised_over_steps_is_the_loop(lr, weight_decay):
    d, s, left, variance = [1.0], 0.0, 1.0, [0.0]
    for rate in lr:
        left *= 1 - rate * weight_decay
        s = (1 - rate * weight_decay) ** 2 * s + rate**2
        d.append(left)
        variance.append(s)
    assert null_law.decay(lr, weight_decay) == pytest.approx(np.array(d))
    assert null_law.injected(lr, weight_decay) == pytest.approx(np.array(variance), rel=1e-12)


def test_the_formula_of_the_literature_is_the_limit_of_small_lr_times_decay():
    lr, weight_decay = cosine(400, peak=1e-3), 0.1
    kappa = np.concatenate([[0], np.cumsum(lr * weight_decay)])
    s = [np.sum(lr[:t] ** 2 * np.exp(-2 * (kappa[t] - kappa[1 : t + 1]))) for t in range(401)]
    assert null_law.decay(lr, weight_decay) == pytest.approx(np.exp(-kappa), rel=1e-4)
    assert null_law.injected(lr, weight_decay) == pytest.approx(s, rel=1e-4)


def test_a_million_steps_in_under_a_second_and_nothing_overflows():
    lr = np.full(1_000_000, 0.5)
    start = time.process_time()  # the clock on the wall counts what else the machine does
    path = null_law.std(1.0, lr, 1.0)  # kappa = 5e5
    assert time.process_time() - start < 1
    assert np.isfinite(path).all() and path[-1] == pytest.approx(null_law.equilibrium(0.5, 1.0))


def test_it_settles_at_equilibrium_in_the_time_constant():
    lr, weight_decay = 0.01, 0.2
    sigma, tau = null_law.equilibrium(lr, weight_decay), null_law.time_constant(lr, weight_decay)
    assert sigma == pytest.approx(np.sqrt(lr / (2 * weight_decay)), rel=1e-3)
    assert tau == pytest.approx(1 / (2 * lr * weight_decay), rel=1e-2)
    for start in (0.1 * sigma, 10 * sigma):
        path = null_law.std(start, np.full(round(40 * tau), lr), weight_decay)
        assert path[-1] == pytest.approx(sigma, rel=1e-9)
        gap = (path**2 - sigma**2) / (start**2 - sigma**2)
        assert gap[round(tau)] == pytest.approx(np.exp(-1), rel=1e-2)


def test_without_decay_it_grows_as_a_random_walk():
    lr = cosine(300)
    assert null_law.std(0.02, lr, 0.0)[-1] ** 2 == pytest.approx(0.02**2 + np.sum(lr**2))
    assert null_law.equilibrium(0.1, 0.0) == null_law.time_constant(0.1, 0.0) == np.inf


@pytest.mark.parametrize("sigma_0, weight_decay", [(0.005, 0.1), (0.2, 0.1), (0.02, 0.0)])
def test_the_law_is_adamw_on_noise_from_step_200_on(sigma_0, weight_decay):
    lr = np.full(400, 1e-2)
    measured = rms(adamw_on_noise(lr, weight_decay, (0.9, 0.95), sigma_0))
    ratio = null_law.injected_ratio(measured, measured[0], lr, weight_decay, np.arange(401))
    assert ratio[200:] == pytest.approx(1, abs=0.06)
    # the start: 44% and 20% more variance, so 20% and 10% more std where little was there before
    assert ratio[10] == pytest.approx(1.44, abs=0.06) and ratio[50] == pytest.approx(1.2, abs=0.06)


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.9, 0.999), (0.95, 0.95), (0.8, 0.99)])
@pytest.mark.parametrize("lr", [np.full(250, 1e-2), cosine(250, warmup=60)])
def test_momentum_explains_the_start_to_six_percent(betas, lr):
    measured = rms(adamw_on_noise(lr, 1.0, betas, 0.02))
    grown = measured**2 - (measured[0] * null_law.decay(lr, 1.0)) ** 2
    ratio = grown[1:] / null_law.injected(lr, 1.0, betas[0])[1:]
    assert np.all((ratio > 0.93) & (ratio < 1.04))


def test_what_the_docstring_says_of_the_start():
    steady, warm = np.full(1000, 1e-3), cosine(1000, warmup=100)
    excess = {name: null_law.injected(lr, 0.1, 0.9)[1:] / null_law.injected(lr, 0.1)[1:] - 1
              for name, lr in (("steady", steady), ("warm", warm))}
    said = {("steady", 10): 0.50, ("steady", 50): 0.24, ("steady", 100): 0.12, ("steady", 1000): 0.01,
            ("warm", 100): -0.13, ("warm", 150): -0.06, ("warm", 250): -0.03, ("warm", 1000): 0.0}
    for (name, step), value in said.items():
        assert excess[name][step - 1] == pytest.approx(value, abs=0.006), (name, step)


def test_memory_shorter_than_momentum_lowers_the_equilibrium():
    lr, weight_decay, b = 1e-2, 1.0, 0.9
    d = 1 - lr * weight_decay
    settled = null_law.injected(np.full(2000, lr), weight_decay, b)[-1]
    lower = (1 - b) / (1 + b) * (1 + b * d) / (1 - b * d)  # .913: lr wd is not small beside 1 - beta1
    assert settled == pytest.approx(lower * null_law.equilibrium(lr, weight_decay) ** 2)


def test_momentum_without_adams_denominator_is_exact():
    lr, weight_decay, beta1 = cosine(60), 2.0, 0.9
    t = np.arange(60)
    kernel = np.where(t[:, None] >= t, (1 - beta1) * beta1 ** np.maximum(t[:, None] - t, 0.0), 0)
    updates = kernel / (1 - beta1 ** (t + 1.0))[:, None]  # [update, gradient]
    for steps in (1, 7, 60):
        left = np.array([np.prod(1 - lr[i + 1 : steps] * weight_decay) for i in range(steps)])
        variance = np.sum(((lr[:steps] * left) @ updates[:steps]) ** 2)
        assert null_law.injected(lr, weight_decay, beta1)[steps] == pytest.approx(variance, rel=1e-12)


def test_the_ratio_of_several_matrices_is_what_their_stds_were_made_with():
    lr, steps = cosine(200), np.array([0, 1, 50, 200])
    start, made = np.array([[0.02], [0.2], [0.2]]), np.array([[1.0], [0.1], [-0.3]])
    left = np.array([np.prod(1 - lr[:t] * 0.5) for t in steps])
    noise = [sum((lr[i] * np.prod(1 - lr[i + 1 : t] * 0.5)) ** 2 for i in range(t)) for t in steps]
    sigma = np.sqrt((start * left) ** 2 + made * noise)
    ratio = null_law.injected_ratio(sigma, start, lr, 0.5, steps)
    assert np.isnan(ratio[:, 0]).all() and ratio[:, 1:] == pytest.approx(made.repeat(3, axis=1), rel=1e-6)


def test_each_lr_has_its_equilibrium():
    lr = np.array([0.0, 1e-3, 0.5])
    assert null_law.equilibria(lr, 0.2) == pytest.approx([null_law.equilibrium(rate, 0.2) for rate in lr])
    assert np.isinf(null_law.equilibria(lr[1:], 0.0)).all()


@pytest.mark.parametrize("call, said", [
    (lambda: null_law.std(1.0, [0.1, -0.1], 0.1), "finite rate >= 0"),
    (lambda: null_law.std(1.0, [0.1], -1.0), "weight_decay is -1.0: expected 0 or more"),
    (lambda: null_law.equilibrium(2.0, 0.6), r"expected 0 or more, and lr \* weight_decay below 1"),
    (lambda: null_law.injected([0.1], 0.1, 1.0), "beta1 is 1.0"),
])
def test_bad_input_is_refused(call, said):
    with pytest.raises(BadInput, match=said):
        call()
