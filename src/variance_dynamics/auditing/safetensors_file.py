"""A .safetensors file: 8 bytes of header length, a JSON header, then the values; nothing in it is code.

It is read by hand, because the safetensors library reads bfloat16 only into torch, which a .safetensors file
should not need. Format: https://huggingface.co/docs/safetensors
"""

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from variance_dynamics.auditing.stored_bytes import mapped
from variance_dynamics.auditing.tensors import ITEM, Checkpoint, StoredTensor, problem_with
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.json_text import json_object

LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these nine bytes is one: a header's length and its opening brace."""
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def read_safetensors(path: Path) -> Checkpoint:
    """Names, shapes and types of its tensors. Raises BadInput where the file is not whole or consistent."""
    header, start = _header(path)
    length = path.stat().st_size - start
    tensors, skipped, shapes, used = {}, {}, {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _entry(path, name, entry)
        used += end - begin
        if end > length:
            raise BadInput(f"{path}: {length + start:,} bytes: "
                           f"expected at least {end + start:,}, for {name:.99} (cut short?)")
        if dtype not in ITEM:
            skipped[name], shapes[name] = dtype, shape
            continue
        problem = problem_with(shape, dtype)
        if problem or end - begin != math.prod(shape) * ITEM[dtype].itemsize:
            problem = problem or f"{end - begin} bytes: expected those of {dtype} {list(shape)}"
            raise BadInput(f"{path}: {name:.99} has {problem}")
        raw = partial(mapped, path, ITEM[dtype], start + begin, shape)
        tensors[name] = StoredTensor(name, shape, dtype, raw)
    if used > length:
        raise BadInput(f"{path}: tensors of {used:,} bytes in {length:,}: expected none to overlap")
    checkpoint = Checkpoint(str(path), tensors, skipped=skipped, skipped_shapes=shapes)
    return replace(checkpoint, tensors=in_forward_order(tensors))


def in_forward_order(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Ordered by the numbers in names, convolutions first: the format does not keep the model's order."""
    return dict(sorted(tensors.items(), key=lambda item: (len(item[1].shape) < 3, _natural(item[0]))))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which numbers count as numbers."""
    # Digits of other scripts and of thousands of places are text to int().
    return [(int(part), "") if re.fullmatch("[0-9]{1,18}", part) else (-1, part)
            for part in re.split("([0-9]+)", name)]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(LONGEST_HEADER, path.stat().st_size - 8):
            raise BadInput(f"{path}: header of {size:,} bytes in a file of {path.stat().st_size:,}: "
                           "expected a whole .safetensors file (cut short?)")
        text = file.read(size)
    return json_object(text, f"{path}: header of a .safetensors file"), 8 + size


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise BadInput(f"{path}: {name:.99} is {entry!r:.99}: "
                       "expected dtype, shape and data_offsets") from None
    numbers = (*shape, begin, end)
    if not all(type(number) is int and number >= 0 for number in numbers) or end < begin:
        raise BadInput(f"{path}: {name:.99} has shape {shape!s:.99} at {begin}:{end}: "
                       "expected whole sizes and offsets from 0 up")
    return f"{dtype:.30}", shape, begin, end
