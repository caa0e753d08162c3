"""What theory says of E1's band before training: its edges under SGD, from shape, lr, steps and data."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from study.analysis.bands import CELL, EDGES, sizes
from study.base.labelled import Labelled
from variance_dynamics.theory.sgd_band import band_edges, signal

ROWS = 1000
"""Training samples that the signal is taken from: it costs their number squared."""
NETWORK = [*CELL, "lr", "budget", "features", "classes", "input_second_moment", "signal"]


def with_signal(outcomes: pd.DataFrame, data: Mapping[str, Labelled]) -> pd.DataFrame:
    """`outcomes` with the column signal: what gradients of the dataset's samples share at that depth.

    nan for a dataset that is not at hand; a recorded run brings the column along.
    """
    if "signal" in outcomes:
        return outcomes
    pairs = outcomes[["dataset", "depth"]].drop_duplicates()
    found = [_signal(data.get(name), depth) for name, depth in pairs.itertuples(index=False)]
    return outcomes.merge(pairs.assign(signal=found), on=["dataset", "depth"])


def _signal(data: Labelled | None, depth: int) -> float:
    return signal(data.x["train"][:ROWS], data.y["train"][:ROWS], depth) if data else float("nan")


def predicted_edges(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Std of each edge under SGD, a row per cell and edge; other optimizers' and unknown signals have none.

    The upper one is nan at depth 2, where this theory has none.
    """
    known = (outcomes["optimizer"] == "sgd") & outcomes["signal"].notna()
    rows = []
    for *cell, lr, steps, features, classes, moment, shared in (
            outcomes.loc[known, NETWORK].drop_duplicates().itertuples(index=False)):
        ends = band_edges(sizes(features, classes, *cell[2:]), lr, steps, shared, moment)
        rows += [(*cell, edge, std) for edge, std in zip(EDGES, ends, strict=True)]
    return pd.DataFrame(rows, columns=[*CELL, "edge", "predicted"]).replace(np.inf, np.nan)
