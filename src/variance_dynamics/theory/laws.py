"""The null law of each optimizer: the std of a weight matrix if gradients are white noise.

Each entry of LAWS says its formula, what it assumes, and where it comes from. The law is that of `null_law`,
with the optimizer's own update noise (`Noise`): std^2(t) = std_0^2 d_t^2 + S_t, at constant lr an equilibrium
of about sqrt(D lr / (2 wd)) and a time constant of 1 / (2 lr wd) steps. Adafactor has a law of another form.

For AdamW no parameter is fitted. Muon's law has one choice: an exponent that was chosen after seeing the
simulation (see `muon_noise`). docs/laws.md says where real runs did not follow these laws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.theory import null_law
from variance_dynamics.theory.null_law import WHITE, Floats, Noise

Shape = tuple[int, int]
ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
"""Muon's lr of a matrix over its lr, by the names that torch gives them (arXiv 2502.16982 for the second)."""
LION_BETAS = (0.9, 0.99)
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Muon's polynomial: s (a + b s^2 + c s^4), five times."""
ARCSIN = (1.0, 1 / 6, 3 / 40, 15 / 336, 105 / 3456)
"""arcsin(x) = sum of these times x, x^3, x^5, ..."""
SMALLEST = 1e-3
"""torch's Adafactor takes a matrix of a smaller rms than this (eps[1]) for one of this rms."""


