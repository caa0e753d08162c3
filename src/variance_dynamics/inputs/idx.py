"""IDX, the format of MNIST's files: a magic number, big-endian sizes, then unsigned bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.errors import BadInput

UNSIGNED_BYTE = 0x08


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, gzip or plain whatever its name says.

    Raises BadInput for a file that is missing, not IDX, of another number of dimensions, or of a length
    that its header does not announce.
    """
    content = _content(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise BadInput(f"{path}: {len(content)} bytes: expected at least the {header} of an IDX header")
    magic = int.from_bytes(content[:4], "big")
    expected = UNSIGNED_BYTE << 8 | dimensions
    if magic != expected:
        raise BadInput(f"{path}: magic number {magic:#010x}: expected {expected:#010x}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    size = math.prod(shape)
    if len(content) - header != size:
        sizes = " x ".join(map(str, shape))
        raise BadInput(f"{path}: {len(content) - header} bytes of data: expected {size} ({sizes})")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise BadInput(f"{path}: damaged gzip ({problem}): expected a whole file") from None
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}: expected an IDX file") from None
