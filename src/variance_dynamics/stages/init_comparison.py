"""Stage `init_comparison`: E2, init schemes with paired draws over dataset, depth, optimizer, lr and seed."""

from pathlib import Path

from variance_dynamics import params, rows
from variance_dynamics.errors import one_line
from variance_dynamics.inputs.labelled import load
from variance_dynamics.training.comparison import comparison_groups
from variance_dynamics.training.comparison_params import ComparisonParams
from variance_dynamics.training.ensemble import Schedule
from variance_dynamics.training.resumable import Resumable
from variance_dynamics.training.tables import tables

OUT = Path("data/init_comparison")


@one_line
def main() -> None:
    section = params.section(params.read(), "init_comparison", ComparisonParams)
    data = load()
    schedule = Schedule(section.steps, section.eval_every, section.eval_rows)
    grid = Resumable(comparison_groups(section, data), data, schedule, section.optimizers.options())
    for name, table in tables(grid.train(), data, schedule).items():
        rows.write(OUT / f"{name}.parquet", table)
        print(f"{OUT / name}: {len(table)} rows")
    grid.remove()


if __name__ == "__main__":
    main()
