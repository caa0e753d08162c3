"""Moments of a stored matrix in one pass, in float64, a chunk at a time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.auditing.stored import Raw, chunks


@dataclass(frozen=True)
class Moments:
    """Of the finite values: count, mean, std (about the mean), excess kurtosis (nan if constant), extremes.

    `broken` counts NaN and infinite values, `empty_rows` rows of zeros that were left out.
    """

    count: int
    mean: float
    std: float
    kurtosis: float
    low: float
    high: float
    broken: int
    empty_rows: int

    @property
    def absmax(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return self.count > 0 and self.low == self.high


def measure(raw: Raw, dtype: str, skip_empty_rows: bool = False) -> Moments:
    """Moments of `raw` [rows, ...]; rows of zeros (an embedding's padding token) can be left out.

    Sums are of differences from the first chunk's mean, so that a mean far from 0 costs no digits.
    """
    count, broken, empty = 0, 0, 0
    center, low, high = math.nan, math.inf, -math.inf
    sums = np.zeros(4)
    for chunk in chunks(raw, dtype):
        values, left_out = _kept(chunk) if skip_empty_rows else (chunk, 0)
        finite = values[np.isfinite(values)]
        broken, empty = broken + values.size - finite.size, empty + left_out
        if not finite.size:
            continue
        center = float(finite.mean()) if count == 0 else center
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        sums += _power_sums(finite - center)
        count += finite.size
    return Moments(count, *_central(sums / max(count, 1), center), low, high, broken, empty)


def _kept(chunk: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    filled = (chunk != 0).any(axis=1)
    return chunk[filled], int((~filled).sum())


def _power_sums(x: NDArray[np.float64]) -> NDArray[np.float64]:
    square = x * x
    return np.array([x.sum(), square.sum(), (square * x).sum(), (square * square).sum()])


def _central(raw_moments: NDArray[np.float64], center: float) -> tuple[float, float, float]:
    """(mean, std, excess kurtosis) from the mean of the first four powers of x - center."""
    m1, m2, m3, m4 = (float(moment) for moment in raw_moments)
    variance = max(0.0, m2 - m1**2)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    kurtosis = fourth / variance**2 - 3 if variance > 0 else math.nan
    return center + m1, math.sqrt(variance), kurtosis
