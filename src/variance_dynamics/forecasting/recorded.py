"""A recorded run beside the null law: the ratio R of every matrix, and a verdict per role."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import Forecast, TrainingSchedule, forecast
from variance_dynamics.theory import null_law
from variance_dynamics.theory.null_law import FROM_STEP, HOLDS
from variance_dynamics.weights.parameter import BLOCK

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("step", "layer", "role", "stat", "value")
MATRIX = ["layer", "role", "seed", "name"]
"""Columns that identify a matrix. Pretraining's tables have no names; in a Tracker's table a layer may hold
several matrices of one role."""
STDS = ("initial", "measured", "predicted")
KNOBS = {"lr": "lr", "steps": "steps", "schedule": "schedule", "warmup_steps": "warmup",
         "weight_decay": "weight_decay", "min_lr_ratio": "min_lr_ratio"}
"""Keys of run.json -> fields of TrainingSchedule."""


@dataclass(frozen=True)
class RoleVerdict:
    """All matrices of one role at the last recorded step: median stds, and R with its range."""

    role: str
    matrices: int
    initial: float
    measured: float
    predicted: float
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: str


@dataclass(frozen=True)
class ComparedRun:
    """A recorded run compared with the law.

    `std` has the columns step, MATRIX, initial, measured, predicted and R, one row per matrix and recorded
    step; `roles` is about the last recorded step, `last`.
    """

    std: "pd.DataFrame"
    roles: tuple[RoleVerdict, ...]
    last: int

    @property
    def end(self) -> "pd.DataFrame":
        """The rows of the last step."""
        return self.std[self.std["step"] == self.last]

    @property
    def lawful(self) -> int:
        """The number of matrices for which the law holds at the last step."""
        return int(self.end["R"].between(*HOLDS).sum())

    def error(self, column: str) -> float:
        """Mean |ln(column / measured)| at the last step; `column` is predicted, or initial for no change."""
        return float(np.abs(np.log(self.end[column] / self.end["measured"])).mean())


def forecast_of(run: str | None, std: float | None,
                options: dict[str, Any]) -> tuple[Forecast, ComparedRun | None]:
    """A forecast from `options`, fields of TrainingSchedule; with a recorded `run`, compared with it.

    What the options lack comes from run.json in the run's folder, and the initial std from the run's table
    (the median). Raises BadInput for what is still missing, or cannot be read.
    """
    fields = {**(schedule_beside(Path(run)) if run else {}), **options}
    for name in ("lr", "steps"):
        if name not in fields:
            where = " (and no run.json beside the recorded run holds it)" if run else ""
            raise BadInput(f"--{name} is missing{where}: expected a number")
    if run is None:
        if std is None:
            raise BadInput("--std is missing: expected the initial std, or --from with a recorded run")
        return forecast(std, **fields), None
    table = read_std(Path(run))
    compared = compare(table, TrainingSchedule(**fields))
    median = float(table[table["step"] == 0]["value"].median())
    return forecast(median if std is None else std, **fields), compared


def schedule_beside(path: Path) -> dict[str, Any]:
    """Fields of TrainingSchedule from run.json in the folder of `path`; empty where there is none."""
    file = path.parent / "run.json"
    if not file.is_file():
        return {}
    try:
        knobs = json.loads(file.read_text(encoding="utf-8"))
        return {field: knobs[key] for key, field in KNOBS.items() if key in knobs}
    except (ValueError, TypeError):
        raise BadInput(f"{file}: no JSON object: expected the run's knobs") from None


def read_std(path: Path) -> "pd.DataFrame":
    """The std of each matrix of one run, or of the seeds of one arm; columns step, MATRIX, value.

    Raises BadInput where the file is no table of measurements, or lacks step 0.
    """
    table = _table(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise BadInput(f"{path}: no column {missing[0]}: expected {', '.join(COLUMNS)}, as a Tracker writes")
    if "arm" in table and table["arm"].nunique() > 1:
        raise BadInput(f"{path}: arms {', '.join(map(str, table['arm'].unique()))}: expected one run's table")
    std = table[table["stat"] == "std"].assign(seed=table.get("seed", 0), name=table.get("name", ""))
    if std.empty or (std["step"] == 0).sum() == 0:
        raise BadInput(f"{path}: no std at step 0: expected it, for the law starts from there")
    return std[["step", *MATRIX, "value"]]


def _table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise BadInput(f"{path}: no such file: expected a recorded run in Parquet")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: {str(problem).splitlines()[0][:80]}: expected a Parquet table") from None


def compare(std: "pd.DataFrame", schedule: TrainingSchedule) -> ComparedRun:
    """R and the law's std of every matrix at every recorded step of `std`, a table as `read_std` gives it.

    Raises BadInput where the table ends after the schedule, or at step 0.
    """
    last = int(std["step"].max())
    if not 0 < last <= schedule.steps:
        raise BadInput(f"last recorded step is {last}: expected 1 to the schedule's {schedule.steps}")
    start = std[std["step"] == 0].set_index(MATRIX)["value"].rename("initial")
    table = std.rename(columns={"value": "measured"}).join(start, on=MATRIX).dropna(subset="initial")
    rates, decay, steps = schedule.rates, schedule.weight_decay, table["step"]
    left, noise = null_law.decay(rates, decay)[steps], null_law.injected(rates, decay)[steps]
    predicted = np.sqrt((table["initial"] * left) ** 2 + noise)
    ratio = null_law.injected_ratio(table["measured"], table["initial"], rates, decay, steps)
    table = table.assign(predicted=predicted, R=ratio)
    end = table[table["step"] == last]
    verdicts = tuple(_of_role(role, end[end["role"] == role], last) for role in _ordered(end["role"]))
    return ComparedRun(table, verdicts, last)


def _ordered(roles: "pd.Series[str]") -> list[str]:
    """Each role once: those of a block in its order, then the others."""
    present = list(dict.fromkeys(roles))
    return [*(role for role in BLOCK if role in present), *(role for role in present if role not in BLOCK)]


def _of_role(role: str, rows: "pd.DataFrame", last: int) -> RoleVerdict:
    ratios = rows["R"]
    initial, measured, predicted = (float(rows[name].median()) for name in STDS)
    spread = float(ratios.median()), float(ratios.min()), float(ratios.max())
    return RoleVerdict(role, len(rows), initial, measured, predicted, *spread, _verdict(ratios, last))


def _verdict(ratios: "pd.Series[float]", last: int) -> str:
    if last < FROM_STEP:
        return f"too early to tell (before step {FROM_STEP})"
    middle = float(ratios.median())
    if middle < 0:
        return "shrinks against the law"
    if not HOLDS[0] <= middle <= HOLDS[1]:
        return "grows less" if middle < HOLDS[0] else "grows more"
    outside = int((~ratios.between(*HOLDS)).sum())
    if outside > len(ratios) / 2:
        return "scattered around the law"
    return f"as the law says, but for {outside} of {len(ratios)}" if outside else "as the law says"
