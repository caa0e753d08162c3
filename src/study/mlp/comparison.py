"""E2: init schemes side by side, paired in draws and minibatches, over a grid of learning rates."""

import math
from collections.abc import Iterable
from itertools import product

from study.mlp.comparison_params import ComparisonParams
from study.mlp.grid import Group, Model


def comparison_groups(params: ComparisonParams, datasets: Iterable[str]) -> list[Group]:
    """A group for each dataset, depth, optimizer and seed; its models are every scheme at every lr."""
    groups = []
    chosen = params.optimizers.chosen()
    for dataset, depth, optimizer, seed in product(datasets, params.depths, chosen, range(params.seeds)):
        grid = chosen[optimizer]
        pairs = product(grid.lrs, params.schemes)
        models = tuple(Model(scheme, math.nan, lr, lr == grid.shared_lr) for lr, scheme in pairs)
        batch_size = params.tasks[dataset].batch_size
        groups.append(Group(dataset, optimizer, depth, params.width, seed, batch_size, models))
    return groups
