"""MNIST from its files or the hub, and others in its format: images of 28 x 28 pixels in 0..255, with labels.

The files are in IDX: a magic number, the sizes (big-endian, 32 bits each), then unsigned bytes.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from study.data import hub
from study.data.files import check
from study.data.params import MnistParams
from variance_dynamics.base.errors import BadInput

CLASSES = 10
"""Of MNIST itself. Other data in its format have as many as their labels show."""
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
Pair = tuple[NDArray[Any], NDArray[Any]]
Paths = list[tuple[Path, Path]]
"""The files of images and of labels: those of the training set, then those of the test set."""
MNIST = "classification.mnist.path"
UNSIGNED_BYTE = 0x08
"""IDX's code for this type of data."""
MOST = 1 << 30
"""The most bytes of data that a header may announce. Beyond what it announces, nothing is unpacked."""


def pairs(params: MnistParams) -> list[Pair]:
    """MNIST's images [n, 784] and labels [n] of the training set, then those of the test set.

    Raises BadInput with the name of a file that is missing or wrong.
    """
    if params.source == "hub":
        return from_hub(params)
    found = find(MNIST, params.path)
    read = [_pair(*paths) for paths in found]
    for (_, labels), (_, path) in zip(read, found, strict=True):
        _check_labels(path, labels, 0, CLASSES, "; classification.idx names other data")
    return read


def others(where: str, path: str) -> tuple[list[Pair], int]:
    """Images and labels of other data in the same four files, and the number of classes.

    The training set's labels count from 0 or from 1; those returned count from 0. Each class is in it.
    """
    found = find(where, path)
    read = [_pair(*paths) for paths in found]
    labels = np.unique(read[0][1])
    first = int(labels[0]) if len(labels) else 0
    if not len(labels) or first > 1 or not np.array_equal(labels, first + np.arange(len(labels))):
        some = ", ".join(map(str, labels[:50]))
        raise BadInput(f"{found[0][1]}: labels {some}: expected whole numbers from 0 or 1 without a gap")
    _check_labels(found[1][1], read[1][1], first, len(labels))
    if first:
        print(f"{where}: labels {first} to {labels[-1]} are classes 0 to {len(labels) - 1}")
    return [(images, each - np.uint8(first)) for images, each in read], len(labels)


def find(where: str, path: str) -> Paths:
    """The four files of a folder, plain or gzip, in the layouts in which they are published.

    `path` is the folder, or in a folder of several data sets the folder and the start of their names, as in
    emnist/emnist-letters. Raises BadInput, which starts with `where`, when a file is missing or when several
    files of one name are not the same.
    """
    folder = Path(path)
    return [(_one(where, folder, images), _one(where, folder, labels)) for images, labels in FILES.values()]


def _one(where: str, path: Path, name: str) -> Path:
    found = [check(each) for each in _candidates(path, name) if each.is_file()]
    if not found:
        raise BadInput(f"{where} is {path}: no {name} there: expected four IDX files, plain or gzip")
    dimensions = 3 if "idx3" in name else 1
    for other in found[1:]:
        if not np.array_equal(read_idx(found[0], dimensions), read_idx(other, dimensions)):
            raise BadInput(f"{where} is {path}: {found[0]} and {other} differ: expected one of them")
    return found[0]


def _candidates(path: Path, name: str) -> Iterator[Path]:
    """Where a file may lie: torchvision has folders MNIST/raw, and Kaggle one of the same name around it."""
    folder, prefix = (path, "") if path.is_dir() else (path.parent, f"{path.name}-")
    names = [prefix + spelling for spelling in (name, name.replace("t10k", "test"))]
    spellings = dict.fromkeys(each for one in names for each in (one, one.replace("-idx", ".idx")))
    for place in (folder, folder / "raw", *sorted(folder.glob("*/raw"))):
        for spelling in spellings:
            yield from (place / f"{spelling}{suffix}" for suffix in ("", ".gz"))
            yield place / spelling / spelling


def _pair(image_path: Path, label_path: Path) -> Pair:
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    n, height, width = images.shape
    if (height, width) != (28, 28):
        raise BadInput(f"{image_path}: images of {height} x {width}: expected 28 x 28")
    if len(labels) != n:
        raise BadInput(f"{label_path}: {len(labels)} labels: expected {n}, as {image_path.name} has")
    return images.reshape(n, height * width), labels


def _check_labels(path: Path, labels: NDArray[Any], first: int, classes: int, hint: str = "") -> None:
    outside = np.flatnonzero((labels < first) | (labels >= first + classes))
    if len(outside):
        row = outside[0]
        expected = f"expected {first} to {first + classes - 1}{hint}"
        raise BadInput(f"{path}: label {row} is {labels[row]}: {expected}")


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes. Its content decides whether it is gzip, not its name.

    Raises BadInput for a file that is missing, is not IDX, has another number of dimensions, announces more
    than `MOST` bytes, or has more or fewer bytes than its header announces.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _array(path, gzip.GzipFile(fileobj=file) if packed else file, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise BadInput(f"{path}: damaged gzip ({problem}): expected a whole file") from None
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}: expected an IDX file") from None


def _array(path: Path, content: BinaryIO | gzip.GzipFile, dimensions: int) -> NDArray[np.uint8]:
    length = 4 + 4 * dimensions
    header = content.read(length)
    if len(header) < length:
        raise BadInput(f"{path}: {len(header)} bytes: expected at least the {length} of an IDX header")
    magic = int.from_bytes(header[:4], "big")
    expected = UNSIGNED_BYTE << 8 | dimensions
    if magic != expected:
        raise BadInput(f"{path}: magic number {magic:#010x}: expected {expected:#010x}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size, sizes = math.prod(shape), " x ".join(map(str, shape))
    if size > MOST:
        raise BadInput(f"{path}: {sizes} bytes of data: expected at most {MOST}")
    data = content.read(size)
    more = "more than " if content.read(1) else ""
    if more or len(data) != size:
        raise BadInput(f"{path}: {more}{len(data)} bytes of data: expected {size} ({sizes})")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def from_hub(params: MnistParams) -> list[Pair]:
    """The same arrays from a data set on the hub with the columns image and label, at the pinned commit."""
    loaded = []
    for split in FILES:
        chosen = {"split": split, "revision": params.hub_revision}
        arrays = hub.load("classification.mnist", params.hub_name, chosen).with_format("numpy")
        images = np.asarray(arrays["image"][:], dtype=np.uint8)
        loaded.append((images.reshape(len(images), -1), np.asarray(arrays["label"][:])))
    return loaded
