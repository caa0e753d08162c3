"""What is measured of a matrix, for many matrices of one shape at once, on their device.

Shapes: M matrices of N elements each, as rows. Values are scaled by the largest absolute value before they
are squared, so that a statistic is right for every std that the dtype holds. Tested against float64 numpy.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Rows:
    """Reductions over rows [M, N] that hold all of their matrix. Shards of a matrix have others."""

    def size(self, values: Tensor) -> int:
        """Elements of each matrix."""
        return values.shape[1]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each matrix, [M]; NaN of an empty one."""
        return values.sum(1) / values.shape[1]  # half the calls of mean, the same bytes

    def largest(self, values: Tensor) -> Tensor:
        """Largest absolute value of each matrix, [M]; 0 of an empty one."""
        if not values.shape[1]:
            return values.new_zeros(len(values))
        return torch.maximum(values.amax(1), -values.amin(1))  # aminmax of a dimension takes 18 times as long


ROWS = Rows()


class Matrices:
    """What the statistics share of values [M, N]; half precision is read as float32.

    `absmax` [M] is the largest absolute value. `mean`, `variance` and `fourth`, the central moment, [M], are
    of the values over absmax. `room` [M, N], if any, is memory to work in: fresh memory costs more than the
    arithmetic.
    """

    def __init__(self, values: Tensor, rows: Rows = ROWS, room: Tensor | None = None) -> None:
        self.values = values if values.dtype == torch.float64 else values.float()
        self.rows = rows
        self.absmax = rows.largest(self.values)
        work = self.scaled(room)
        self.mean = rows.mean(work)
        self.variance = rows.mean(work.sub_(self.mean[:, None]).square_())
        self.fourth = rows.mean(work.square_())

    def scaled(self, room: Tensor | None = None) -> Tensor:
        """Values over absmax (0 stays 0), [M, N]."""
        return _scaled(self.values, self.absmax, room)


def _scaled(values: Tensor, absmax: Tensor, room: Tensor | None = None) -> Tensor:
    return torch.div(values, torch.where(absmax > 0, absmax, 1)[:, None], out=room)


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
    return m.fourth / m.variance.square() - 3


def norm(m: Matrices) -> Tensor:
    """Frobenius norm."""
    return rms(m) * math.sqrt(m.rows.size(m.values))


def root_mean_square(values: Tensor, rows: Rows = ROWS, room: Tensor | None = None) -> Tensor:
    """As `rms`, [M], of values [M, N], in half the passes where nothing else is wanted of them."""
    absmax = rows.largest(values)
    return rows.mean(_scaled(values, absmax, room).square_()).sqrt() * absmax


STATS: dict[str, Statistic] = {
    "std": std,
    "mean": mean,
    "rms": rms,
    "absmax": absmax,
    "kurtosis": kurtosis,
    "norm": norm,
}


def displacement(
    start: Tensor, now: Tensor, rows: Rows = ROWS, room: Sequence[Tensor | None] = (None, None)
) -> tuple[Tensor, Tensor]:
    """Mean of D^2 and of start * D, each [M], with D = now - start, from [M, N]; `room` as for Matrices.

    Together they give the change of mean(W^2): mean(now^2) - mean(start^2) = 2 mean(start D) + mean(D^2).
    """
    moved = torch.sub(now, start, out=room[0])
    dots = rows.mean(torch.mul(moved, start, out=room[1]))
    return rows.mean(moved.square_()), dots


def epsilon_share(
    second_moment: Tensor, bias_correction: Tensor | float, eps: float, rows: Rows = ROWS,
    room: Tensor | None = None,
) -> Tensor:
    """Mean of eps / (sqrt(v / bias_correction) + eps) from Adam's v [M, N]: near 1 where epsilon rules."""
    roots = torch.div(second_moment, bias_correction, out=room).rsqrt_()  # a CPU's sqrt of 0 is slow
    return rows.mean(roots.mul_(eps).reciprocal_().add_(1).reciprocal_())


def histogram(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Counts [M, bins] over [-absmax, absmax] of values [M, N], and absmax [M]; all zero if not finite."""
    m = Matrices(values)
    index = ((m.scaled() + 1) * (bins / 2)).nan_to_num(-1).long().clamp_(0, bins - 1)
    ones = torch.isfinite(m.absmax)[:, None].expand_as(index).long()
    counts = torch.zeros(len(values), bins, dtype=torch.long, device=values.device)
    return counts.scatter_add_(1, index, ones), m.absmax
