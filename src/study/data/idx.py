"""IDX, the format of MNIST's files: a magic number, big-endian sizes, then unsigned bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.base.errors import BadInput

UNSIGNED_BYTE = 0x08
MOST = 1 << 30
"""Bytes of data that a header may announce. No more than announced is read, whatever gzip holds."""


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, gzip or plain whatever its name says.

    Raises BadInput for a file that is missing, not IDX, of another number of dimensions, of more than
    `MOST` bytes, or of a length that its header does not announce.
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
