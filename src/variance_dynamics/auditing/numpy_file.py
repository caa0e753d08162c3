"""A .npz file: a zip of arrays, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from variance_dynamics.auditing.stored_bytes import Section, damaged, mapped, place_in_zip
from variance_dynamics.auditing.tensors import Checkpoint, Raw, StoredTensor, problem_with
from variance_dynamics.base.errors import BadInput

FLOATS = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}
UNPACKED = 64 * 2**20, 100
"""A file may unpack to so many bytes, or to so many times its own size."""
HELP = "expected a whole .npz, as numpy.savez writes it"
NOTE = "shapes in the .npz file were taken as PyTorch's, [out, in]"


@dataclass(frozen=True)
class _Array:
    """An array of a zip: its type and shape, and where its values start in the entry."""

    path: Path
    entry: zipfile.ZipInfo
    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    by_columns: bool
    start: int

    def raw(self) -> Raw:
        """Its values: a view of the file, or whole where they are compressed."""
        shape = self.shape[::-1] if self.by_columns else self.shape
        values = self._compressed(shape) if self.entry.compress_type else self._mapped(shape)
        return values.T if self.by_columns else values

    def _mapped(self, shape: tuple[int, ...]) -> Raw:
        with self.path.open("rb") as file:
            place = place_in_zip(Section(file, 0, self.path.stat().st_size), self.entry)
        return mapped(self.path, self.dtype, place + self.start, shape)

    def _compressed(self, shape: tuple[int, ...]) -> Raw:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.entry) as file:
                file.read(self.start)
                content = file.read(math.prod(shape) * self.dtype.itemsize)
            return np.frombuffer(content, self.dtype, math.prod(shape)).reshape(shape)
        except Exception as problem:
            raise damaged(self.path, problem, HELP) from None


def read_npz(path: Path) -> Checkpoint:
    """The float arrays of a .npz file. Raises BadInput where it is damaged, or unpacks to far too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            arrays = {entry.filename.removesuffix(".npy"): _array(path, archive, entry) for entry in entries}
        _check_sizes(path, arrays)
    except BadInput:
        raise
    except Exception as problem:  # there are many ways in which a zip may be damaged
        raise damaged(path, problem, HELP) from None
    kept = {name: array for name, array in arrays.items() if array.dtype.str in FLOATS}
    tensors = {name: StoredTensor(name, array.shape, FLOATS[array.dtype.str], array.raw)
               for name, array in kept.items()}
    out = {name: array for name, array in arrays.items() if name not in kept}
    skipped = {name: f"{array.dtype!s:.30}" for name, array in out.items()}
    return Checkpoint(str(path), tensors, skipped=skipped, notes=(NOTE,),
                      skipped_shapes={name: array.shape for name, array in out.items()})


def is_npz(path: Path) -> bool:
    """Whether a file is a zip that holds arrays of numpy."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except Exception:  # whoever reads the file says what is wrong with it
        return False


def _array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Array:
    with archive.open(entry) as file:
        stream = cast("BinaryIO", file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_columns, dtype = read[np.lib.format.read_magic(stream)](stream)
        start = file.tell()
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"shape {shape!s:.99}")
    array = _Array(path, entry, dtype, shape, by_columns, start)
    problem = dtype.str in FLOATS and problem_with(shape, FLOATS[dtype.str])
    if problem or (dtype.str in FLOATS and start + math.prod(shape) * dtype.itemsize > entry.file_size):
        raise ValueError(problem or f"{entry.filename:.99} is cut short")
    return array


def _check_sizes(path: Path, arrays: dict[str, _Array]) -> None:
    used = sum(array.entry.file_size for array in arrays.values())
    size = path.stat().st_size
    if used > max(UNPACKED[0], UNPACKED[1] * size):
        raise BadInput(f"{path}: a file of {size:,} bytes unpacks to {used:,}: "
                       f"expected at most {UNPACKED[1]} times its size")
    packed = sum(array.entry.compress_size for array in arrays.values())
    if packed > size:
        raise BadInput(f"{path}: arrays of {packed:,} bytes in {size:,}: expected none to overlap")
