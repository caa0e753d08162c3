"""Measurements of a grid of MLPs as three tables: models, curves and layers."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.base.labelled import Labelled
from study.mlp.grid import Arrays, MlpGroup
from study.mlp.params import TrainingPlan

Parts = dict[str, list[pd.DataFrame]]


def tables(
    trained: Iterable[tuple[MlpGroup, Arrays]], data: dict[str, Labelled], plan: TrainingPlan
) -> dict[str, pd.DataFrame]:
    """Tables by name. A run is one model; runs are numbered in the order of groups and of models in them.

    models: run, its place in the grid, and the features, classes and mean square input of its data.
    curves: run, step, stat, value (float32): train_loss, val_loss, val_accuracy, test_loss, test_accuracy.
    layers: run, step, layer (from 1), stat, value (float64): second_moment, grad_norm.
    A value at step s is that of the weights after s updates. Values that are not finite stay as they are.
    """
    parts: Parts = {"models": [], "curves": [], "layers": []}
    first = 0
    for group, arrays in trained:
        runs = np.arange(first, first + len(group.models), dtype=np.int32)
        first += len(runs)
        parts["models"].append(_models(runs, group, data[group.dataset]))
        parts["curves"].append(_curves(runs, arrays, plan))
        parts["layers"].append(_layers(runs, arrays, plan))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def _models(runs: NDArray[np.int32], group: MlpGroup, data: Labelled) -> pd.DataFrame:
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


def _curves(runs: NDArray[np.int32], arrays: Arrays, plan: TrainingPlan) -> pd.DataFrame:
    steps_of = {
        "train_loss": list(range(plan.steps)),
        "val_loss": plan.eval_steps,
        "val_accuracy": plan.eval_steps,
        "test_loss": [plan.steps],
        "test_accuracy": [plan.steps],
    }
    parts = [_rows(runs, steps, stat, np.atleast_2d(arrays[stat])) for stat, steps in steps_of.items()]
    return pd.concat(parts, ignore_index=True)


def _layers(runs: NDArray[np.int32], arrays: Arrays, plan: TrainingPlan) -> pd.DataFrame:
    parts, measured = [], plan.eval_steps[:-1]
    for layer, moment in enumerate(arrays["second_moment"]):
        moments = _rows(runs, [0], "second_moment", moment[None])
        norms = _rows(runs, measured, "grad_norm", arrays["grad_norm"][:, layer])
        for rows in (moments, norms):
            rows.insert(2, "layer", np.int32(layer + 1))
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _rows(runs: NDArray[np.int32], steps: list[int], stat: str, values: NDArray[np.floating]) -> pd.DataFrame:
    """The columns run, step, stat, value of `values` [steps, models]; the steps of a run are consecutive."""
    columns = {
        "run": np.repeat(runs, len(steps)),
        "step": np.tile(np.array(steps, dtype=np.int32), len(runs)),
        "stat": stat,
        "value": values.T.ravel(),
    }
    return pd.DataFrame(columns)
