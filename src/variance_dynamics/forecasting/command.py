"""From options, and a recorded run if there is one, to a forecast."""

from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import Forecast, Schedule, forecast
from variance_dynamics.forecasting.recorded import Recorded, compared, read_std, schedule_beside


def forecast_of(run: str | None, std: float | None,
                given: dict[str, Any]) -> tuple[Forecast, Recorded | None]:
    """`given` holds fields of Schedule; what it lacks comes from the recorded run's folder, if any."""
    fields = {**(schedule_beside(Path(run)) if run else {}), **given}
    for name in ("lr", "steps"):
        if name not in fields:
            where = " (no run.json beside the recorded run says it)" if run else ""
            raise BadInput(f"--{name} is missing{where}: expected a number")
    if run is None:
        if std is None:
            raise BadInput("--std is missing: expected the initial std, or --from with a recorded run")
        return forecast(std, **fields), None
    table = read_std(Path(run))
    recorded = compared(table, Schedule(**fields))
    median = float(table[table["step"] == 0]["value"].median())
    return forecast(median if std is None else std, **fields), recorded
