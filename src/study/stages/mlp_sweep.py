"""Stage `mlp_sweep`: E1, a grid of initial std over dataset, width, depth, optimizer and seed."""

from pathlib import Path

from study.base import checkpoint_folder, guard, params, runs
from study.base.labelled import FOLDER, load
from study.mlp.experiments import mlp_sweep_groups, train_and_write
from study.mlp.params import MlpSweepParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/mlp_sweep")
KNOBS = params.only("mlp_sweep")


@one_line
def main() -> None:
    with runs.noted("mlp_sweep", OUT, KNOBS), guard.unchanged(OUT, KNOBS, [FOLDER]):
        section = params.section(params.read(), "mlp_sweep", MlpSweepParams)
        data = load()
        grid = train_and_write(section, mlp_sweep_groups(section, data), data, OUT)
    checkpoint_folder.finish(grid.place, OUT)


if __name__ == "__main__":
    main()
