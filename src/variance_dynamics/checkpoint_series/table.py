"""The Tracker's table of a series, and the null law beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.steps import Step
from variance_dynamics.checkpoint_series.walk import COSINES, Wanted
from variance_dynamics.forecasting.forecast import TrainingSchedule
from variance_dynamics.forecasting.recorded import ComparedRun, compare

if TYPE_CHECKING:
    import pandas as pd

STATS = ("std", "mean", "rms", "absmax", "kurtosis", *COSINES)
Values = Mapping[tuple[int, str], Mapping[str, float | None]]


def rows_of(steps: Sequence[Step], wanted: Sequence[Wanted], values: Values) -> "pd.DataFrame":
    """Columns step, name, layer, role, stat, value, as a Tracker's, and commit where steps have one.

    One row per measurement, step by step, and in a step one statistic after the other. `values` maps a step
    and a matrix to its statistics.
    """
    import pandas as pd

    parameters = [piece.parameter for each in wanted for piece in each.pieces]
    rows = [(step.number, each.name, each.layer, each.role, stat, values[place][stat], step.commit)
            for step in steps for stat in STATS for each in parameters
            if stat in values.get(place := (step.number, each.name), ())]
    table = pd.DataFrame(rows, columns=["step", "name", "layer", "role", "stat", "value", "commit"])
    table["value"] = table["value"].astype("float64")
    return table if any(step.commit for step in steps) else table.drop(columns="commit")


def compared_with(table: "pd.DataFrame", schedule: TrainingSchedule) -> tuple[ComparedRun | None, str]:
    """The law beside a table; None, and why, where the table does not start at step 0 or goes no further."""
    std = table[table["stat"] == "std"].assign(seed=0)
    if not (std["step"] == 0).any():
        return None, ""
    try:
        return compare(std[["step", "layer", "role", "seed", "name", "value"]], schedule), ""
    except BadInput as problem:
        return None, f"no null law: {problem}"
