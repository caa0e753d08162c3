"""The null law: what AdamW does to the std of a weight matrix when its updates are pure noise.

One step is W <- (1 - lr wd) W - lr u, with u Adam's normalised update of rms c and autocorrelations rho_k.
If D = c^2 (1 + 2 sum rho_k) is 1, as it is for white gradients (c^2 = (1 - beta1) / (1 + beta1), rho_k =
beta1^k), then with d_t = prod_(i<t) (1 - lr_i wd_i), which is e^-kappa_t to first order in lr wd,

    std^2(t) = std_0^2 d_t^2 + S_t,    S_t = sum_(i<t) lr_i^2 (d_t / d_(i+1))^2

Sources: 2305.17212 (random walk and equilibrium under decoupled decay), 2405.13698 (AdamW as a moving
average of its updates), kexue.fm 11307 and 11404 (the law with schedules). Other optimizers have other c and
rho: see `Noise`, and `theory.laws`. For AdamW no parameter is fitted. "std" is the root mean square about
zero. Arrays over steps are float64: `lr` [T] holds the rate of update 0..T-1, `weight_decay` is a number or
[T], results [T+1] hold the state after 0..T updates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variance_dynamics.base.errors import BadInput

Floats = NDArray[np.float64]
HOLDS = (0.8, 1.25)
"""The law holds for a matrix whose R (see `injected_ratio`) lies in this band."""
FROM_STEP = 100
"""No verdict on R before this many updates: Adam's momentum starts with more variance (see `injected`)."""


@dataclass(frozen=True)
class Noise:
    """Updates u that are noise: c^2 = E[u^2] = `square`, and E[u_t u_(t+k)] = sum_n w_n q_n^k for k >= 1.

    `memory` holds the pairs (w_n, q_n), with q_n in [0, 1).
    """

    square: float = 1.0
    memory: tuple[tuple[float, float], ...] = ()

    @property
    def long_run(self) -> float:
        """D = c^2 (1 + 2 sum rho_k): the variance that slow changes see."""
        return self.square + 2 * sum(w * q / (1 - q) for w, q in self.memory)


WHITE = Noise()
"""Updates without memory, of rms 1: the law of AdamW, whose D is 1 too."""


def rates_and_left(lr: ArrayLike, weight_decay: ArrayLike) -> tuple[Floats, Floats]:
    """The rates [T], and what a step leaves of a weight, 1 - lr wd, [T]."""
    rates = np.atleast_1d(np.asarray(lr, dtype=np.float64))
    if rates.ndim != 1 or not np.all((rates >= 0) & np.isfinite(rates)):
        raise BadInput(f"lr of shape {rates.shape}: expected one finite rate >= 0 per step")
    decays = np.asarray(weight_decay, dtype=np.float64)
    if decays.shape not in ((), rates.shape):
        raise BadInput(f"weight_decay of shape {decays.shape}: expected a number, or {rates.shape} of them")
    wrong = ~((decays >= 0) & (rates * decays < 1))
    if np.any(wrong):
        worst = float(np.broadcast_to(decays, rates.shape)[wrong][0])
        raise BadInput(f"weight_decay is {worst}: expected 0 or more, and lr * weight_decay below 1")
    return rates, 1 - rates * decays


def _recurrence(factor: Floats, term: Floats) -> Floats:
    """x_(t+1) = factor_t x_t + term_t from x_0 = 0: [T] and [T] -> [T+1], any T in log2(T) passes.

    Composes steps by doubling (Kogge and Stone 1973): nothing is divided, so nothing overflows however
    large kappa grows.
    """
    scale, total = factor.copy(), term.copy()
    span = 1
    while span < len(total):
        total[span:] += scale[span:] * total[:-span]
        scale[span:] *= scale[:-span]
        span *= 2
    return np.concatenate([[0.0], total])


