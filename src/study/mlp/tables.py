"""Measurements of a grid of MLPs as long tables: models, curves and layers."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.base.labelled import Labelled
from study.mlp.ensemble import Schedule, eval_steps
from study.mlp.grid import Arrays, Group

Parts = dict[str, list[pd.DataFrame]]


def tables(
    trained: Iterable[tuple[Group, Arrays]], data: dict[str, Labelled], schedule: Schedule
) -> dict[str, pd.DataFrame]:
    """Tables by name; runs are numbered through in the order of groups and their models.

    models: run, what it is, and its data's features, classes and mean square input.
    curves: run, step, stat, value (float32): train_loss, val_loss, val_accuracy, test_loss, test_accuracy.
    layers: run, step, layer (from 1), stat, value (float64): second_moment, grad_norm.
    A value at step s is that of the weights after s updates; what is not finite is written as it is.
    """
    parts: Parts = {"models": [], "curves": [], "layers": []}
    first = 0
    for group, arrays in trained:
        runs = np.arange(first, first + len(group.models), dtype=np.int32)
        first += len(runs)
        parts["models"].append(_models(runs, group, data[group.dataset]))
        parts["curves"].append(_curves(runs, arrays, schedule))
        parts["layers"].append(_layers(runs, arrays, schedule))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def _models(runs: NDArray[np.int32], group: Group, data: Labelled) -> pd.DataFrame:
    columns = {
        "run": runs,
        "dataset": group.dataset,
        "optimizer": group.optimizer,
        "depth": group.depth,
        "width": group.width,
        "scheme": [model.scheme for model in group.models],
        "std": [model.std for model in group.models],
        "lr": [model.lr for model in group.models],
        "shared": [model.shared for model in group.models],
        "seed": group.seed,
        "features": data.features,
        "classes": data.classes,
        "input_second_moment": data.second_moment,
    }
    kinds = dict.fromkeys(("depth", "width", "seed", "features", "classes"), np.int32)
    return pd.DataFrame(columns).astype(kinds)


def _curves(runs: NDArray[np.int32], arrays: Arrays, schedule: Schedule) -> pd.DataFrame:
    evals = eval_steps(schedule.steps, schedule.eval_every)
    steps = {
        "train_loss": list(range(schedule.steps)),
        "val_loss": evals,
        "val_accuracy": evals,
        "test_loss": [schedule.steps],
        "test_accuracy": [schedule.steps],
    }
    found = {stat: np.atleast_2d(arrays[stat]) for stat in steps}
    return pd.concat([_rows(runs, steps[stat], stat, found[stat]) for stat in steps], ignore_index=True)


def _layers(runs: NDArray[np.int32], arrays: Arrays, schedule: Schedule) -> pd.DataFrame:
    parts = []
    evals = eval_steps(schedule.steps, schedule.eval_every)[:-1]
    for layer, moment in enumerate(arrays["second_moment"]):
        norm = arrays["grad_norm"][:, layer]
        for rows in (_rows(runs, [0], "second_moment", moment[None]), _rows(runs, evals, "grad_norm", norm)):
            rows.insert(2, "layer", np.int32(layer + 1))
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _rows(runs: NDArray[np.int32], steps: list[int], stat: str, values: NDArray[np.floating]) -> pd.DataFrame:
    """run, step, stat, value of `values` [steps, models], a run's steps together."""
    columns = {
        "run": np.repeat(runs, len(steps)),
        "step": np.tile(np.array(steps, dtype=np.int32), len(runs)),
        "stat": stat,
        "value": values.T.ravel(),
    }
    return pd.DataFrame(columns)