@dataclass(frozen=True)
class Law:
    """The law of one optimizer for a matrix of one shape; `lr` and `weight_decay` as in `null_law`."""

    optimizer: str
    noise: Noise = WHITE
    settles: bool = True

    def injected(self, sigma_0: float, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
        """[T+1] Variance that updates have added to what decay left of the initial weights."""
        return null_law.injected_by(self.noise, lr, weight_decay)

    def std(self, sigma_0: float, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
        """[T+1] Std after 0..T updates, in weight units."""
        left = sigma_0 * null_law.decay(lr, weight_decay)
        total: Floats = np.sqrt(left**2 + self.injected(sigma_0, lr, weight_decay))
        return total

    def equilibria(self, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
        """[T] Std in the end if an update's lr and decay were kept; inf where there is none."""
        return null_law.equilibria(lr, weight_decay, self.noise)


class AdafactorLaw(Law):
    """A step is a share of the weights' own rms, so that the std grows or shrinks as a power."""

    def injected(self, sigma_0: float, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
        """V' = (1 - lr wd)^2 V + rho^2 max(V, SMALLEST^2), rho = min(lr, 1 / sqrt(t)), less the start's."""
        rates, left = null_law.rates_and_left(lr, weight_decay)
        shares = np.minimum(rates, 1 / np.sqrt(np.arange(1.0, len(rates) + 1))) ** 2
        variance = [sigma_0**2]
        for kept, share in zip((left**2).tolist(), shares.tolist(), strict=True):
            now = variance[-1]
            variance.append(kept * now + share * max(now, SMALLEST**2))
        injected: Floats = np.array(variance) - (sigma_0 * null_law.decay(lr, weight_decay)) ** 2
        return injected.clip(min=0)

    def equilibria(self, lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
        """Infinite: none of them is settled at."""
        return np.full(np.shape(np.atleast_1d(lr)), np.inf)


def lion_noise(betas: tuple[float, float] = LION_BETAS) -> Noise:
    """Of sign(b1 m + (1 - b1) g), m an average of g with b2, over white normal g.

    The sum before the sign has the autocorrelation A b2^k, and signs of normal variables correlate as
    (2 / pi) arcsin.
    """
    b1, b2 = betas
    own = b1**2 * (1 - b2) / (1 + b2)  # variance that comes from m
    amplitude = ((1 - b1) * b1 * (1 - b2) / b2 + own) / ((1 - b1) ** 2 + own)
    return Noise(1.0, tuple((2 / math.pi * c * amplitude**n, b2**n) for n, c in enumerate_odd(ARCSIN)))


def enumerate_odd(values: tuple[float, ...]) -> list[tuple[int, float]]:
    """Pairs of 1, 3, 5, ... and the values."""
    return [(2 * index + 1, value) for index, value in enumerate(values)]


def muon_noise(shape: Shape, adjust_lr: str = "original", momentum: float = MUON_MOMENTUM,
               nesterov: bool = True) -> Noise:
    """Of the orthogonalised momentum of a matrix [rows, columns], over white normal gradients.

    The momentum has the autocorrelation A momentum^k. Its singular values follow Marchenko and Pastur's
    law, and Newton-Schulz maps each of them. Of the result a share l is along the momentum itself, so it
    correlates as l r + (1 - l) r^5: the rest is odd in the momentum and of many orders. Its power
    was chosen after seeing the simulation, r^5 instead of r^3. With it the correlation is right to .03 for
    every r up to .85 (a test orthogonalises pairs of matrices).
    """
    check_name("adjust_lr", adjust_lr, ADJUSTMENTS)
    mu, wide = momentum, max(shape)
    tail = mu**4 / (1 - mu**2)
    amplitude = ((1 + mu) * mu + tail) / ((1 + mu) ** 2 + tail) if nesterov else 1.0
    square, linear = orthogonalised(shape)
    square *= ADJUSTMENTS[adjust_lr](*shape) ** 2 / wide
    memory = ((square * linear * amplitude, mu), (square * (1 - linear) * amplitude**5, mu**5))
    return Noise(square, memory)


def orthogonalised(shape: Shape) -> tuple[float, float]:
    """Mean square singular value that Newton-Schulz gives to white noise, and its share along the noise."""
    small, wide = sorted(shape)
    ratio = small / wide
    angle = (np.arange(4096) + 0.5) * np.pi / 4096
    squares = 1 + ratio + 2 * math.sqrt(ratio) * np.cos(angle)  # over `wide`, mean 1
    weights = np.sin(angle) ** 2 / squares
    weights /= weights.sum()
    values = np.sqrt(squares / small)  # divided by the Frobenius norm
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        values = values * (a + b * values**2 + c * values**4)
    square = float(weights @ values**2)
    return square, float(weights @ (values * np.sqrt(squares))) ** 2 / square


@dataclass(frozen=True)
class Entry:
    """What is known of an optimizer's law: a formula, what it assumes, and its sources."""

    title: str
    formula: str
    assumes: str
    source: str
    law: Callable[[Shape | None, str], Law]


def _muon(shape: Shape | None, adjust_lr: str) -> Law:
    if shape is None:
        raise BadInput("shape is missing: expected rows and columns, as in --shape 768x3072: Muon's step "
                       "depends on them")
    return Law("muon", muon_noise(shape, adjust_lr))


def _none(shape: Shape | None, adjust_lr: str) -> Law:
    raise BadInput("optimizer is sgd: there is no such law, as the gradient's scale decides how large a "
                   f"step is: expected one of {', '.join(name for name in LAWS if name != 'sgd')}")


LAWS: dict[str, Entry] = {
    "adamw": Entry(
        "AdamW",
        "S = sum lr^2 (d_t / d_(i+1))^2: c^2 = (1 - b1) / (1 + b1), rho_k = b1^k, D = 1",
        "white gradients",
        "arXiv 2305.17212, 2405.13698; kexue.fm 11307, 11404",
        lambda shape, adjust_lr: Law("adamw")),
    "adam": Entry(
        "Adam",
        "AdamW's without decay: S = sum lr^2",
        "white gradients; no weight decay (Adam divides a coupled one by the gradient's scale: no law)",
        "as adamw",
        lambda shape, adjust_lr: Law("adam")),
    "lion": Entry(
        "Lion",
        "c^2 = 1, rho_k = (2 / pi) arcsin(A b2^k); A = .354, D = 45.9 for betas .9, .99",
        "white normal gradients; many more steps than 1 / (1 - b2)",
        "arXiv 2302.06675 for Lion, the arcsine law for its signs; its law is ours",
        lambda shape, adjust_lr: Law("lion", lion_noise())),
    "muon": Entry(
        "Muon",
        "c^2 = s^2 a^2 / max(rows, columns), rho_k = l r + (1 - l) r^5, r = A mu^k; A = .840 for mu = .95; "
        "s^2, l from Newton-Schulz on Marchenko-Pastur's law; a adjusts the lr",
        "white normal gradients; what is not along the momentum correlates as its fifth power, "
        "an exponent chosen after seeing the simulation",
        "kellerjordan.github.io/posts/muon, arXiv 2502.16982 for Muon; its law is ours",
        _muon),
    "adafactor": Entry(
        "Adafactor",
        "std_t = std_0 prod sqrt((1 - lr wd)^2 + min(lr, 1 / sqrt(t))^2): no equilibrium",
        "white gradients; torch's, whose steps are shares of the weights' rms, above 1e-3",
        "arXiv 1804.04235 for Adafactor; its law is ours",
        lambda shape, adjust_lr: AdafactorLaw("adafactor", settles=False)),
    "sgd": Entry("SGD", "none", "the gradient's scale decides how large a step is", "-", _none),
}
"""Name -> its law. An optimizer is one entry here."""


def law_of(optimizer: str, weight_decay: ArrayLike = 0.0, shape: Shape | None = None,
           adjust_lr: str = "original") -> Law:
    """The law of an optimizer for a matrix of `shape` (rows, columns), which only Muon's needs.

    Raises BadInput where there is none.
    """
    check_name("optimizer", optimizer, LAWS)
    if optimizer == "adam" and np.any(np.asarray(weight_decay) != 0):
        raise BadInput("optimizer is adam, with weight decay: there is no such law, as Adam divides a "
                       "coupled decay by the gradient's scale: expected a weight decay of 0, or adamw")
    return LAWS[optimizer].law(shape, adjust_lr)
