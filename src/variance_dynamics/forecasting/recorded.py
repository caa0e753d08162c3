"""A recorded run beside the null law: the ratio R of every matrix, and a verdict per role."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.json_text import json_object
from variance_dynamics.forecasting.forecast import Forecast, TrainingSchedule, forecast
from variance_dynamics.forecasting.std_table import MATRIX, read_std
from variance_dynamics.theory import null_law
from variance_dynamics.theory.null_law import FROM_STEP, HOLDS
from variance_dynamics.weights.parameter import BLOCK

if TYPE_CHECKING:
    import pandas as pd

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
    step; what is no finite std is NaN in it. `roles` is about the last recorded step, `last`. `broken` counts
    matrices with a std that is NaN or infinite at any step, and `incomplete` those without a std at step 0 or
    at the last one, which are in no verdict.
    """

    std: "pd.DataFrame"
    roles: tuple[RoleVerdict, ...]
    last: int
    broken: int = 0
    incomplete: int = 0

    @property
    def exit_code(self) -> int:
        """0 where every matrix has a std to judge, else 1."""
        return int(self.broken > 0 or self.incomplete > 0)

    @property
    def end(self) -> "pd.DataFrame":
        """The rows of the last step."""
        return self.std[self.std["step"] == self.last]

    @property
    def lawful(self) -> int:
        """The number of matrices for which the law holds at the last step."""
        return int(self.end["R"].between(*HOLDS).sum())

    def error(self, column: str) -> float:
        """Mean |ln(column / measured)| at the last step; `column` is predicted, or initial for no change.

        Infinite where a std is 0; matrices that are not finite are left out.
        """
        end = self.end.dropna(subset=["initial", "measured"])
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.abs(np.log(end[column] / end["measured"])).mean())


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
    knobs = json_object(file.read_bytes(), str(file))
    return {field: knobs[key] for key, field in KNOBS.items() if key in knobs}


def compare(std: "pd.DataFrame", schedule: TrainingSchedule) -> ComparedRun:
    """R and the law's std of every matrix at every recorded step of `std`, a table as `read_std` gives it.

    Raises BadInput where the table ends after the schedule, or at step 0.
    """
    last = int(std["step"].max())
    if not 0 < last <= schedule.steps:
        raise BadInput(f"last recorded step is {last}: expected 1 to the schedule's {schedule.steps}")
    start = std[std["step"] == 0].set_index(MATRIX)["value"].rename("initial")
    counts = std[std["step"].isin([0, last])].groupby(MATRIX).size()
    whole = counts.index[counts == 2]
    table = std.rename(columns={"value": "measured"}).join(start, on=MATRIX)
    table = table[table.set_index(MATRIX).index.isin(whole)].reset_index(drop=True)
    if table.empty:
        raise BadInput(f"no matrix has a std at step 0 and at the last step, {last}: expected a run's table")
    rates, decay, steps = schedule.rates, schedule.weight_decay, table["step"]
    left, noise = null_law.decay(rates, decay)[steps], null_law.injected(rates, decay)[steps]
    predicted = np.sqrt((table["initial"] * left) ** 2 + noise)
    ratio = null_law.injected_ratio(table["measured"], table["initial"], rates, decay, steps)
    table = table.assign(predicted=predicted, R=ratio)
    broken = table[table[["initial", "measured"]].isna().any(axis=1)].groupby(MATRIX).ngroups
    incomplete = std.groupby(MATRIX).ngroups - len(whole)
    end = table[table["step"] == last]
    verdicts = tuple(_of_role(role, end[end["role"] == role], last) for role in _ordered(end["role"]))
    return ComparedRun(table, verdicts, last, broken, incomplete)


def _ordered(roles: "pd.Series[str]") -> list[str]:
    """Each role once: those of a block in its order, then the others."""
    present = list(dict.fromkeys(roles))
    return [*(role for role in BLOCK if role in present), *(role for role in present if role not in BLOCK)]


def _of_role(role: str, rows: "pd.DataFrame", last: int) -> RoleVerdict:
    ratios = rows["R"].dropna()
    initial, measured, predicted = (float(rows[name].median()) for name in STDS)
    spread = float(ratios.median()), float(ratios.min()), float(ratios.max())
    broken = len(rows) - len(ratios)
    verdicts = [_verdict(ratios, last)] if len(ratios) else []
    verdict = "; ".join([*verdicts, *([f"{broken} of {len(rows)} NaN or infinite"] if broken else [])])
    return RoleVerdict(role, len(rows), initial, measured, predicted, *spread, verdict)


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
