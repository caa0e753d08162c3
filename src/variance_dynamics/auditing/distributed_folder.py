"""A folder of torch.distributed.checkpoint, read without torch and without processes.

Its file .metadata is a pickle that says where each chunk of each tensor lies; a chunk is a tensor in torch's
own format, in a section of a .distcp file. https://docs.pytorch.org/docs/stable/distributed.checkpoint.html
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.auditing.inert_pickle import Inert, read_pickle
from variance_dynamics.auditing.saved_state import Weights, weights_in
from variance_dynamics.auditing.saved_tensors import FLOATS, SavedTensor
from variance_dynamics.auditing.stored_bytes import damaged
from variance_dynamics.auditing.tensors import ITEM, Checkpoint, Raw, StoredTensor, problem_with
from variance_dynamics.auditing.torch_file import read_saved
from variance_dynamics.base.errors import BadInput

METADATA = ".metadata"
NAN_BITS = {"BF16": 0x7FC0, "F8_E4M3": 0x7F, "F8_E5M2": 0x7F}
"""NaN in the types that are read as bits."""
HELP = "expected a whole folder, as torch.distributed.checkpoint.save writes it"

Sizes = tuple[int, ...]
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class _Chunk:
    """A part of a tensor: where it lies in the tensor, and in which section of which file."""

    offsets: Sizes
    shape: Sizes
    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class _Divided:
    """A tensor in chunks."""

    name: str
    shape: Sizes
    kind: str
    chunks: tuple[_Chunk, ...]

    def raw(self) -> Raw:
        """Its values: a view where one chunk is all of it, else put together. What no chunk holds, is NaN."""
        dtype = FLOATS[self.kind]
        if len(self.chunks) == 1 and self.chunks[0].shape == self.shape:
            return self._of(self.chunks[0])
        values: Raw = np.full(self.shape, NAN_BITS.get(dtype, np.nan), ITEM[dtype])
        for chunk in self.chunks:
            stops = (start + size for start, size in zip(chunk.offsets, chunk.shape, strict=True))
            values[tuple(map(slice, chunk.offsets, stops))] = self._of(chunk)
        return values

    def _of(self, chunk: _Chunk) -> Raw:
        """The values of a chunk, as a view."""
        saved = read_saved(chunk.path, chunk.start, chunk.length)
        if not isinstance(saved, SavedTensor) or FLOATS.get(saved.kind) != FLOATS[self.kind]:
            raise BadInput(f"{chunk.path}: no {self.kind} for {self.name:.99} at {chunk.start:,}: {HELP}")
        if saved.shape != chunk.shape or saved.left_out:
            raise BadInput(f"{chunk.path}: {self.name:.99} has shape {saved.shape} at {chunk.start:,}: "
                           f"expected {chunk.shape}")
        return saved.raw()


def read_distributed(folder: Path, key: str = "") -> Checkpoint:
    """The model in the folder; `key` as for `read_torch`. Raises BadInput where it is damaged."""
    try:
        metadata = read_pickle((folder / METADATA).read_bytes()).state
        tensors = _tensors(folder, metadata)
        saved = _nested(tensors, metadata.get("planner_data"))
    except BadInput:
        raise
    except Exception as problem:  # there are many ways in which a pickle may be damaged
        raise damaged(folder / METADATA, problem, HELP) from None
    weights = weights_in(saved, lambda leaf: isinstance(leaf, _Divided), str(folder), key)
    _check_size(folder, weights)
    kept = {name: tensor for name, tensor in weights.tensors.items() if tensor.kind in FLOATS}
    out = {name: tensor for name, tensor in weights.tensors.items() if name not in kept}
    stored = {name: StoredTensor(name, it.shape, FLOATS[it.kind], it.raw) for name, it in kept.items()}
    return Checkpoint(str(folder), stored, weights.config, notes=weights.notes,
                      skipped={name: it.kind for name, it in out.items()},
                      skipped_shapes={name: it.shape for name, it in out.items()})


def _tensors(folder: Path, metadata: Fields) -> dict[str, _Divided]:
    places = {}
    for index, info in metadata["storage_data"].items():
        offset = index.state.get("offset")
        places[index.state["fqn"], None if offset is None else _sizes(offset)] = info.state
    return {name: _tensor(folder, name, entry.state, places)
            for name, entry in metadata["state_dict_metadata"].items() if "chunks" in (entry.state or ())}


def _tensor(folder: Path, name: str, state: Fields, places: Mapping[Any, Fields]) -> _Divided:
    shape, properties = _sizes(state["size"]), state["properties"].state
    dtype = properties[0] if isinstance(properties, tuple) else properties["dtype"]
    kind = dtype.path.rpartition(".")[2]
    chunks = tuple(_chunk(folder, name, chunk.state, places) for chunk in state["chunks"])
    inside = all(start + size <= whole for chunk in chunks
                 for start, size, whole in zip(chunk.offsets, chunk.shape, shape, strict=True))
    problem = kind in FLOATS and problem_with(shape, FLOATS[kind])
    if problem or not inside or sum(math.prod(chunk.shape) for chunk in chunks) != math.prod(shape):
        raise ValueError(problem or f"{name:.99} of shape {shape} is not what its chunks make")
    return _Divided(name, shape, kind, chunks)


def _chunk(folder: Path, name: str, state: Fields, places: Mapping[Any, Fields]) -> _Chunk:
    offsets, shape = _sizes(state["offsets"]), _sizes(state["sizes"])
    place = places.get((name, offsets)) or places[name, None]
    file, start, length = place["relative_path"], place["offset"], place["length"]
    path = folder / Path(file).name
    if place.get("transform_descriptors"):
        raise BadInput(f"{folder}: {name:.99} is compressed: expected a checkpoint saved without extensions")
    inside = str(Path(file)) == path.name and path.is_file()
    if not (inside and 0 <= start <= start + length <= path.stat().st_size):
        raise BadInput(f"{folder}: {name:.99} lies at {start}:{start + length} of {file:.99}: "
                       "expected that in the folder (cut short?)")
    return _Chunk(offsets, shape, path, start, length)


def _sizes(sizes: Any) -> Sizes:
    """A pickled torch.Size."""
    numbers = tuple(sizes.args[0] if isinstance(sizes, Inert) else sizes)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("sizes that are no whole numbers from 0 up")
    return numbers


def _nested(tensors: dict[str, _Divided], paths: Any) -> dict[str, Any]:
    """The tensors in mappings, as they lay when they were saved, where the folder says so."""
    nested: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *above, last = paths[name] if isinstance(paths, dict) and name in paths else (name,)
        inside = nested
        for part in above:
            inside = inside.setdefault(str(part), {})
        inside[str(last)] = tensor
    return nested


def _check_size(folder: Path, weights: Weights) -> None:
    """Raises BadInput where the tensors have more values than the files."""
    sections = {(chunk.path, chunk.start) for tensor in weights.tensors.values() for chunk in tensor.chunks}
    stored = sum(path.stat().st_size for path in {path for path, _ in sections})
    used = sum(math.prod(tensor.shape) * ITEM[FLOATS[tensor.kind]].itemsize
               for tensor in weights.tensors.values() if tensor.kind in FLOATS)
    if used > stored:
        raise BadInput(f"{folder}: tensors of {used:,} bytes in files of {stored:,}: {HELP}")
