"""What torch's pickles hold, as tensors and mappings: from the inert objects that stand for them."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.auditing.inert_pickle import Inert
from variance_dynamics.auditing.saved_state import Module
from variance_dynamics.auditing.stored_bytes import mapped
from variance_dynamics.auditing.tensors import ITEM, Raw, problem_with

FLOATS = {"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16",
          "float64": "F64", "float32": "F32", "float16": "F16",
          "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
"""A storage's class without "Storage", or a dtype, -> the type of StoredTensor."""
OTHERS = {"Long": ("int64", 8), "Int": ("int32", 4), "Short": ("int16", 2), "Char": ("int8", 1),
          "Byte": ("uint8", 1), "Bool": ("bool", 1),
          "ComplexFloat": ("complex64", 8), "ComplexDouble": ("complex128", 16),
          "QInt8": ("qint8", 1), "QUInt8": ("quint8", 1), "QInt32": ("qint32", 4), "Untyped": ("bytes", 1)}
"""The other storages: a dtype that says more, and the bytes of a value."""
REBUILD = tuple(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))
"""torch's functions that make a tensor of a storage."""
AROUND = ("_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_device_tensor_from_cpu_tensor")
"""torch's functions that make something of a tensor, their first argument."""
NAMES = (str, int, float, type(None))
"""Types of keys that become names."""


@dataclass(eq=False)
class Storage:
    """`size` bytes at `offset` of the file `path`, of values named `kind`."""

    path: Path
    kind: str
    offset: int = 0
    size: int = 0


@dataclass(frozen=True)
class SavedTensor:
    """A tensor as torch saves it: a view of a storage; offset and stride count values."""

    storage: Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def left_out(self) -> str:
        """The type, where these values cannot be judged; else an empty text."""
        if self.kind not in FLOATS:
            return self.kind
        stored = self.storage.size // ITEM[FLOATS[self.kind]].itemsize
        return f"{self.kind}, expanded from fewer values" if math.prod(self.shape) > stored else ""

    def raw(self) -> Raw:
        """Its values, a view of the file."""
        item = ITEM[FLOATS[self.kind]]
        start = self.storage.offset + self.offset * item.itemsize
        return mapped(self.storage.path, item, start, self.shape, self.stride)


def unpacked(node: Any, known: dict[int, Any]) -> Any:
    """`node` with tensors and mappings in the place of objects; one that occurs again is the same again."""
    if not isinstance(node, dict | list | tuple | Inert):
        return node
    if id(node) in known:
        return known[id(node)]
    held = _as_container(node, known) if isinstance(node, Inert) else node
    if isinstance(held, dict):
        made = known[id(node)] = type(held)()
        made.update((str(name), unpacked(value, known)) for name, value in held.items()
                    if isinstance(name, NAMES))
        return made
    if isinstance(held, list | tuple):
        members: list[Any] = []
        known[id(node)] = members
        members.extend(unpacked(value, known) for value in held)
        return members
    known[id(node)] = held
    return held


def _as_container(thing: Inert, known: dict[int, Any]) -> Any:
    """What an object holds: a tensor, a number, a mapping of what lies in it by name, a list, or itself."""
    name = thing.path.rpartition(".")[2]
    if thing.path in REBUILD:
        return _tensor(*thing.args)
    if name in AROUND and thing.args:
        return unpacked(thing.args[0], known)
    if name == "_rebuild_from_type_v2":
        return _as_container(Inert(thing.args[0].path, thing.args[2]), known)
    if thing.path in ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"):
        return _number(*thing.args)
    if name == "OrderedDict" and thing.args and not thing.items:
        return {pair[0]: pair[1] for pair in thing.args[0]}
    state = thing.state[1] if isinstance(thing.state, tuple) and len(thing.state) == 2 else thing.state
    state = state if isinstance(state, dict) else {}
    if isinstance(state.get("_modules"), dict | Inert):
        parts = (unpacked(state.get(part), known) for part in ("_parameters", "_buffers", "_modules"))
        return Module((key, value) for part in parts if isinstance(part, dict) for key, value in part.items()
                      if value is not None)
    if thing.path.startswith("__torch__"):  # of TorchScript
        return Module(state)
    mapping = name in ("OrderedDict", "defaultdict", "dict")
    return {**state, **thing.items} if state or thing.items or mapping else thing.members or thing


def _tensor(storage: Any, offset: int, shape: Any, stride: Any, *more: Any) -> SavedTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    shape, stride = (tuple(sizes.args[0] if isinstance(sizes, Inert) else sizes) for sizes in (shape, stride))
    kind = more[2].path.rpartition(".")[2] if len(more) > 2 and isinstance(more[2], Inert) else storage.kind
    whole = all(type(number) is int and number >= 0 for number in (offset, *shape, *stride))
    if not whole or len(shape) != len(stride):
        raise ValueError("a tensor with a shape that none can have")
    if kind not in FLOATS:
        return SavedTensor(storage, OTHERS.get(kind, (kind, 1))[0], offset, shape, stride)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    item = ITEM[FLOATS[kind]].itemsize
    problem = problem_with(shape, FLOATS[kind])
    if problem or (0 not in shape and (last + 1) * item > storage.size):
        raise ValueError(problem or "a tensor of more values than its storage has")
    return SavedTensor(storage, kind, offset, shape, stride)


def _number(dtype: Any, content: Any) -> Any:
    """The number that a pickled scalar of numpy is; None for other scalars."""
    code = dtype.args[0] if isinstance(dtype, Inert) and dtype.args else ""
    if isinstance(content, Inert):  # bytes in an older protocol: _codecs.encode(text, "latin1")
        content = str(content.args[0]).encode("latin1")
    if not (isinstance(code, str) and re.fullmatch("[iufb][1248]", code) and isinstance(content, bytes)):
        return None
    return np.frombuffer(content, f"<{code}")[0].item()
