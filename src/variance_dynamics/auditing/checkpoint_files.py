"""Opens what a training run leaves behind: .safetensors, whole or sharded, .pt, or a Hugging Face folder.

The safetensors format is 8 bytes of header length, a JSON header, then the values; nothing in it is code. It
is read by hand, because the safetensors library reads bfloat16 only into torch, which a .safetensors file
should not need. Format: https://huggingface.co/docs/safetensors
"""

import json
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.auditing.tensors import ITEM, Checkpoint, Raw, StoredTensor
from variance_dynamics.auditing.torch_file import read_torch
from variance_dynamics.base.errors import BadInput

LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""
IN_FOLDER = ("model.safetensors", "*.safetensors.index.json", "*.safetensors", "pytorch_model.bin",
             "*.bin.index.json", "*.pt", "*.pth", "*.bin")
"""What to open in a folder: what the first of these patterns matches, which must be one file."""
EXPECTED = "expected a .safetensors file or its index, a .pt of tensors, or a Hugging Face model folder"


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Names, shapes and types of all tensors; values are read when they are measured.

    Raises BadInput for what is no checkpoint, is cut short, or could run code when it is loaded.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder: {EXPECTED}")
    file = _file_in(path) if path.is_dir() else path
    checkpoint = _read_sharded(file) if file.name.endswith(".index.json") else _read(file)
    if not checkpoint.tensors:
        raise BadInput(f"{file}: holds no float tensors: {EXPECTED}")
    config = _json(file.parent / "config.json") if (file.parent / "config.json").is_file() else {}
    return replace(checkpoint, source=str(path), config={**checkpoint.config, **config})


def _file_in(folder: Path) -> Path:
    for pattern in IN_FOLDER:
        files = sorted(file for file in folder.glob(pattern) if file.is_file())
        if len(files) > 1:
            raise BadInput(f"{folder}: holds {', '.join(file.name for file in files[:3])}: "
                           "expected one checkpoint, or name the file")
        if files:
            return files[0]
    raise BadInput(f"{folder}: no checkpoint in this folder: {EXPECTED}")


def _read(file: Path) -> Checkpoint:
    with file.open("rb") as opened:
        start = opened.read(9)
    if _looks_like_safetensors(start) or file.suffix == ".safetensors":
        checkpoint = _read_safetensors(file)
        return replace(checkpoint, tensors=_in_forward_order(checkpoint.tensors))
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return read_torch(file)
    raise BadInput(f"{file}: {'empty file' if not start else 'not a checkpoint'}: {EXPECTED}")


def _in_forward_order(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Ordered by the numbers in names, convolutions first: the format does not keep the model's order."""
    return dict(sorted(tensors.items(), key=lambda item: (len(item[1].shape) < 3, _natural(item[0]))))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_sharded(index: Path) -> Checkpoint:
    """All shards that an index names; each must lie beside it and hold what the index says."""
    places = _json(index).get("weight_map")
    if not (isinstance(places, dict) and places and all(isinstance(file, str) for file in places.values())):
        raise BadInput(f"{index}: weight_map is {str(places)[:60]!r}: expected tensor names mapped to files")
    tensors: dict[str, StoredTensor] = {}
    tied: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in sorted(set(places.values())):
        file = index.parent / name
        if Path(name).name != name or not file.is_file():
            raise BadInput(f"{index}: names shard {name!r}: expected that file beside the index")
        shard = _read(file)
        tensors.update(shard.tensors)
        tied.update(shard.tied)
        skipped.update(shard.skipped)
    missing = [name for name in places if name not in tensors and name not in skipped]
    if missing:
        raise BadInput(f"{index}: {missing[0]} is not in {places[missing[0]]}: expected it there")
    return Checkpoint(str(index), _in_forward_order(tensors), tied=tied, skipped=skipped)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadInput(f"{file}: no JSON object: expected one")
    return content


def _read_safetensors(path: Path) -> Checkpoint:
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
        raw = partial(_map, path, ITEM[dtype], start + begin, shape)
        tensors[name] = StoredTensor(name, shape, dtype, raw)
    return Checkpoint(str(path), tensors, skipped=skipped)


def _looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these nine bytes is one: a header's length and its opening brace."""
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
        raise BadInput(f"{path}: {name:.99} is {entry!r:.99}: "
                       "expected dtype, shape and data_offsets") from None
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
