"""MNIST from its files or the hub: 60000 and 10000 images of 28 x 28 pixels in 0..255, with labels.

The files are in IDX: a magic number, the sizes (big-endian, 32 bits each), then unsigned bytes.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from study.data import hub
from study.data.params import MnistParams
from variance_dynamics.base.errors import BadInput

CLASSES = 10
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]
UNSIGNED_BYTE = 0x08
"""IDX's code for this type of data."""
MOST = 1 << 30
"""The most bytes of data that a header may announce. Beyond what it announces, nothing is unpacked."""


def pairs(params: MnistParams) -> Pairs:
    """Images [n, 784] and labels [n] of the training set, then those of the test set."""
    return from_files(Path(params.path)) if params.source == "files" else from_hub(params)


def find(folder: Path, name: str) -> Path:
    """The file of that name, plain or gzip, in either of its two usual spellings. Raises BadInput."""
    spellings = (name, name.replace("-idx", ".idx"))
    for each in (f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz")):
        if (folder / each).is_file():
            return folder / each
    where = f"classification.mnist.path is {folder}"
    raise BadInput(f"{where}: no {name} there: expected four IDX files, plain or gzip")


def from_files(folder: Path) -> Pairs:
    """The four IDX files of a folder. Raises BadInput with the name of a file that is missing or wrong."""
    return [_pair(find(folder, images), find(folder, labels)) for images, labels in FILES.values()]


def _pair(image_path: Path, label_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
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


def from_hub(params: MnistParams) -> Pairs:
    """The same arrays from a data set on the hub with the columns image and label, at the pinned commit."""
    loaded = []
    for split in FILES:
        chosen = {"split": split, "revision": params.hub_revision}
        arrays = hub.load("classification.mnist", params.hub_name, chosen).with_format("numpy")
        images = np.asarray(arrays["image"][:], dtype=np.uint8)
        loaded.append((images.reshape(len(images), -1), np.asarray(arrays["label"][:])))
    return loaded
