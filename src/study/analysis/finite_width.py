"""What finite width adds to variance propagation: q_l of one network, not of their mean, is log-normal.

Hanin and Nica (1812.05994): a ReLU layer of width n multiplies |h|^2 by a factor whose logarithm has variance
5/n and mean -5/(2n), to first order in 1/n, independently of the other layers. Both are exact here, from
    sum of relu(g_i)^2 over n normal g = chi^2_K, K ~ Binomial(n, 1/2) active units
(no unit active has probability 2^-n per layer: a dead network, left out).
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, polygamma, psi


class LogMoments(NamedTuple):
    """Mean and variance, over initialisations, of ln(measured / its mean over initialisations)."""

    mean: float
    variance: float

    def __add__(self, other: object) -> "LogMoments":
        if not isinstance(other, LogMoments):
            return NotImplemented
        return LogMoments(self.mean + other.mean, self.variance + other.variance)


@cache
def relu_layer(width: int) -> LogMoments:
    """Of ln(2/n sum relu(g_i)^2), g [n] standard normal: about -5/(2n) and 5/n, more at small n."""
    active = np.arange(1, width + 1)
    log_odds = gammaln(width + 1) - gammaln(active + 1) - gammaln(width - active + 1)
    odds = np.exp(log_odds - log_odds.max())
    odds /= odds.sum()
    means = psi(active / 2) + np.log(4 / width)
    mean = float(odds @ means)
    return LogMoments(mean, float(odds @ (polygamma(1, active / 2) + (means - mean) ** 2)))


def linear_layer(width: int) -> LogMoments:
    """Of ln(1/n sum g_i^2): about -1/n and 2/n."""
    return LogMoments(float(psi(width / 2) + np.log(2 / width)), float(polygamma(1, width / 2)))


def log_second_moment(sizes: Sequence[int]) -> list[LogMoments]:
    """Of ln(q_l / E q_l) for each weight layer [L], with q_l the mean square of one sample's pre-activations.

    l - 1 ReLU layers and layer l itself. Averages over many samples vary less, as samples are not alike.
    """
    found, below = [], LogMoments(0.0, 0.0)
    for width in sizes[1:]:
        found.append(below + linear_layer(width))
        below += relu_layer(width)
    return found
