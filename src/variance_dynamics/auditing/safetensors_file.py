"""The safetensors format: 8 bytes of header length, a JSON header, then the values. Nothing in it is code.

Read by hand, because the library's numpy side knows no bfloat16 and its torch side needs torch.
Format: https://huggingface.co/docs/safetensors
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.auditing.stored import ITEM, Checkpoint, Raw, Stored
from variance_dynamics.base.errors import BadInput

LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def read_safetensors(path: Path) -> Checkpoint:
    """The tensors of one file, not yet read. Raises BadInput where the file is cut short or is malformed."""
    header, start = _header(path)
    length = path.stat().st_size - start
    tensors, skipped = {}, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _entry(path, name, entry)
        if end > length:
            raise BadInput(f"{path}: {length + start:,} bytes: "
                           f"expected at least {end + start:,}, for {name} (cut short?)")
        if dtype not in ITEM:
            skipped[name] = dtype
            continue
        if end - begin != math.prod(shape) * ITEM[dtype].itemsize:
            raise BadInput(f"{path}: {name} has {end - begin} bytes: expected those of {dtype} {list(shape)}")
        tensors[name] = Stored(name, shape, dtype, partial(_map, path, ITEM[dtype], start + begin, shape))
    return Checkpoint(str(path), tensors, skipped=skipped)


def looks_like_safetensors(start: bytes) -> bool:
    """Of a file's first nine bytes."""
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(LONGEST_HEADER, path.stat().st_size - 8):
            raise BadInput(f"{path}: header of {size:,} bytes in a file of {path.stat().st_size:,}: "
                           "expected a whole .safetensors file (cut short?)")
        text = file.read(size)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise BadInput(f"{path}: header is no JSON object: expected a .safetensors file")
    return header, 8 + size


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        told = f"{name:.99} is {entry!r:.99}"
        raise BadInput(f"{path}: {told}: expected dtype, shape and data_offsets") from None
    numbers = (*shape, begin, end)
    if not all(type(number) is int and number >= 0 for number in numbers) or end < begin:
        raise BadInput(f"{path}: {name} has shape {shape} at {begin}:{end}: "
                       "expected whole sizes and offsets from 0 up")
    return dtype, shape, begin, end


def _map(path: Path, dtype: "np.dtype[Any]", offset: int, shape: tuple[int, ...]) -> Raw:
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    mapped = np.memmap(path, np.uint8, "r", offset, (math.prod(shape) * dtype.itemsize,))
    return mapped.view(np.ndarray).view(dtype).reshape(shape)
