"""Parts of files: a section that reads as a file of its own, and values as a view of a mapped file."""

import io
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from variance_dynamics.auditing.tensors import Raw
from variance_dynamics.base.errors import BadInput


def damaged(path: Path, problem: Exception, expected: str) -> BadInput:
    """What to raise for a file at which a reader of others failed."""
    first = " ".join(f"{type(problem).__name__} {problem}".split())[:100]
    return BadInput(f"{path}: it cannot be read ({first}): {expected}")


def mapped(path: Path, dtype: "np.dtype[Any]", offset: int, shape: tuple[int, ...],
           stride: tuple[int, ...] | None = None) -> Raw:
    """Values at `offset` bytes of a file as an array that is a view of it; `stride` counts values.

    Without a stride they lie one after the other, the last dimension first. The file must hold all of them.
    """
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    strides = contiguous(shape) if stride is None else stride
    count = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    values = np.memmap(path, np.uint8, "r", offset, (count * dtype.itemsize,)).view(np.ndarray).view(dtype)
    if strides == contiguous(shape):
        return values.reshape(shape)
    return np.lib.stride_tricks.as_strided(values, shape, [step * dtype.itemsize for step in strides],
                                           writeable=False)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in values, of a tensor whose values lie one after the other."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


class Section(io.RawIOBase):
    """`length` bytes of an open file from `start` on, as a file to read."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file, self.start, self.length, self.place = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.length}[whence]
        if self.place < 0:
            raise OSError("a place before the section")  # as of a file: zipfile expects it
        return self.place

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.start + self.place)
        content = self.file.read(max(0, min(len(buffer), self.length - self.place)))
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)


def place_in_zip(section: Section, entry: zipfile.ZipInfo) -> int:
    """The offset in the whole file of a zip entry's content. Raises ValueError where it is not all there."""
    section.seek(entry.header_offset)
    header = section.read(30)
    if header is None or len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"no entry at {entry.header_offset}")
    name, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    start = entry.header_offset + 30 + name + extra
    if entry.compress_type != zipfile.ZIP_STORED or start + entry.file_size > section.length:
        raise ValueError(f"{entry.filename:.99} is compressed or cut short")
    return section.start + start
