"""Statistics of weight matrices, for many matrices of one shape at once, on their device.

Shapes: M matrices of N elements each, as rows. Values are divided by the largest absolute value before they
are squared, so that a statistic is right for every std that the dtype can hold.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Reductions:
    """Mean and largest value of each matrix, from rows [M, N] that each hold a whole matrix.

    `variance_dynamics.tracking.sharded` has others, for matrices of which each process holds a part.
    """

    def size(self, values: Tensor) -> int:
        """Number of elements of each matrix."""
        return values.shape[1]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each matrix, [M]; NaN of an empty one."""
        return values.sum(1) / values.shape[1]  # half the calls that torch.mean makes, and the same bytes

    def largest(self, values: Tensor) -> Tensor:
        """Largest absolute value of each matrix, [M]; 0 of an empty one."""
        if not values.shape[1]:
            return values.new_zeros(len(values))
        return torch.maximum(values.amax(1), -values.amin(1))  # aminmax of a dimension takes 18 times as long


WHOLE = Reductions()


class Matrices:
    """M matrices as rows [M, N], with what their statistics share; half precision is read as float32.

    `absmax` [M] is the largest absolute value. `mean`, `variance` and `fourth` (the fourth central moment),
    [M], are those of the values divided by absmax. `buffer` [M, N] is memory to work in, if there is any:
    on a CPU, fresh memory costs more than the arithmetic.
    """

    def __init__(self, values: Tensor, reductions: Reductions = WHOLE, buffer: Tensor | None = None) -> None:
        self.values = values if values.dtype == torch.float64 else values.float()
        self.reductions = reductions
        self.absmax = reductions.largest(self.values)
        work = self.scaled(buffer)
        self.mean = reductions.mean(work)
        self.variance = reductions.mean(work.sub_(self.mean[:, None]).square_())
        self.fourth = reductions.mean(work.square_())

    def scaled(self, buffer: Tensor | None = None) -> Tensor:
        """Values divided by absmax (0 stays 0), [M, N]."""
        return _scaled(self.values, self.absmax, buffer)


def _scaled(values: Tensor, absmax: Tensor, buffer: Tensor | None = None) -> Tensor:
    return torch.div(values, torch.where(absmax > 0, absmax, 1)[:, None], out=buffer)


Statistic = Callable[[Matrices], Tensor]


def std(m: Matrices) -> Tensor:
    """Population standard deviation."""
    return m.variance.sqrt() * m.absmax


def mean(m: Matrices) -> Tensor:
    """Mean."""
    return m.mean * m.absmax


def rms(m: Matrices) -> Tensor:
    """Root of the mean square, from variance and mean, without another pass over the values."""
    return (m.variance + m.mean.square()).sqrt() * m.absmax


def absmax(m: Matrices) -> Tensor:
    """Largest absolute value."""
    return m.absmax


def kurtosis(m: Matrices) -> Tensor:
    """Excess kurtosis, E[(x - mean)^4] / var^2 - 3: 0 for a normal law, NaN for a constant matrix."""
    return m.fourth / m.variance.square() - 3


def norm(m: Matrices) -> Tensor:
    """Frobenius norm."""
    return rms(m) * math.sqrt(m.reductions.size(m.values))


def root_mean_square(values: Tensor, reductions: Reductions = WHOLE, buffer: Tensor | None = None) -> Tensor:
    """The same as `rms`, [M], of values [M, N]; in half the passes where no other statistic is needed."""
    absmax = reductions.largest(values)
    return reductions.mean(_scaled(values, absmax, buffer).square_()).sqrt() * absmax


STATS: dict[str, Statistic] = {
    "std": std,
    "mean": mean,
    "rms": rms,
    "absmax": absmax,
    "kurtosis": kurtosis,
    "norm": norm,
}


def displacement(start: Tensor, now: Tensor, reductions: Reductions = WHOLE,
                 buffers: Sequence[Tensor | None] = (None, None)) -> tuple[Tensor, Tensor]:
    """Mean of D^2 and mean of start * D, each [M], where D = now - start; from weights [M, N].

    Together they give the change of mean(W^2): mean(now^2) - mean(start^2) = 2 mean(start D) + mean(D^2).
    `buffers` are memory to work in, as for Matrices.
    """
    moved = torch.sub(now, start, out=buffers[0])
    dots = reductions.mean(torch.mul(moved, start, out=buffers[1]))
    return reductions.mean(moved.square_()), dots


def epsilon_share(second_moment: Tensor, bias_correction: Tensor | float, eps: float,
                  reductions: Reductions = WHOLE, buffer: Tensor | None = None) -> Tensor:
    """Mean of eps / (sqrt(v / bias_correction) + eps), [M], from Adam's second moment v [M, N].

    It is near 1 where epsilon, and not the gradient, decides how large the update is.
    """
    roots = torch.div(second_moment, bias_correction, out=buffer).rsqrt_()  # on a CPU sqrt of 0 is slow
    return reductions.mean(roots.mul_(eps).reciprocal_().add_(1).reciprocal_())


def histogram(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Counts [M, bins] over [-absmax, absmax] of values [M, N], and absmax [M].

    All counts of a matrix are 0 where its absmax is not finite.
    """
    m = Matrices(values)
    index = ((m.scaled() + 1) * (bins / 2)).nan_to_num(-1).long().clamp_(0, bins - 1)
    ones = torch.isfinite(m.absmax)[:, None].expand_as(index).long()
    counts = torch.zeros(len(values), bins, dtype=torch.long, device=values.device)
    return counts.scatter_add_(1, index, ones), m.absmax
