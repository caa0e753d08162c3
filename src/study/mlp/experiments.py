"""E1 and E2: their groups of models, and their training, which continues after the process was killed."""

import hashlib
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch

from study.base import checkpoint
from study.base.labelled import Labelled
from study.mlp.grid import Arrays, MlpGroup, Options, Variant, train_grid
from study.mlp.params import InitComparisonParams, MlpExperiment, MlpSweepParams, Stds, TrainingPlan
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
) -> "Resumable":
    """Train the groups and write the tables of `tables`, each as NAME.parquet, to the folder `out`."""
    grid = Resumable(groups, data, params.plan, params.optimizers.options())
    for name, table in tables(grid.train(), data, params.plan).items():
        rows.write(out / f"{name}.parquet", table)
        print(f"{out / name}: {len(table)} rows")
    return grid


class Resumable:
    """`train_grid`, with a checkpoint folder for each finished group, named by its number.

    If the process is killed, the next one does not train the finished groups again, and the measurements of
    all groups have the same bytes as those of a process that was not killed.
    """

    def __init__(
        self, groups: list[MlpGroup], labelled: dict[str, Labelled], plan: TrainingPlan, options: Options
    ) -> None:
        self.groups, self.labelled, self.plan, self.options = groups, labelled, plan, options
        data = {name: fingerprint(labels) for name, labels in labelled.items()}
        facts = [asdict(group) for group in groups], data, asdict(plan), options
        self.place = checkpoint.folder(*facts)
        self.places = [self.place / f"group-{number}" for number in range(len(groups))]

    def train(self) -> Iterator[tuple[MlpGroup, Arrays]]:
        """Each group, in order, with its measurements."""
        kept = [checkpoint.latest(place) for place in self.places]
        left = [group for group, saved in zip(self.groups, kept, strict=True) if saved is None]
        if len(left) < len(kept):
            print(f"{len(kept) - len(left)} of {len(kept)} groups are finished already", file=sys.stderr)
        trained = train_grid(left, self.labelled, self.plan, self.options)
        for group, place, saved in zip(self.groups, self.places, kept, strict=True):
            if saved is not None:
                yield group, {name: value.numpy() for name, value in saved.items()}
                continue
            _, arrays = next(trained)
            state = {name: torch.from_numpy(value) for name, value in arrays.items()}
            checkpoint.save(place, self.plan.steps, state)
            yield group, arrays


def fingerprint(labels: Labelled) -> str:
    """sha256 of a dataset's arrays."""
    total = hashlib.sha256(str(labels.classes).encode())
    for split in sorted(labels.x):
        x, y = labels.x[split], labels.y[split]
        total.update(f"{split} {x.dtype} {x.shape} {y.dtype}".encode() + x.tobytes() + y.tobytes())
    return total.hexdigest()
