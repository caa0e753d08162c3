"""Labelled data: Wine and digits from scikit-learn, MNIST from its files or the hub, others in its format."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.base.labelled import SPLITS
from study.data.mnist import CLASSES, Pair, others, pairs
from study.data.params import ClassificationParams
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import numpy_generator


@dataclass(frozen=True)
class Raw:
    """A dataset as it is published: x [n, features], y [n] in 0..classes-1.

    `per_feature`: whether each feature is standardised by its own mean and std, or all of them by one.
    The last `test` rows are the test set that was published with it; 0 if there is none.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    classes: int
    per_feature: bool
    test: int = 0


Splits = dict[str, NDArray[Any]]


def wine(params: ClassificationParams) -> Raw:
    """UCI Wine, 178 x 13, 3 cultivars, as scikit-learn ships it."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return Raw(x, y, classes=3, per_feature=True)


def digits(params: ClassificationParams) -> Raw:
    """UCI digits, 1797 images of 8 x 8 pixels in 0..16, as scikit-learn ships them. Not MNIST."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return Raw(x, y, classes=10, per_feature=True)


def mnist(params: ClassificationParams) -> Raw:
    """MNIST, 70000 images of 28 x 28 pixels in 0..255; the last 10000 are its test set."""
    return _images(pairs(params.mnist), CLASSES)


def _images(read: list[Pair], classes: int) -> Raw:
    (x, y), (x_test, y_test) = read
    images, labels = np.concatenate([x, x_test]), np.concatenate([y, y_test])
    return Raw(images, labels, classes, per_feature=False, test=len(x_test))


DATASETS: dict[str, Callable[[ClassificationParams], Raw]] = {"wine": wine, "digits": digits, "mnist": mnist}


def known(params: ClassificationParams) -> dict[str, Callable[[ClassificationParams], Raw]]:
    """DATASETS, and those that params name in `idx`. Raises BadInput where both have one name."""
    for name in params.idx:
        if name in DATASETS:
            names = ", ".join(DATASETS)
            raise BadInput(f"classification.idx has {name!r}: expected a name other than {names}")
    return DATASETS | {name: _named(name, path) for name, path in params.idx.items()}


def _named(name: str, path: str) -> Callable[[ClassificationParams], Raw]:
    return lambda params: _images(*others(f"classification.idx.{name}", path))


def prepare(name: str, params: ClassificationParams) -> tuple[Splits, int]:
    """A dataset's splits and its number of classes.

    The splits are x_train, y_train, x_val and so on: x float32 [n, features], y int64 [n].
    Raises BadInput for an unknown name, damaged files, values that are not finite, labels out of range, or a
    split without a class.
    """
    datasets = known(params)
    if name not in datasets:
        raise BadInput(f"classification.datasets has {name!r}: expected one of {', '.join(datasets)}")
    raw = datasets[name](params)
    check(name, raw)
    rows = split(name, raw, params)
    mean, std = moments(raw.x[rows["train"]], raw.per_feature)
    splits: Splits = {}
    for part, chosen in rows.items():
        splits[f"x_{part}"] = ((raw.x[chosen] - mean) / std).astype(np.float32)
        splits[f"y_{part}"] = raw.y[chosen].astype(np.int64)
    return splits, raw.classes


def check(name: str, raw: Raw) -> None:
    """Refuse NaN or infinite features and labels outside 0..classes-1."""
    bad = np.argwhere(~np.isfinite(raw.x))
    if len(bad):
        row, column = bad[0]
        value = raw.x[row, column]
        raise BadInput(f"dataset {name}: feature {column} of row {row} is {value}: expected a finite number")
    outside = np.flatnonzero((raw.y < 0) | (raw.y >= raw.classes))
    if len(outside):
        row = outside[0]
        raise BadInput(f"dataset {name}: label of row {row} is {raw.y[row]}: expected 0 to {raw.classes - 1}")


def split(name: str, raw: Raw, params: ClassificationParams) -> dict[str, NDArray[np.int64]]:
    """Row numbers of train, val and test in random order. Each split has every class in proportion."""
    random = numpy_generator(params.seed, "split", name)
    parts: dict[str, list[NDArray[np.int64]]] = {part: [] for part in SPLITS}
    free = len(raw.y) - raw.test
    for label in range(raw.classes):
        rows = random.permutation(np.flatnonzero(raw.y[:free] == label))
        n_val = round(len(rows) * params.val_fraction)
        n_test = 0 if raw.test else round(len(rows) * params.test_fraction)
        test, val, train = np.split(rows, [n_test, n_test + n_val])
        own_test = free + np.flatnonzero(raw.y[free:] == label)
        for part, chosen in zip(SPLITS, (train, val, np.concatenate([test, own_test])), strict=True):
            if not len(chosen):
                few = f"class {label} has {len(rows)} rows, none in {part}"
                raise BadInput(f"dataset {name}: {few}: expected at least one in each split")
            parts[part].append(chosen)
    return {part: random.permutation(np.concatenate(rows)) for part, rows in parts.items()}


def moments(x: NDArray[Any], per_feature: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std in float64, of each feature [features] or of all values []; std 1 where nothing varies.

    MNIST needs those of all values: many of its pixels hardly vary, and division by their std would give
    huge inputs.
    """
    axis = 0 if per_feature else None
    mean, std = np.mean(x, axis=axis, dtype=np.float64), np.std(x, axis=axis, dtype=np.float64)
    return np.asarray(mean), np.where(std > 0, std, 1.0)
