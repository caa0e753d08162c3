"""The lr and weight decay of each matrix, from a Tracker's table, or one schedule from a file for all."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import LONGEST, Floats, GivenSchedule, Schedule
from variance_dynamics.theory.laws import LAWS, Law, Shape, law_of

if TYPE_CHECKING:
    import pandas as pd

LR, DECAY, ROWS, COLUMNS = "lr", "weight_decay", "rows", "columns"
SETTINGS = (LR, DECAY, ROWS, COLUMNS)
"""Statistics of a Tracker's table that say how a matrix is trained, and its shape."""
OTHER_NAME = "wd"
"""What a file of a schedule may call weight_decay."""


@dataclass(frozen=True)
class Optimizers:
    """Which optimizer trains which role, `usual` the others; for Muon a shape and how the lr is adjusted."""

    usual: str = "adamw"
    by_role: tuple[tuple[str, str], ...] = ()
    shape: Shape | None = None
    adjust_lr: str = "original"

    def law(self, role: str, decays: Floats, shape: Shape | None = None) -> Law:
        """Of a matrix with this role and weight decay."""
        return law_of(dict(self.by_role).get(role, self.usual), decays, shape or self.shape, self.adjust_lr)


def optimizers_of(names: list[str], shape: str | None, adjust_lr: str) -> Optimizers:
    """From NAME and ROLE=NAME, and ROWSxCOLUMNS. Raises BadInput for what is not of that form."""
    usual = [name for name in names if "=" not in name]
    if len(usual) > 1:
        raise BadInput(f"optimizer is {' and '.join(usual)}: expected one, others as ROLE=NAME")
    pairs = [name.partition("=") for name in names if "=" in name]
    for role, _, name in pairs:
        if not role or name not in LAWS:
            raise BadInput(f"optimizer is {role}={name}: expected ROLE=NAME, such as embedding=adamw")
    return Optimizers(usual[0] if usual else "adamw", tuple((role, name) for role, _, name in pairs),
                      _shape(shape) if shape else None, adjust_lr)


def _shape(text: str) -> Shape:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise BadInput(f"shape is {text!r}: expected ROWSxCOLUMNS, such as 768x3072")
    return int(sides[0]), int(sides[1])


def schedule_of_file(path: Path) -> GivenSchedule:
    """A schedule from a .csv with the columns step, lr and weight_decay (or wd; without one it is 0).

    A row holds the lr of the update that leads to its step, as in a Tracker's table; between rows it is
    linear. Raises BadInput for what is no such file.
    """
    import pandas as pd

    if not path.is_file():
        raise BadInput(f"{path}: no such file: expected a schedule, columns step, lr, weight_decay")
    try:
        table = pd.read_csv(path).rename(columns={OTHER_NAME: DECAY})
    except (ValueError, OSError) as problem:
        raise BadInput(f"{path}: {str(problem).splitlines()[0][:80]}: expected a .csv table") from None
    for name in ("step", LR):
        if name not in table:
            raise BadInput(f"{path}: no column {name}: expected step, lr, weight_decay")
    table = table[["step", LR]].assign(**{DECAY: table.get(DECAY, 0.0)})
    numbers = table.apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.astype(float)).all(axis=1)
    if bad.any() or not len(table):
        where = f"row {int(np.flatnonzero(bad)[0]) + 1}" if bad.any() else "no rows"
        raise BadInput(f"{path}: {where}: expected a number in each of step, lr, weight_decay")
    if not (numbers["step"].diff().iloc[1:] > 0).all() or numbers["step"].iloc[0] < 0:
        raise BadInput(f"{path}: steps do not rise from 0 or 1: expected them in order, each once")
    return _linear(numbers["step"], numbers[LR], numbers[DECAY], f"from {path.name}")


def _linear(steps: "pd.Series[float]", lr: "pd.Series[float]", decay: "pd.Series[float]", origin: str,
            last: int = 0) -> GivenSchedule:
    count = max(int(steps.max()), last)
    if not 1 <= count <= LONGEST:
        raise BadInput(f"steps {origin} are {count:,}: expected 1 to {LONGEST:,}")
    updates = np.arange(1, count + 1)
    return GivenSchedule(np.interp(updates, steps, lr), np.interp(updates, steps, decay), origin)


@dataclass(frozen=True)
class Trained:
    """How a matrix is trained."""

    schedule: Schedule
    law: Law


def trained_of_table(settings: "pd.DataFrame", matrix: list[str], last: int, optimizers: Optimizers
                     ) -> "dict[tuple[object, ...], Trained | None]":
    """Matrix (its values of the columns `matrix`) -> how it is trained until step `last`.

    `settings` are the rows of SETTINGS. None where no lr, or no decoupled weight decay is known. Both are
    linear between the steps of the table.
    """
    values = settings.set_index([*matrix, "step", "stat"])["value"]
    wide = values.unstack("stat").reindex(columns=list(SETTINGS))
    found: dict[tuple[object, ...], Trained | None] = {}
    for key, rows in wide.groupby(level=matrix):
        rows, role = rows.droplevel([*matrix]), str(key[matrix.index("role")])
        known, shape = rows[[LR, DECAY]].dropna(), rows[[ROWS, COLUMNS]].dropna()
        found[key] = None
        if len(known) and known[LR].max() > 0:
            schedule = _linear(known.index.to_series(), known[LR], known[DECAY], "as recorded", last)
            sides = (int(shape[ROWS].iloc[0]), int(shape[COLUMNS].iloc[0])) if len(shape) else None
            found[key] = Trained(schedule, optimizers.law(role, schedule.decays, sides))
    return found
