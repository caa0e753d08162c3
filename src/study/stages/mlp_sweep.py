"""Stage `mlp_sweep`: E1, a grid of initial std over dataset, width, depth, optimizer and seed."""

from pathlib import Path

from study.base import params, runs
from study.base.labelled import load
from study.mlp.experiments import mlp_sweep_groups, train_and_write
from study.mlp.params import MlpSweepParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/mlp_sweep")


@one_line
@runs.noted("mlp_sweep", OUT)
def main() -> None:
    section = params.section(params.read(), "mlp_sweep", MlpSweepParams)
    data = load()
    train_and_write(section, mlp_sweep_groups(section, data), data, OUT)


if __name__ == "__main__":
    main()
