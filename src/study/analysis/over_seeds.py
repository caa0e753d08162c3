"""Means and intervals over the seeds of every cell of a table at once."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from study.analysis.params import AnalyzeParams
from study.analysis.statistics import BOOTSTRAP_FROM, Floats, intervals, p_value


def over_seeds(frame: pd.DataFrame, keys: list[str], values: list[str], params: AnalyzeParams
               ) -> pd.DataFrame:
    """A row per cell of `keys`, sorted: each value's mean over seeds with its _lo and _hi, and n seeds.

    `frame` has one row per cell and seed. A cell with a value that is not finite has no interval.
    """
    ordered = frame.sort_values([*keys, "seed"], kind="stable", ignore_index=True)
    cells = ordered.groupby(keys, sort=False, dropna=False)
    cell = cells.ngroup().to_numpy()
    table = ordered.loc[~ordered.duplicated(keys), keys].reset_index(drop=True)
    counts = np.bincount(cell, minlength=len(table))
    for value in values:
        found = np.full((3, len(table)), np.nan)
        for n in np.unique(counts):
            sample = ordered[value].to_numpy(dtype=np.float64)[counts[cell] == n].reshape(-1, n).T
            found[:, counts == n] = intervals(sample, params.confidence, params.bootstrap, params.seed)
        table[value], table[f"{value}_lo"], table[f"{value}_hi"] = found
    return table.assign(n=counts)


def within(table: pd.DataFrame, values: list[str], low: float, high: ArrayLike) -> pd.DataFrame:
    """`table` of `over_seeds` with its t intervals inside [low, high], where the values lie by definition.

    Student's t on the logarithm of (mean - low) / (high - mean), of mean - low where high is inf, by the
    delta method: the same where the seeds lie close together. Bootstrap intervals lie inside as they are.
    """
    student = (table["n"] < BOOTSTRAP_FROM).to_numpy()
    top = np.broadcast_to(np.asarray(high, dtype=np.float64), len(table))
    ends = {}
    for value in values:
        mean, upper = table[value].to_numpy(), table[f"{value}_hi"].to_numpy()
        for end, sign in (("lo", -1), ("hi", 1)):
            found = _moved(mean, sign * (upper - mean), low, top)
            ends[f"{value}_{end}"] = np.where(student, found, table[f"{value}_{end}"])
    return table.assign(**ends)


def _moved(mean: Floats, by: Floats, low: float, high: Floats) -> Floats:
    """`mean` moved by `by`, to first order, on the log-odds scale of [low, high]; at an end it stays."""
    below, above = mean - low, high - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(np.clip(by * (1 / below + 1 / above), -700, 700))
        share = np.where(np.isinf(high), 1, (below + above) / (above + below * factor))
        inside = low + below * factor * share
    return np.where((below > 0) & (above > 0), inside, mean + by)


def p_values(frame: pd.DataFrame, keys: list[str], value: str) -> Floats:
    """p_value of every cell of `keys`, in the order of `over_seeds`."""
    return np.array([p_value(cell.to_numpy(float)) for _, cell in frame.groupby(keys, sort=True)[value]])


def trend(x: Floats, y: Floats) -> float:
    """Least-squares slope of y over x, both [points]; nan where x does not vary."""
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def significant(frame: pd.DataFrame, digits: int = 6) -> pd.DataFrame:
    """Floats rounded to significant digits, so that a sum's last bits do not show in the tables."""
    return frame.assign(**{name: rounded(frame[name].to_numpy(), digits)
                           for name in frame.columns[frame.dtypes.map(lambda kind: kind.kind == "f")]})


def rounded(values: Floats, digits: int = 6) -> Floats:
    """`values` to that many significant digits; 0, inf and nan as they are."""
    exact = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(exact) & (exact != 0)
    texts = np.char.mod(f"%.{digits - 1}e", exact[usable])
    result = exact.copy()
    result[usable] = texts.astype(np.float64)
    return result
