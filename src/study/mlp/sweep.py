"""E1: the same MLPs over a grid of initial std."""

import math
from collections.abc import Iterable
from itertools import product

from study.mlp.grid import Group, Model
from study.mlp.sweep_params import MlpSweepParams, Stds


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


def sweep_groups(params: MlpSweepParams, datasets: Iterable[str]) -> list[Group]:
    """A group for each dataset, width, depth, optimizer and seed; its models differ in std alone."""
    groups = []
    for dataset in datasets:
        task = params.tasks[dataset]
        chosen = params.optimizers.chosen()
        for width, depth, optimizer, seed in product(task.widths, params.depths, chosen, range(params.seeds)):
            lr = chosen[optimizer].lr
            models = tuple(Model("normal", std, lr) for std in std_grid(params.stds, width))
            groups.append(Group(dataset, optimizer, depth, width, seed, task.batch_size, models))
    return groups
