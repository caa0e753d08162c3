"""MNIST's IDX files: read whole, or refused in one line that names the file."""

import gzip
import hashlib
import struct

import datasets
import numpy as np
import pytest

from study.data import mnist
from study.data.params import MnistParams
from variance_dynamics.base.errors import BadInput

RANDOM = np.random.default_rng(0)
SIZES = {"train": 30, "test": 20}


def encoded(array, kind=0x08):
    """An IDX file, written after the description of the format, without the reader's code."""
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    return {
        name: RANDOM.integers(0, 256, (SIZES[split], 28, 28), dtype=np.uint8)
        if "images" in name
        else RANDOM.integers(0, 10, SIZES[split], dtype=np.uint8)
        for split, names in mnist.FILES.items()
        for name in names
    }


@pytest.fixture
def folder(tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(encoded(array))
    return tmp_path


def read(folder):
    return mnist.pairs(MnistParams(source="files", path=str(folder), hub_name="-", hub_revision="0" * 40))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_arrays_come_back_whatever_the_name_says(tmp_path, pack, suffix):
    array = RANDOM.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    path = tmp_path / f"some-idx3-ubyte{suffix}"
    path.write_bytes(pack(encoded(array)))
    np.testing.assert_array_equal(mnist.read_idx(path, 3), array)


def test_the_four_files_in_any_spelling_and_packing(folder, arrays):
    name = "t10k-images-idx3-ubyte"
    (folder / name).unlink()
    (folder / "t10k-images.idx3-ubyte.gz").write_bytes(gzip.compress(encoded(arrays[name])))
    (x, y), (x_test, y_test) = read(folder)
    np.testing.assert_array_equal(x, arrays["train-images-idx3-ubyte"].reshape(30, 784))
    np.testing.assert_array_equal(x_test, arrays[name].reshape(20, 784))
    np.testing.assert_array_equal(y, arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(y_test, arrays["t10k-labels-idx1-ubyte"])


IMAGES, LABELS = mnist.FILES["train"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
A = np.zeros((30, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, LFS, "a pointer of git-LFS: expected the file itself"),
        (IMAGES, encoded(A)[:-1], "23519 bytes of data: expected 23520 (30 x 28 x 28)"),
        (IMAGES, encoded(A) + b"x", "more than 23520 bytes of data: expected 23520"),
        (IMAGES, encoded(A)[:10], "10 bytes: expected at least the 16 of an IDX header"),
        (IMAGES, b"", "0 bytes: expected at least"),
        (IMAGES, gzip.compress(encoded(A))[:-20], "damaged gzip"),
        (IMAGES, gzip.compress(encoded(A))[:-4] + b"xxxx", "damaged gzip"),
        (IMAGES, encoded(A[:, 0]), "magic number 0x00000802: expected 0x00000803"),
        (IMAGES, encoded(A, kind=0x0D), "magic number 0x00000d03: expected 0x00000803"),
        (IMAGES, encoded(A[:, :14]), "images of 14 x 28: expected 28 x 28"),
        (LABELS, encoded(np.zeros(29, np.uint8)), "29 labels: expected 30, as train-images-idx3-ubyte has"),
        (LABELS, encoded(np.arange(30, dtype=np.uint8)), "label 10 is 10: expected 0 to 9"),
        (LABELS, None, "no train-labels-idx1-ubyte there: expected four IDX files"),
    ],
)
def test_files_that_are_wrong_are_refused_in_one_line(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(BadInput) as problem:
        read(folder)
    assert message in str(problem.value) and str(folder) in str(problem.value)
    assert "\n" not in str(problem.value)


LAYOUTS = {
    "Kaggle": "{name}/{name}",
    "Kaggle's other": "{dotted}",
    "torchvision": "MNIST/raw/{name}",
    "torchvision's folder": "raw/{name}.gz",
    "EMNIST": "{test}.gz",
}


def lay_out(folder, files, layout, prefix=""):
    for name, array in files.items():
        spelled = {"name": name, "dotted": name.replace("-idx", ".idx"), "test": name.replace("t10k", "test")}
        path = folder / (prefix + layout.format(**spelled))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(encoded(array)) if path.suffix == ".gz" else encoded(array))


def same(read, arrays):
    for (x, y), (images, labels) in zip(read, mnist.FILES.values(), strict=True):
        np.testing.assert_array_equal(x, arrays[images].reshape(len(x), 784))
        np.testing.assert_array_equal(y, arrays[labels])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layouts_in_which_it_is_published(tmp_path, arrays, layout):
    lay_out(tmp_path, arrays, layout)
    same(read(tmp_path), arrays)


SECOND = ["{name}.gz", "{dotted}", "{name}/{name}", "raw/{name}", "KMNIST/raw/{name}"]


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("changed", range(4))
def test_two_files_of_one_name_are_refused_unless_they_are_the_same(tmp_path, arrays, second, changed):
    """torchvision leaves the packed files beside the unpacked ones, and Kaggle has each in two places."""
    lay_out(tmp_path, arrays, "MNIST/raw/{name}")
    lay_out(tmp_path, arrays, second)
    same(read(tmp_path), arrays)
    name = list(arrays)[changed]
    lay_out(tmp_path, {name: arrays[name] ^ 1}, second)
    with pytest.raises(BadInput, match=f"{name.replace('-idx', '.idx')}.* and .* differ: expected one of"):
        read(tmp_path)


@pytest.mark.parametrize(("first", "classes"), [(0, 10), (1, 26), (0, 47), (0, 62)])
def test_data_in_the_same_format_have_the_classes_of_their_labels(tmp_path, capsys, first, classes):
    """Fashion-MNIST and KMNIST, and EMNIST's letters, balanced and byclass."""
    labels, files = {}, {}
    for images, name in mnist.FILES.values():
        labels[name] = (np.arange(3 * classes) % classes + first).astype(np.uint8)
        files |= {images: RANDOM.integers(0, 256, (3 * classes, 28, 28), np.uint8), name: labels[name]}
    lay_out(tmp_path, files, "{test}.gz", "emnist-letters-")
    lay_out(tmp_path, {name: array * 0 for name, array in files.items()}, "{test}.gz", "emnist-mnist-")
    read, number = mnist.others("classification.idx.letters", str(tmp_path / "emnist-letters"))
    assert number == classes
    same(read, files | {name: each - np.uint8(first) for name, each in labels.items()})
    said = f"classification.idx.letters: labels 1 to {classes} are classes 0 to {classes - 1}\n"
    assert capsys.readouterr().out == (said if first else "")


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("train", [0, 1, 3], "labels 0, 1, 3: expected whole numbers from 0 or 1 without a gap"),
        ("train", [2, 3], "labels 2, 3: expected whole numbers from 0 or 1"),
        ("train", [], "labels : expected whole numbers"),
        ("t10k", [0, 1, 2, 3], "label 3 is 3: expected 0 to 2"),
    ],
)
def test_labels_that_are_wrong_are_refused_in_one_line(tmp_path, name, labels, message):
    files = {"train": [0, 1, 2], "t10k": [0, 1, 2], name: labels}
    for part, numbers in files.items():
        lay_out(tmp_path, {f"{part}-labels-idx1-ubyte": np.array(numbers, np.uint8),
                           f"{part}-images-idx3-ubyte": np.zeros((len(numbers), 28, 28), np.uint8)}, "{name}")
    with pytest.raises(BadInput, match=message):
        mnist.others("classification.idx.mine", str(tmp_path))


def test_the_hub_s_columns_become_the_same_arrays(tmp_path, arrays):
    """A data set in a local folder stands for the hub's: the same loader, no network."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    for split, (images, labels) in mnist.FILES.items():
        columns = {"image": list(arrays[images]), "label": arrays[labels].tolist()}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    params = MnistParams(source="hub", path="-", hub_name=str(tmp_path), hub_revision="0" * 40)
    (x, y), (_, y_test) = mnist.pairs(params)
    np.testing.assert_array_equal(x, arrays["train-images-idx3-ubyte"].reshape(30, 784))
    np.testing.assert_array_equal(y, arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(y_test, arrays["t10k-labels-idx1-ubyte"])


def test_real_files(shared_data):
    """The raw training images have the SHA-256 that was published with them."""
    (x, y), (x_test, y_test) = read(shared_data / "mnist")
    assert (x.shape, x_test.shape) == ((60000, 784), (10000, 784))
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 60000, 28, 28)
    digest = hashlib.sha256(header + x.tobytes()).hexdigest()
    assert digest == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(y_test) == 10000
