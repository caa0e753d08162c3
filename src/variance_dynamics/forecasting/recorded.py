"""A recorded run beside the null law: the ratio R of every matrix, and a verdict per role."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.json_text import json_object
from variance_dynamics.forecasting.forecast import Floats, Forecast, Schedule, TrainingSchedule, check_std
from variance_dynamics.forecasting.settings import (
    SETTINGS,
    Optimizers,
    Trained,
    schedule_of_file,
    trained_of_table,
)
from variance_dynamics.forecasting.std_table import MATRIX, read_settings, read_std
from variance_dynamics.theory import null_law
from variance_dynamics.theory.laws import Law
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
    at the last one, which are in no verdict. `left_out` are those of which the table does not say the lr and
    the decoupled weight decay.
    """

    std: "pd.DataFrame"
    roles: tuple[RoleVerdict, ...]
    last: int
    broken: int = 0
    incomplete: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where every matrix has a std to judge, else 1."""
        return int(self.broken > 0 or self.incomplete > 0 or bool(self.left_out))

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


def forecast_of(run: str | None, std: float | None, options: dict[str, Any],
                optimizers: Optimizers | None = None, file: str | None = None
                ) -> tuple[Forecast, ComparedRun | None]:
    """A forecast from `options`, fields of TrainingSchedule; with a recorded `run`, compared with it.

    A schedule in a `file` takes the place of the options. Without a file and an lr, each matrix of a
    Tracker's table has the lr and weight decay of the table, and the forecast those of most matrices. What
    the options lack comes from run.json in the run's folder, and the initial std from the run's table (the
    median). Raises BadInput for what is still missing, cannot be read, or is given twice.
    """
    optimizers = optimizers or Optimizers()
    if file and options:
        raise BadInput(f"--{_dashed(options)} beside --schedule-file: expected one of the two")
    if run is None:
        schedule = schedule_of_file(Path(file)) if file else TrainingSchedule(**_complete(options, run))
        if std is None:
            raise BadInput("--std is missing: expected the initial std, or --from with a recorded run")
        check_std(std)
        return Forecast(std, schedule, optimizers.law("", schedule.decays)), None
    table = read_std(Path(run))
    trained = None if file or "lr" in options else _trained(Path(run), table, optimizers)
    if trained and options:
        raise BadInput(f"--{_dashed(options)} without --lr: the table's own lr and weight decay are used: "
                       "expected --lr too, or neither")
    plan, law = _of_most(trained) if trained else _one_for_all(run, file, options, optimizers)
    compared = compare(table, plan, trained, optimizers)
    median = float(table[table["step"] == 0]["value"].median())
    check_std(median if std is None else std)
    return Forecast(median if std is None else std, plan, law), compared


def _complete(options: dict[str, Any], run: str | None) -> dict[str, Any]:
    """The options, with what run.json has of the others."""
    fields = {**(schedule_beside(Path(run)) if run else {}), **options}
    for name in ("lr", "steps"):
        if name not in fields:
            where = " (and neither the recorded run nor a run.json beside it holds it)" if run else ""
            raise BadInput(f"--{name} is missing{where}: expected a number")
    return fields


def _dashed(options: dict[str, Any]) -> str:
    return next(iter(options)).replace("_", "-")


def _one_for_all(run: str, file: str | None, options: dict[str, Any], optimizers: Optimizers
                 ) -> tuple[Schedule, Law]:
    schedule = schedule_of_file(Path(file)) if file else TrainingSchedule(**_complete(options, run))
    return schedule, optimizers.law("", schedule.decays)


def _trained(path: Path, std: "pd.DataFrame", optimizers: Optimizers) -> dict[Any, Trained | None] | None:
    """How each matrix is trained, if the table says it of any."""
    settings = read_settings(path, SETTINGS)
    if settings.empty:
        return None
    last = int(std["step"].max())
    found = trained_of_table(settings, MATRIX, last, optimizers)
    if not any(found.values()):
        raise BadInput(f"{path}: no lr and decoupled weight decay of any matrix: expected them, or --lr")
    return found


def _of_most(trained: dict[Any, Trained | None]) -> tuple[Schedule, Law]:
    """The schedule and law that most matrices have."""
    known = [each for each in trained.values() if each is not None]
    alike = [(each.schedule.rates.tobytes(), each.schedule.decays.tobytes(), each.law) for each in known]
    most = max(range(len(alike)), key=lambda place: alike.count(alike[place]))
    return known[most].schedule, known[most].law


def schedule_beside(path: Path) -> dict[str, Any]:
    """Fields of TrainingSchedule from run.json in the folder of `path`; empty where there is none."""
    file = path.parent / "run.json"
    if not file.is_file():
        return {}
    knobs = json_object(file.read_bytes(), str(file))
    return {field: knobs[key] for key, field in KNOBS.items() if key in knobs}


def compare(std: "pd.DataFrame", schedule: Schedule, trained: dict[Any, Trained | None] | None = None,
            optimizers: Optimizers | None = None) -> ComparedRun:
    """R and the law's std of every matrix at every recorded step of `std`, a table as `read_std` gives it.

    `trained` says of each matrix how it is trained; without it all follow `schedule`, by the `optimizers`.
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
    left_out = [key for key in whole if trained is not None and trained.get(key) is None]
    table = table[~table.set_index(MATRIX).index.isin(left_out)].reset_index(drop=True)
    table = _with_the_law(table, schedule, trained, optimizers or Optimizers())
    broken = table[table[["initial", "measured"]].isna().any(axis=1)].groupby(MATRIX).ngroups
    incomplete = std.groupby(MATRIX).ngroups - len(whole)
    end = table[table["step"] == last]
    verdicts = tuple(_of_role(role, end[end["role"] == role], last) for role in _ordered(end["role"]))
    names = tuple(str(key[MATRIX.index("name")] or key[MATRIX.index("role")]) for key in left_out)
    return ComparedRun(table, verdicts, last, broken, incomplete, names)


def _with_the_law(table: "pd.DataFrame", schedule: Schedule, trained: dict[Any, Trained | None] | None,
                  optimizers: Optimizers) -> "pd.DataFrame":
    """The table with the columns predicted and R."""
    kept, injected = np.full(len(table), np.nan), np.full(len(table), np.nan)
    known: dict[Any, tuple[Floats, Floats]] = {}
    indices: dict[Any, Any] = table.groupby(MATRIX).indices
    for key, places in indices.items():
        role, steps = str(key[MATRIX.index("role")]), table["step"].to_numpy()[places]
        own = trained[key] if trained else Trained(schedule, optimizers.law(role, schedule.decays))
        assert own is not None  # the others are left out
        sigma_0 = float(table["initial"].to_numpy()[places[0]])
        rates, decays = own.schedule.rates, own.schedule.decays
        same = (rates.tobytes(), decays.tobytes(), own.law, None if own.law.settles else sigma_0)
        if same not in known:
            known[same] = null_law.decay(rates, decays), own.law.injected(sigma_0, rates, decays)
        left, noise = known[same]
        kept[places], injected[places] = (sigma_0 * left[steps]) ** 2, noise[steps]
    grown = table["measured"].to_numpy() ** 2 - kept
    ratio = np.divide(grown, injected, out=np.full_like(grown, np.nan), where=injected > 0)
    return table.assign(predicted=np.sqrt(kept + injected), R=ratio)


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
