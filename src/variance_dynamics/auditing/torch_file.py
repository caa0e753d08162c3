"""A .pt file, read without torch and without running anything that it holds.

A file of torch 1.6 or newer is a zip, uncompressed, of a pickle and of a file for each storage
(https://docs.pytorch.org/docs/stable/notes/serialization.html). An older one is five pickles one after
another, and then the storages. Tensors are views of the mapped file.
"""

import math
import mmap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from variance_dynamics.auditing.inert_pickle import read_pickle
from variance_dynamics.auditing.saved_state import weights_in
from variance_dynamics.auditing.saved_tensors import FLOATS, OTHERS, SavedTensor, Storage, unpacked
from variance_dynamics.auditing.stored_bytes import Section, damaged, place_in_zip
from variance_dynamics.auditing.tensors import ITEM, Checkpoint, StoredTensor
from variance_dynamics.base.errors import BadInput

MAGIC = 0x1950A86A20F9469CFC6C
"""What the older files start with."""
FLOAT_SIZES = {kind: ITEM[dtype].itemsize for kind, dtype in FLOATS.items()}
SHARING = 100
"""Times that the values of a file may be used: by tied tensors, and by views of one storage."""
HELP = "expected a whole .pt of tensors, as torch.save(model.state_dict(), ...) writes it"


def read_torch(path: Path, key: str = "") -> Checkpoint:
    """The tensors of a .pt file, and the config beside them. Raises BadInput for what is damaged.

    `key` names the mapping whose tensors are read, where the file holds several.
    """
    saved = read_saved(path)
    weights = weights_in(saved, lambda leaf: isinstance(leaf, SavedTensor), str(path), key)
    kept = {name: tensor for name, tensor in weights.tensors.items() if not tensor.left_out}
    _check_sharing(path, kept)
    owners: dict[SavedTensor, str] = {}
    tied = {name: owner for name, tensor in kept.items()
            if math.prod(tensor.shape) and (owner := owners.setdefault(tensor, name)) != name}
    tensors = {name: StoredTensor(name, it.shape, FLOATS[it.kind], it.raw) for name, it in kept.items()}
    out = {name: tensor for name, tensor in weights.tensors.items() if tensor.left_out}
    others = {name: thing.path.rpartition(".")[2] for name, thing in weights.others.items()}
    skipped = {**{name: tensor.left_out for name, tensor in out.items()},
               **{name: kind for name, kind in others.items() if "tensor" in kind.lower()}}
    return Checkpoint(str(path), tensors, weights.config, tied, skipped, notes=weights.notes,
                      skipped_shapes={name: tensor.shape for name, tensor in out.items()})


def read_saved(path: Path, start: int = 0, length: int | None = None) -> Any:
    """What was saved in a file, or in a section of one, with `SavedTensor` for tensors.

    Objects that hold others by name, such as a module, become mappings; the rest is inert. Raises BadInput
    for what is damaged.
    """
    try:
        with path.open("rb") as file:
            section = Section(file, start, path.stat().st_size - start if length is None else length)
            zipped = zipfile.is_zipfile(cast("BinaryIO", section))
            return unpacked(_of_zip(path, section) if zipped else _of_old(path, section), {})
    except BadInput:
        raise
    except Exception as problem:  # there are many ways in which a file may be damaged
        raise damaged(path, problem, HELP) from None


def _of_zip(path: Path, section: Section) -> Any:
    with zipfile.ZipFile(cast("BinaryIO", section)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
    folder = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""
    if len(pickles) != 1:
        raise BadInput(f"{path}: a zip without data.pkl: {HELP}")

    def content(name: str) -> bytes:
        section.seek(place_in_zip(section, entries[name]) - section.start)
        return section.read(entries[name].file_size) or b""

    if f"{folder}byteorder" in entries and content(f"{folder}byteorder") != b"little":
        raise BadInput(f"{path}: byte order is not little: expected a file of a little-endian machine")

    def storage(kind: str, key: str) -> Storage:
        entry = entries[f"{folder}data/{key}"]
        return Storage(path, kind, place_in_zip(section, entry), entry.file_size)

    return read_pickle(content(pickles[0]), _Storages(storage))


def _of_old(path: Path, section: Section) -> Any:
    """An older file; or a plain pickle, as it is."""
    with mmap.mmap(section.file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        storages = _Storages(lambda kind, key: Storage(path, kind))
        first, *rest = (read_pickle(cast("BinaryIO", stream), storages) for _ in _pickles(stream))
        if not rest:
            return first
        _, machine, saved, keys = rest
        if not machine.get("little_endian"):
            raise BadInput(f"{path}: byte order is not little: expected a file of a little-endian machine")
        for key in keys:
            storage = storages.made[str(key)]
            size = FLOAT_SIZES.get(storage.kind) or OTHERS[storage.kind][1]
            storage.size = size * int.from_bytes(stream.read(8), "little")
            storage.offset = stream.tell()
            stream.seek(storage.size, 1)  # raises where the file ends before
        return saved


def _pickles(stream: mmap.mmap) -> Iterator[None]:
    """As many turns as there are pickles: five, or one where the first is not torch's."""
    yield
    old = stream[: stream.tell()].find(MAGIC.to_bytes(10, "little")) >= 0
    for _ in range(4 if old else 0):
        yield


class _Storages:
    """Makes a storage of each persistent id, once for each key."""

    def __init__(self, make: Callable[[str, str], Storage]) -> None:
        self.make = make
        self.made: dict[str, Storage] = {}

    def __call__(self, name: Any) -> Any:
        what, kind, key = name[:3]
        if what == "module":  # an older file holds the source of a module beside it
            return kind
        if what != "storage" or (len(name) > 5 and name[5] is not None):
            raise ValueError("a reference that is no storage of its own")
        if key not in self.made:
            self.made[key] = self.make(kind.path.rpartition(".")[2].removesuffix("Storage"), key)
        return self.made[key]


def _check_sharing(path: Path, tensors: Mapping[str, SavedTensor]) -> None:
    """Raises BadInput where many tensors share few values, and would take for ever to measure."""
    used = sum(math.prod(tensor.shape) * ITEM[FLOATS[tensor.kind]].itemsize for tensor in tensors.values())
    if used > SHARING * path.stat().st_size:
        raise BadInput(f"{path}: {len(tensors)} tensors of {used:,} bytes in a file of "
                       f"{path.stat().st_size:,}: expected no value in more than {SHARING} of them")
