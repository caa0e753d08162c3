"""Raw tables of E1 and E2 made to order: edges, steps to threshold and accuracies are put in."""

import itertools

import numpy as np
import pandas as pd

TASKS = {"wine": (13, 3), "digits": (64, 10)}  # features, classes
STDS = np.logspace(-3, 1, 97)  # 24 a decade
STEPS = 40
EARLY = 3  # a mean of 5 losses, some at ln K and the rest at .1 ln K, is below .5 ln K once 3 are low


def params():
    """The section `analyze` as it stands in params.yaml."""
    from study.analysis.params import AnalyzeParams
    from study.base import params as read

    return read.section(read.read(), "analyze", AnalyzeParams)


def fan_factor(depth, width, features, second_moment=1.0):
    """Natural axis at std 1, as SCIENCE.md writes it: (product of g_l)^(1/(2L))."""
    return (features * second_moment * (width / 2) ** (depth - 1)) ** (1 / (2 * depth))


def sweep(edge, datasets=("digits",), optimizers=("sgd",), depths=(4, 8), widths=(64, 128, 256), seeds=5,
          stds=STDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """models, curves: a model trains within edge(dataset, optimizer, depth, width, seed) = (lower, upper).

    Below, it stays at ln K; above, its loss is 10 ln K, and not finite beyond twice the upper edge.
    """
    models, losses = [], []
    for cell in itertools.product(datasets, optimizers, depths, widths, range(seeds)):
        *shape, seed = cell
        features, classes = TASKS[cell[0]]
        low, high = edge(*cell)
        for std in stds:
            models.append((*shape, "normal", std, 0.05, seed, features, classes, 1.0))
            away = np.log(std / np.sqrt(low * high)) ** 2
            good = 0.1 + 0.1 * away / (1 + away)
            ratio = 1.0 if std < low else good if std < high else 10.0 if std < 2 * high else np.inf
            losses.append(np.full(STEPS, ratio * np.log(classes)))
    names = "dataset optimizer depth width scheme std lr seed features classes input_second_moment"
    frame = pd.DataFrame(models, columns=names.split())
    frame.insert(0, "run", np.arange(len(frame), dtype=np.int32))
    return frame, curves(frame, np.array(losses))


def comparison(steps, accuracy, schemes=("kaiming", "xavier", "xavier_sqrt2"), datasets=("digits",),
               optimizers=("sgd",), depths=(3, 10), lrs=(0.01, 0.1, 1.0), shared=0.1, seeds=10
               ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """models, curves: the loss falls from ln K to .1 ln K at step steps(optimizer, depth, scheme, lr, seed).

    At STEPS or beyond it never does. accuracy(...) of the same is the final one; 1 - accuracy the final
    validation loss.
    """
    models, losses, final = [], [], []
    for dataset, *cell in itertools.product(datasets, optimizers, depths, schemes, lrs, range(seeds)):
        optimizer, depth, scheme, lr, seed = cell
        task = (*TASKS[dataset], 1.0)
        models.append((dataset, optimizer, depth, 64, scheme, np.nan, lr, seed, *task, lr == shared))
        losses.append(np.where(np.arange(STEPS) < steps(*cell), 1.0, 0.1) * np.log(task[1]))
        final.append(accuracy(*cell))
    names = "dataset optimizer depth width scheme std lr seed features classes input_second_moment shared"
    frame = pd.DataFrame(models, columns=names.split())
    frame.insert(0, "run", np.arange(len(frame), dtype=np.int32))
    return frame, curves(frame, np.array(losses), np.array(final))


def curves(models, losses, accuracy=None):
    """Every step's train loss, and evaluations at the start and at the end."""
    runs, steps = losses.shape
    accuracy = np.full(runs, 0.5) if accuracy is None else accuracy
    parts = [pd.DataFrame({"run": np.repeat(models["run"], steps), "step": np.tile(np.arange(steps), runs),
                           "stat": "train_loss", "value": losses.ravel()})]
    for step, stat, value in ((0, "val_loss", np.log(models["classes"])), (steps, "val_loss", 1 - accuracy),
                              (0, "val_accuracy", 1 / models["classes"]), (steps, "val_accuracy", accuracy),
                              (steps, "test_loss", 1 - accuracy), (steps, "test_accuracy", accuracy)):
        parts.append(pd.DataFrame({"run": models["run"], "step": step, "stat": stat, "value": value}))
    kinds = {"run": np.int32, "step": np.int32, "value": np.float32}
    return pd.concat(parts, ignore_index=True).astype(kinds)
