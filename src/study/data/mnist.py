"""MNIST from its files or the hub: 60000 and 10000 images of 28 x 28 pixels in 0..255, with labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.data import hub, idx
from study.data.classification_params import MnistParams
from variance_dynamics.base.errors import BadInput

CLASSES = 10
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]


def pairs(params: MnistParams) -> Pairs:
    """Images [n, 784] and labels [n] to train on, then those to test with."""
    return from_files(Path(params.path)) if params.source == "files" else from_hub(params)


def find(folder: Path, name: str) -> Path:
    """The file of that name, plain or gzip, under either of the two spellings in use."""
    spellings = (name, name.replace("-idx", ".idx"))
    for each in (f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz")):
        if (folder / each).is_file():
            return folder / each
    where = f"classification.mnist.path is {folder}"
    raise BadInput(f"{where}: no {name} there: expected four IDX files, plain or gzip")


def from_files(folder: Path) -> Pairs:
    """The four IDX files of a folder. Raises BadInput naming the file that is not what it should be."""
    return [_pair(find(folder, images), find(folder, labels)) for images, labels in FILES.values()]


def _pair(image_path: Path, label_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = idx.read(image_path, 3), idx.read(label_path, 1)
    n, height, width = images.shape
    if (height, width) != (28, 28):
        raise BadInput(f"{image_path}: images of {height} x {width}: expected 28 x 28")
    if len(labels) != n:
        raise BadInput(f"{label_path}: {len(labels)} labels: expected {n}, as {image_path.name} has")
    outside = np.flatnonzero(labels >= CLASSES)
    if len(outside):
        row = outside[0]
        raise BadInput(f"{label_path}: label {row} is {labels[row]}: expected 0 to {CLASSES - 1}")
    return images.reshape(n, -1), labels


def from_hub(params: MnistParams) -> Pairs:
    """The same at the pinned revision of a data set with the columns image and label."""
    loaded = []
    for split in FILES:
        chosen = {"split": split, "revision": params.hub_revision}
        arrays = hub.load("classification.mnist", params.hub_name, chosen).with_format("numpy")
        images = np.asarray(arrays["image"][:], dtype=np.uint8)
        loaded.append((images.reshape(len(images), -1), np.asarray(arrays["label"][:])))
    return loaded
