"""Stage `init_comparison`: E2, init schemes with paired draws over dataset, depth, optimizer, lr and seed."""

from pathlib import Path

from study.base import params, runs
from study.base.labelled import load
from study.mlp.comparison import comparison_groups
from study.mlp.comparison_params import ComparisonParams
from study.mlp.ensemble import Schedule
from study.mlp.resumable import Resumable
from study.mlp.tables import tables
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line

OUT = Path("data/init_comparison")


@one_line
@runs.noted("init_comparison", OUT)
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
