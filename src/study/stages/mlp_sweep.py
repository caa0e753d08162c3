"""Stage `mlp_sweep`: E1, a grid of initial std over dataset, width, depth, optimizer and seed."""

from pathlib import Path

from study.base import params, runs
from study.base.labelled import load
from study.mlp.ensemble import Schedule
from study.mlp.resumable import Resumable
from study.mlp.sweep import sweep_groups
from study.mlp.sweep_params import MlpSweepParams
from study.mlp.tables import tables
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line

OUT = Path("data/mlp_sweep")


@one_line
@runs.noted("mlp_sweep", OUT)
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
