"""The groups of models of E1 and E2, and the training of all of an experiment's groups into its tables."""

import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from study.base.labelled import Labelled
from study.mlp.grid import MlpGroup, Variant
from study.mlp.params import InitComparisonParams, MlpExperiment, MlpSweepParams, Stds
from study.mlp.resumable import Resumable
from study.mlp.tables import tables
from variance_dynamics.base import rows


def std_grid(stds: Stds, width: int) -> list[float]:
    """Log-spaced stds, ascending: a fine lattice from `low` to `high`, thinned away from the critical std.

    The critical std of a ReLU layer is sqrt(2 / width). He et al. 2015, arXiv 1502.01852.
    """
    critical = math.sqrt(2 / width)
    fine, thin = stds.refined_per_decade, stds.refined_per_decade // stds.per_decade
    lattice = range(math.floor(fine * math.log10(stds.high / stds.low) + 1e-9) + 1)
    near = (critical / stds.refined_below, critical * stds.refined_above)
    points = {i: stds.low * 10 ** (i / fine) for i in lattice}
    return [std for i, std in points.items() if i % thin == 0 or near[0] <= std <= near[1]]


def mlp_sweep_groups(params: MlpSweepParams, datasets: Iterable[str]) -> list[MlpGroup]:
    """E1: a group for each dataset, width, depth, optimizer and seed. Its models differ in their std only."""
    groups = []
    for dataset in datasets:
        task = params.tasks[dataset]
        chosen = params.optimizers.chosen()
        for width, depth, optimizer, seed in product(task.widths, params.depths, chosen, range(params.seeds)):
            lr = chosen[optimizer].lr
            models = tuple(Variant("normal", std, lr) for std in std_grid(params.stds, width))
            groups.append(MlpGroup(dataset, optimizer, depth, width, seed, task.batch_size, models))
    return groups


def init_comparison_groups(params: InitComparisonParams, datasets: Iterable[str]) -> list[MlpGroup]:
    """E2: a group for each dataset, depth, optimizer and seed. Its models are every scheme at every lr."""
    groups = []
    chosen = params.optimizers.chosen()
    for dataset, depth, optimizer, seed in product(datasets, params.depths, chosen, range(params.seeds)):
        grid = chosen[optimizer]
        pairs = product(grid.lrs, params.schemes)
        models = tuple(Variant(scheme, math.nan, lr, lr == grid.shared_lr) for lr, scheme in pairs)
        batch_size = params.tasks[dataset].batch_size
        groups.append(MlpGroup(dataset, optimizer, depth, params.width, seed, batch_size, models))
    return groups


def train_and_write(
    params: MlpExperiment, groups: list[MlpGroup], data: dict[str, Labelled], out: Path
) -> None:
    """Train the groups and write the tables of `tables`, each as NAME.parquet, to the folder `out`.

    If the process is killed, a later call with the same arguments does not train finished groups again.
    """
    grid = Resumable(groups, data, params.plan, params.optimizers.options())
    for name, table in tables(grid.train(), data, params.plan).items():
        rows.write(out / f"{name}.parquet", table)
        print(f"{out / name}: {len(table)} rows")
    grid.remove()
