"""Edges of the band of stds that train: per seed, then the std at which half of the seeds train."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.analysis.statistics import resamples
from variance_dynamics.base.errors import BadInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bracket:
    """The edge of one seed's band lies between `inside` (trains) and `outside` (does not), both stds.

    At the grid's end `outside` is 0 (lower) or inf (upper): censored. A seed that never trains has
    inside = outside = inf (lower) or 0 (upper).
    """

    inside: float
    outside: float

    @property
    def censored(self) -> bool:
        return bool(np.isfinite(self.inside) and self.inside > 0 and self.outside in (0.0, np.inf))

    @property
    def std(self) -> float:
        """Half a grid step outside the last std that trains; the grid's end itself if censored."""
        return self.inside if self.censored else float(np.sqrt(self.inside) * np.sqrt(self.outside))


@dataclass(frozen=True)
class Edge:
    """The std at which half of the n seeds train, with its interval.

    nan: std where half of the seeds or more never train; lo or hi where the grid does not bound it.
    censored: number of seeds whose band reaches the grid's end (from n/2 on, std is only a bound).
    """

    std: float
    lo: float
    hi: float
    n: int
    censored: int


def band(stds: ArrayLike, loss: ArrayLike, trains: ArrayLike) -> tuple[Bracket, Bracket]:
    """Lower and upper edge of one seed's contiguous band of training stds around the one of least loss.

    stds [k] ascending; loss [k], nan counts as worst; trains [k] bool.
    """
    grid, good = np.asarray(stds, dtype=np.float64), np.asarray(trains, dtype=bool)
    if grid.shape != good.shape or np.any(np.diff(grid) <= 0):
        raise BadInput(f"stds of shape {grid.shape}: expected them ascending, one outcome for each")
    if not good.any():
        return Bracket(np.inf, np.inf), Bracket(0.0, 0.0)
    badness = np.where(good & ~np.isnan(loss), loss, np.inf)
    best = int(np.argmin(badness)) if np.isfinite(badness).any() else int(np.flatnonzero(good)[0])
    fails = np.flatnonzero(~good)
    below, above = fails[fails < best], fails[fails > best]
    low = int(below[-1]) + 1 if below.size else 0
    high = int(above[0]) - 1 if above.size else len(grid) - 1
    return (Bracket(float(grid[low]), float(grid[low - 1]) if below.size else 0.0),
            Bracket(float(grid[high]), float(grid[high + 1]) if above.size else np.inf))


def bridged(trains: ArrayLike) -> NDArray[np.bool_]:
    """`trains` [k] over ascending stds, with each single failure between two that train made good."""
    good: NDArray[np.bool_] = np.array(trains, dtype=bool)
    good[1:-1] |= good[:-2] & good[2:]
    return good


def half_of_seeds(brackets: list[Bracket], confidence: float, draws: int, seed: int) -> Edge:
    """Median over seeds of the edge, in ln std, with the percentile bootstrap of the median at every n.

    The grid's resolution is part of the interval: lo is a quantile of the medians of the brackets' lower
    ends, hi of the upper ends. (At n = 5 that is the range of the seeds, which covers 94%.)
    """
    with np.errstate(divide="ignore"):
        ends = np.log([[min(b.inside, b.outside), b.std, max(b.inside, b.outside)] for b in brackets])
    taken = resamples(len(brackets), draws, seed)
    tail = (1 - confidence) / 2
    lo = np.quantile(_medians(ends[:, 0][taken]), tail, method="inverted_cdf")
    hi = np.quantile(_medians(ends[:, 2][taken]), 1 - tail, method="inverted_cdf")
    std = _medians(ends[:, 1][None])[0]
    return Edge(_std(std), _std(lo), _std(hi), len(brackets), sum(b.censored for b in brackets))


def _medians(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # the mean of -inf and inf is nan: no bound
        return np.asarray(np.median(values, axis=1))


def _std(log: float) -> float:
    return float(np.exp(log)) if np.isfinite(log) else float("nan")