def decay(lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
    """d_t, the factor left of an initial weight after t updates, [T+1]."""
    return np.concatenate([[1.0], np.cumprod(rates_and_left(lr, weight_decay)[1])])


def injected(lr: ArrayLike, weight_decay: ArrayLike, beta1: float | None = None) -> Floats:
    """S_t, the variance that noise of unit size has added after t updates, [T+1]; S_0 = 0.

    With `beta1` the updates are not white but bias-corrected momentum over white gradients g_t,
        m_t = b m_(t-1) + (1-b) g_t,  u_t = m_t / (1 - b^t)
    solved for E[m^2], E[W m] and E[W^2]. At first the correction divides by a small number, so the variance
    grows faster than that of white updates (constant lr, b = .9: +50% after 10 steps, +24% after 50, +12%
    after 100, +1% after 1000). Under a warmup it grows more slowly, as the mean lags behind the lr (100 steps
    of warmup, then a cosine to 1000: -13% after 100, -6% after 150, -3% after 250, 0 in the end). Where lr wd
    is not small beside 1 - b, it settles lower. Adam's denominator, which adjusts to each gradient, is left
    out: simulated Adam has 0 to 6% less variance than this.
    """
    if beta1 is None:
        return injected_by(WHITE, lr, weight_decay)
    rates, left = rates_and_left(lr, weight_decay)
    if not 0 <= beta1 < 1:
        raise BadInput(f"beta1 is {beta1}: expected 0 or more and below 1")
    step = rates / (1 - beta1 ** np.arange(1.0, len(rates) + 1))
    power = _recurrence(np.full_like(rates, beta1**2), np.full_like(rates, (1 - beta1) ** 2))[1:]
    cross = _recurrence(left * beta1, step * power)  # -E[W m]
    return _recurrence(left**2, step**2 * power + 2 * left * step * beta1 * cross[:-1])


def injected_by(noise: Noise, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
    """The variance that updates of this kind have added after t updates, [T+1]; S_t for white ones.

    With x_n = -E[W u_n], n counting `memory`: x_n' = q (left x_n + lr w), and S' = left^2 S + lr^2 c^2 +
    2 left lr sum x_n. The noise is as old as it gets from the first step on: momentum that starts from
    nothing differs in its first 1 / (1 - q) steps.
    """
    rates, left = rates_and_left(lr, weight_decay)
    along = np.zeros_like(rates)
    for w, q in noise.memory:
        along += _recurrence(q * left, q * w * rates)[:-1]
    return _recurrence(left**2, noise.square * rates**2 + 2 * left * rates * along)


def std(sigma_0: float, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
    """The law's std after 0..T updates, [T+1], in weight units: sqrt(sigma_0^2 d_t^2 + S_t)."""
    return np.sqrt((sigma_0 * decay(lr, weight_decay)) ** 2 + injected(lr, weight_decay))


def injected_ratio(sigma: ArrayLike, sigma_0: ArrayLike, lr: ArrayLike, weight_decay: ArrayLike,
                   steps: ArrayLike) -> Floats:
    """R = (sigma^2 - sigma_0^2 d_t^2) / S_t at `steps` (numbers of updates done), same shape as `sigma`.

    `sigma` and `sigma_0` are the std at these steps and at step 0; all three are broadcast together. R is 1
    where the law holds, 0 where weights only decay, and negative where they shrink faster than by decay. It
    is nan at step 0.
    """
    at = np.asarray(steps, dtype=np.int64)
    total, left = injected(lr, weight_decay)[at], decay(lr, weight_decay)[at]
    grown = np.asarray(sigma, dtype=np.float64) ** 2 - (np.asarray(sigma_0, dtype=np.float64) * left) ** 2
    return np.divide(grown, total, out=np.full_like(grown, np.nan), where=total > 0)


def equilibria(lr: ArrayLike, weight_decay: ArrayLike, noise: Noise = WHITE) -> Floats:
    """Std at which each of the learning rates would settle if it were kept, [T]: sqrt(lr / (wd (2 - lr wd))).

    About sqrt(lr / (2 wd)), times sqrt(D) for other noise than white; infinite without weight decay (nan for
    an lr of 0).
    """
    rates, left = rates_and_left(lr, weight_decay)
    decays = np.asarray(weight_decay, dtype=np.float64)
    power = noise.square + 2 * left * sum(q * w / (1 - q * left) for w, q in noise.memory)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        settled: Floats = np.sqrt(power * (rates / (decays * (2 - rates * decays))))
    return settled


def equilibrium(lr: float, weight_decay: float, noise: Noise = WHITE) -> float:
    """Std at which a constant lr settles; infinite without weight decay."""
    settled = equilibria(lr, weight_decay, noise)
    return float(settled[0]) if weight_decay else float("inf")


def time_constant(lr: float, weight_decay: float) -> float:
    """Steps in which the variance closes 1 - 1/e of its gap at constant lr, about 1 / (2 lr wd).

    The initial weights themselves fade half as fast: twice as many steps.
    """
    rates_and_left(lr, weight_decay)
    rate = -2 * np.log1p(-lr * weight_decay)
    return float(1 / rate) if rate else float("inf")
