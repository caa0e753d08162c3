"""A recorded run beside the null law: per matrix the ratio R, and a verdict per role."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import Schedule
from variance_dynamics.theory import null_law
from variance_dynamics.weights.parameter import BLOCK

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("step", "layer", "role", "stat", "value")
MATRIX = ["layer", "role", "seed", "name"]
"""What tells a matrix. Pretraining's tables have no names; in a Tracker's, a layer may have a role twice."""
STDS = ("initial", "measured", "predicted")
KNOBS = {"lr": "lr", "steps": "steps", "schedule": "schedule", "warmup_steps": "warmup",
         "weight_decay": "weight_decay", "min_lr_ratio": "min_lr_ratio"}
"""What run.json calls the fields of Schedule."""
LAW = (0.8, 1.25)
"""R in this band: the law holds."""
FROM_STEP = 100
"""Adam's momentum starts with an excess of up to 18%; no verdict before this many updates."""


@dataclass(frozen=True)
class RoleVerdict:
    """All matrices of one role at the last recorded step: median std, and R with its range."""

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
class Recorded:
    """`std` has step, MATRIX, initial, measured, predicted, R; `roles` is about step `last`."""

    std: "pd.DataFrame"
    roles: tuple[RoleVerdict, ...]
    last: int

    @property
    def end(self) -> "pd.DataFrame":
        """The rows of the last step."""
        return self.std[self.std["step"] == self.last]

    @property
    def lawful(self) -> int:
        """Matrices whose R at the end is in LAW."""
        return int(self.end["R"].between(*LAW).sum())

    def error(self, way: str) -> float:
        """Mean |ln(way / measured)| of the final std; way is "predicted", or "initial" for no change."""
        return float(np.abs(np.log(self.end[way] / self.end["measured"])).mean())


def schedule_beside(path: Path) -> dict[str, Any]:
    """Fields of Schedule from run.json in the folder of `path`; empty where there is none."""
    file = path.parent / "run.json"
    if not file.is_file():
        return {}
    try:
        knobs = json.loads(file.read_text(encoding="utf-8"))
        return {field: knobs[key] for key, field in KNOBS.items() if key in knobs}
    except (ValueError, TypeError):
        raise BadInput(f"{file}: no JSON object: expected the run's knobs") from None


def read_std(path: Path) -> "pd.DataFrame":
    """step, MATRIX, value: the std of each matrix of one run, or of one arm's seeds.

    Raises BadInput where the file is no table of long rows, or misses step 0.
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


def compared(std: "pd.DataFrame", schedule: Schedule) -> Recorded:
    """R of every matrix at every recorded step: 1 is the law, 0 only decay, below 0 shrinks against it."""
    last = int(std["step"].max())
    if not 0 < last <= schedule.steps:
        raise BadInput(f"last recorded step is {last}: expected 1 to the schedule's {schedule.steps}")
    start = std[std["step"] == 0].set_index(MATRIX)["value"].rename("initial")
    joined = std.rename(columns={"value": "measured"}).join(start, on=MATRIX).dropna(subset="initial")
    left = null_law.decay(schedule.rates, schedule.weight_decay)[joined["step"]]
    noise = null_law.injected(schedule.rates, schedule.weight_decay)[joined["step"]]
    kept = (joined["initial"] * left) ** 2
    grown = joined["measured"] ** 2 - kept
    joined = joined.assign(predicted=np.sqrt(kept + noise), R=grown / np.where(noise > 0, noise, np.nan))
    end = joined[joined["step"] == last]
    verdicts = tuple(_of_role(role, end[end["role"] == role], last) for role in _ordered(end))
    return Recorded(joined, verdicts, last)


def _ordered(end: "pd.DataFrame") -> list[str]:
    found = list(dict.fromkeys(end["role"]))
    return [*(role for role in BLOCK if role in found), *(role for role in found if role not in BLOCK)]


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
    if not LAW[0] <= middle <= LAW[1]:
        return "grows less" if middle < LAW[0] else "grows more"
    outside = int((~ratios.between(*LAW)).sum())
    if outside > len(ratios) / 2:
        return "scattered around the law"
    return f"as the law says, but for {outside} of {len(ratios)}" if outside else "as the law says"
