"""Stage `init_comparison`: E2, schemes with paired draws over dataset, depth, optimizer, lr and seed."""

from pathlib import Path

from study.base import checkpoint_folder, guard, params, runs
from study.base.labelled import FOLDER, load
from study.mlp.experiments import init_comparison_groups, train_and_write
from study.mlp.params import InitComparisonParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/init_comparison")
KNOBS = params.only("init_comparison")


@one_line
def main() -> None:
    with runs.noted("init_comparison", OUT, KNOBS), guard.unchanged(OUT, KNOBS, [FOLDER]):
        section = params.section(params.read(), "init_comparison", InitComparisonParams)
        data = load()
        grid = train_and_write(section, init_comparison_groups(section, data), data, OUT)
    checkpoint_folder.finish(grid.place, OUT)


if __name__ == "__main__":
    main()
