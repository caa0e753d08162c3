"""What is measured of a matrix, for many matrices of one shape at once, on their device.

Shapes: M matrices of N elements each, as rows. Values are scaled by the largest absolute value before they
are squared, so that a statistic is right for every std that the dtype holds. Tested against float64 numpy.
"""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor


class Matrices:
    """Values [M, N] with what the statistics share; half precision is read as float32."""

    def __init__(self, values: Tensor) -> None:
        self.values = values if values.dtype == torch.float64 else values.float()

    @cached_property
    def absmax(self) -> Tensor:
        """Largest absolute value, [M]."""
        low, high = self.values.aminmax(dim=1)
        return torch.maximum(high, -low)

    @cached_property
    def scaled(self) -> Tensor:
        """Values over absmax (0 stays 0), [M, N]."""
        scale = torch.where(self.absmax > 0, self.absmax, 1)
        return self.values / scale[:, None]

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the scaled values, [M]."""
        return self.scaled.mean(1)

    @cached_property
    def squared_deviations(self) -> Tensor:
        """(scaled - mean)^2, [M, N]."""
        return (self.scaled - self.mean[:, None]).square_()

    @cached_property
    def variance(self) -> Tensor:
        """Population variance of the scaled values, [M]."""
        return self.squared_deviations.mean(1)


Statistic = Callable[[Matrices], Tensor]


def std(m: Matrices) -> Tensor:
    """Population standard deviation."""
    return m.variance.sqrt() * m.absmax


def mean(m: Matrices) -> Tensor:
    """Mean."""
    return m.mean * m.absmax


def rms(m: Matrices) -> Tensor:
    """Root of the mean square; variance and mean give it without another pass."""
    return (m.variance + m.mean.square()).sqrt() * m.absmax


def absmax(m: Matrices) -> Tensor:
    """Largest absolute value."""
    return m.absmax


def kurtosis(m: Matrices) -> Tensor:
    """Excess kurtosis, E[(x - mean)^4] / var^2 - 3: 0 for a normal law, NaN for a constant matrix."""
    return m.squared_deviations.square().mean(1) / m.variance.square() - 3


def norm(m: Matrices) -> Tensor:
    """Frobenius norm."""
    return rms(m) * math.sqrt(m.values.shape[1])


STATS: dict[str, Statistic] = {
    "std": std,
    "mean": mean,
    "rms": rms,
    "absmax": absmax,
    "kurtosis": kurtosis,
    "norm": norm,
}


def displacement(start: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of D^2 and of start * D, each [M], with D = now - start, from [M, N].

    Together they give the change of mean(W^2): mean(now^2) - mean(start^2) = 2 mean(start D) + mean(D^2).
    """
    moved = now - start
    return moved.square().mean(1), (start * moved).mean(1)


def epsilon_share(second_moment: Tensor, bias_correction: Tensor | float, eps: float) -> Tensor:
    """Mean of eps / (sqrt(v / bias_correction) + eps) from Adam's v [M, N]: near 1 where epsilon rules."""
    return (eps / ((second_moment / bias_correction).sqrt_() + eps)).mean(1)


def histogram(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Counts [M, bins] over [-absmax, absmax] of values [M, N], and absmax [M]; all zero if not finite."""
    m = Matrices(values)
    index = ((m.scaled + 1) * (bins / 2)).nan_to_num(-1).long().clamp_(0, bins - 1)
    ones = torch.isfinite(m.absmax)[:, None].expand_as(index).long()
    counts = torch.zeros(len(values), bins, dtype=torch.long, device=values.device)
    return counts.scatter_add_(1, index, ones), m.absmax
