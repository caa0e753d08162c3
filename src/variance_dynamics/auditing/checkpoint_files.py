"""Opens what a training run leaves behind: a file, its shards, or the folder of one of many libraries."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from variance_dynamics.auditing.distributed_folder import read_distributed
from variance_dynamics.auditing.folders import checkpoint_in
from variance_dynamics.auditing.numpy_file import is_npz, read_npz
from variance_dynamics.auditing.quantised import without_quantised
from variance_dynamics.auditing.safetensors_file import (
    in_forward_order,
    looks_like_safetensors,
    read_safetensors,
)
from variance_dynamics.auditing.tensors import Checkpoint
from variance_dynamics.auditing.torch_file import read_torch
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.json_text import json_object

EXPECTED = ("expected a .safetensors file or its index, a .pt of tensors, a .npz, or a folder of "
            "Hugging Face, DeepSpeed or torch.distributed.checkpoint")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")
OTHER_FORMATS = {
    "gguf": "a GGUF file, whose weights are renamed and mostly quantised: "
            "expected the .safetensors or .pt file that it was made of",
    "onnx": "an ONNX graph, whose weights may be renamed and transposed: expected the model that it was made "
            "of, or numpy.savez(NPZ, **{t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(ONNX)"
            ".graph.initializer})",
    "h5": "an HDF5 file: expected its arrays in a .npz, by numpy.savez",
    "msgpack": "a file of Flax: expected its arrays in a .npz, by "
               "numpy.savez(NPZ, **flax.traverse_util.flatten_dict(params, sep='/'))"}
"""What to do with files that are not read, by suffix."""
SIGNATURES = {b"GGUF": "gguf", b"\x89HDF": "h5"}
"""First bytes -> suffix."""
SAME = {"hdf5": "h5", "keras": "h5"}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Names, shapes and types of all tensors; values are read when they are measured.

    `path` may end in :KEY where a file holds several sets of weights, such as ckpt.pt:ema. Raises BadInput
    for what is no checkpoint, or is damaged. Nothing in a file is run.
    """
    place, key = _place_and_key(str(path))
    file, notes = checkpoint_in(place, EXPECTED) if place.is_dir() else (place, ())
    checkpoint = without_quantised(_read(file, key))
    if not checkpoint.tensors:
        types = ", ".join(sorted(set(checkpoint.skipped.values()))[:5])
        raise BadInput(f"{file}: holds no float tensors{types and f', only {types}'}: {EXPECTED}")
    folder = file if file.is_dir() else file.parent
    beside = folder / "config.json"
    config = json_object(beside.read_bytes(), str(beside)) if beside.is_file() else {}
    _check_config(config, str(beside))
    _check_config(checkpoint.config, str(file))
    shard = SHARD.search(file.name)
    alone = (f"the file is one of {int(shard[2])} shards",) if shard and int(shard[2]) > 1 else ()
    return replace(checkpoint, source=str(path), config={**checkpoint.config, **config},
                   notes=(*notes, *checkpoint.notes, *alone))


def _place_and_key(path: str) -> tuple[Path, str]:
    """The file or folder that `path` names, and the key of what is to be read in it."""
    place, (before, _, key) = Path(path), path.rpartition(":")
    if before and Path(before).exists() and not place.exists():
        place = Path(before)
    else:
        key = ""
    if not (place.is_file() or place.is_dir()):
        raise BadInput(f"{path}: no such file or folder: {EXPECTED}")
    return place, key


def _read(file: Path, key: str) -> Checkpoint:
    if file.is_dir():
        return read_distributed(file, key)
    with file.open("rb") as opened:
        start = opened.read(9)
    suffix = SIGNATURES.get(start[:4], file.suffix.lstrip("."))
    suffix = SAME.get(suffix, suffix)
    if suffix in OTHER_FORMATS:
        raise BadInput(f"{file}: {OTHER_FORMATS[suffix]}")
    zipped = start.startswith(b"PK\x03\x04")
    if start.startswith(b"\x80") or (zipped and not is_npz(file)):
        return read_torch(file, key)
    if key:
        raise BadInput(f"{file}: has no parts with a name: expected no {key:.99} after it")
    if zipped:
        return read_npz(file)
    if file.name.endswith(".index.json"):
        return _read_sharded(file)
    if looks_like_safetensors(start) or file.suffix == ".safetensors":
        return read_safetensors(file)
    raise BadInput(f"{file}: {'empty file' if not start else 'not a checkpoint'}: {EXPECTED}")


def _read_sharded(index: Path) -> Checkpoint:
    """The tensors that an index names, each from the shard that it names; all lie beside the index."""
    places = json_object(index.read_bytes(), str(index)).get("weight_map")
    if not (isinstance(places, dict) and places and all(isinstance(file, str) for file in places.values())):
        raise BadInput(f"{index}: weight_map is {str(places)[:60]!r}: expected tensor names mapped to files")
    whole = Checkpoint(str(index), {})
    for shard in sorted(set(places.values())):
        file = index.parent / shard
        if Path(shard).name != shard or not file.is_file():
            raise BadInput(f"{index}: names shard {shard!r:.99}: expected that file beside the index")
        whole = _with(whole, _read(file, ""), {name for name, place in places.items() if place == shard})
    missing = [name for name in places if name not in whole.tensors and name not in whole.skipped]
    if missing:
        raise BadInput(f"{index}: {missing[0]:.99} is not in {places[missing[0]]:.99}: expected it there")
    return replace(whole, tensors=in_forward_order(whole.tensors))


def _with(whole: Checkpoint, shard: Checkpoint, names: set[str]) -> Checkpoint:
    """`whole` and those tensors of the shard that the index places there."""
    tied = {name: owner for name, owner in shard.tied.items() if name in names and owner in names}
    tensors = {**whole.tensors, **_only(shard.tensors, names)}
    return replace(whole, tensors=tensors, tied={**whole.tied, **tied},
                   skipped={**whole.skipped, **_only(shard.skipped, names)},
                   skipped_shapes={**whole.skipped_shapes, **_only(shard.skipped_shapes, names)})


def _only(mapping: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name in names}


def _check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises BadInput for what the audit reads of a config and cannot use."""
    architectures, std = config.get("architectures"), config.get("initializer_range")
    if architectures is not None and not (isinstance(architectures, list)
                                          and all(isinstance(name, str) for name in architectures)):
        raise BadInput(f"{where}: architectures is {architectures!r:.60}: expected a list of names")
    if std is not None and not (isinstance(std, int | float) and 0 <= std < math.inf):
        raise BadInput(f"{where}: initializer_range is {std!r:.60}: expected a number from 0 up")
