"""Stage `mlp_sweep`: E1, a grid of initial std over dataset, width, depth, optimizer and seed."""

from pathlib import Path

from variance_dynamics import params, rows
from variance_dynamics.errors import one_line
from variance_dynamics.inputs.labelled import load
from variance_dynamics.training.ensemble import Schedule
from variance_dynamics.training.resumable import Resumable
from variance_dynamics.training.sweep import sweep_groups
from variance_dynamics.training.sweep_params import MlpSweepParams
from variance_dynamics.training.tables import tables

OUT = Path("data/mlp_sweep")


@one_line
def main() -> None:
    section = params.section(params.read(), "mlp_sweep", MlpSweepParams)
    data = load()
    schedule = Schedule(section.steps, section.eval_every, section.eval_rows)
    grid = Resumable(sweep_groups(section, data), data, schedule, section.optimizers.options())
    for name, table in tables(grid.train(), data, schedule).items():
        rows.write(OUT / f"{name}.parquet", table)
        print(f"{OUT / name}: {len(table)} rows")
    grid.remove()


if __name__ == "__main__":
    main()
