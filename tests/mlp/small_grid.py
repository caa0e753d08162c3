"""A small labelled dataset, and groups of MLPs on it."""

import numpy as np
import torch

from study.base.labelled import Labelled
from study.mlp.grid import MlpGroup, Variant

torch.set_num_threads(1)  # as in the workers; more threads do not help with products this small

OPTIONS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
}


def labelled(features=6, classes=3, rows=90, seed=0):
    """Gaussian clusters, one for each class, standardised."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, 2 * rows)
    x = random.standard_normal((classes, features))[y] + 0.7 * random.standard_normal((2 * rows, features))
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    parts = np.split(np.arange(2 * rows), [rows, rows + rows // 2])
    names = ("train", "val", "test")
    x_of, y_of = ({name: v[part] for name, part in zip(names, parts, strict=True)} for v in (x, y))
    return Labelled(x_of, y_of, classes)


def group(models, optimizer="sgd", depth=3, width=8, seed=0, batch_size=16):
    return MlpGroup("clusters", optimizer, depth, width, seed, batch_size, tuple(models))


def normal(*stds, lr=0.1):
    return [Variant("normal", std, lr) for std in stds]
