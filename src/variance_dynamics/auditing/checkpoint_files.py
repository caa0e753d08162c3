"""Opens what a training run leaves behind: a .safetensors, a sharded one, a .pt, a Hugging Face folder."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from variance_dynamics.auditing.safetensors_file import looks_like_safetensors, read_safetensors
from variance_dynamics.auditing.stored import Checkpoint, Stored
from variance_dynamics.auditing.torch_file import read_torch
from variance_dynamics.base.errors import BadInput

IN_FOLDER = ("model.safetensors", "*.safetensors.index.json", "*.safetensors", "pytorch_model.bin",
             "*.bin.index.json", "*.pt", "*.pth", "*.bin")
"""What to open in a folder: the first pattern that finds something, which must then be one file."""
EXPECTED = "expected a .safetensors file or its index, a .pt of tensors, or a Hugging Face model folder"


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Names, shapes and types of all tensors; values are read when they are measured.

    Raises BadInput for what is no checkpoint, is cut short, or could run code.
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
    if looks_like_safetensors(start) or file.suffix == ".safetensors":
        found = read_safetensors(file)
        return replace(found, tensors=_in_forward_order(found.tensors))
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return read_torch(file)
    raise BadInput(f"{file}: {'empty file' if not start else 'not a checkpoint'}: {EXPECTED}")


def _in_forward_order(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """As near as names tell: the format does not keep the order. Convolutions come before dense layers."""
    return dict(sorted(tensors.items(), key=lambda item: (len(item[1].shape) < 3, _natural(item[0]))))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_sharded(index: Path) -> Checkpoint:
    """All shards that an index names; each must lie beside it and hold what the index says."""
    places = _json(index).get("weight_map")
    if not (isinstance(places, dict) and places and all(isinstance(file, str) for file in places.values())):
        raise BadInput(f"{index}: weight_map is {str(places)[:60]!r}: expected tensor names mapped to files")
    tensors: dict[str, Stored] = {}
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
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{file}: no JSON object: expected one")
    return found
