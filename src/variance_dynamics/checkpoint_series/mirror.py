"""What is kept on disk of a commit's files: small ones, headers, and tensors while they are needed."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.auditing.tensors import ITEM, Raw, StoredTensor
from variance_dynamics.base.atomic import replacing
from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.ranges import Server

LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit: its address, its size, and the hash of its bytes (where the hub has one)."""

    url: str
    size: int
    hash: str


@dataclass(frozen=True)
class Span:
    """Where a tensor lies: bytes start:stop of the file of that name at `url`."""

    file: str
    url: str
    start: int
    stop: int


def whole_file(server: Server, file: RemoteFile, path: Path) -> None:
    """The whole of a file, read once."""
    if not path.is_file():
        server.save(file.url, 0, file.size, path)


def header_of(server: Server, file: RemoteFile, path: Path) -> dict[str, Any]:
    """The header of a .safetensors file. `path` gets the size of the file, with holes where its values are.

    Raises BadInput where there is no header; whether it is consistent is for `open_checkpoint` to say.
    """
    if not path.is_file():
        start = server.bytes_of(file.url, 0, min(8, file.size))
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > min(LONGEST_HEADER, file.size - 8):
            raise BadInput(f"{file.url}: header of {size:,} bytes in a file of {file.size:,}: "
                           "expected a whole .safetensors file")
        text = server.bytes_of(file.url, 8, 8 + size)
        with replacing(path) as unfinished, unfinished.open("wb") as opened:
            opened.write(start + text)
            opened.truncate(file.size)
    with path.open("rb") as opened:
        text = opened.read(int.from_bytes(opened.read(8), "little"))
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise BadInput(f"{file.url}: header is no JSON object: expected a .safetensors file")
    return {"": 8 + len(text), **header}


def spans_of(headers: Mapping[str, Mapping[str, Any]], files: Mapping[str, RemoteFile]) -> dict[str, Span]:
    """Tensor -> where it lies, by headers that `open_checkpoint` has accepted, as `header_of` gives them."""
    spans = {}
    for name, header in headers.items():
        for tensor, entry in header.items():
            if tensor not in ("", "__metadata__"):
                start, stop = (header[""] + offset for offset in entry["data_offsets"])
                spans[tensor] = Span(name, files[name].url, start, stop)
    return spans


@dataclass(frozen=True)
class RemoteTensors:
    """The tensors of one commit, each read when its values are, into a file of its own in `folder`.

    `stored` are their shapes and types; `kept` is the folder with the commit's config.json.
    """

    server: Server
    stored: Mapping[str, StoredTensor]
    spans: Mapping[str, Span]
    folder: Path
    kept: Path

    def lazily(self) -> dict[str, StoredTensor]:
        """The tensors, with values that are read from the server."""
        return {name: replace(stored, raw=partial(self._raw, stored)) for name, stored in self.stored.items()}

    def _raw(self, stored: StoredTensor) -> Raw:
        if math.prod(stored.shape) == 0:
            return np.empty(stored.shape, ITEM[stored.dtype])
        path, span = self._path(stored.name), self.spans[stored.name]
        if not path.is_file():
            self.server.save(span.url, span.start, span.stop, path)
        return np.memmap(path, ITEM[stored.dtype], "r", 0, stored.shape).view(np.ndarray)

    def _path(self, name: str) -> Path:
        return self.folder / "tensors" / hashlib.sha256(name.encode()).hexdigest()[:32]

    def sample(self, name: str, start: int, stop: int) -> Raw:
        """Values start:stop of a tensor, in the order of storage."""
        item, span = ITEM[self.stored[name].dtype], self.spans[name]
        begin, end = (span.start + place * item.itemsize for place in (start, stop))
        return np.frombuffer(self.server.bytes_of(span.url, begin, end), item)

    def release(self, name: str) -> None:
        """Delete a tensor's file."""
        self._path(name).unlink(missing_ok=True)

    def auditable(self, names: Sequence[str]) -> Path:
        """A folder with one .safetensors file, which holds these tensors alone, and the commit's config."""
        folder = self.folder / "asked"
        folder.mkdir(exist_ok=True)
        if (self.kept / "config.json").is_file():
            shutil.copyfile(self.kept / "config.json", folder / "config.json")
        tensors = self.lazily()
        header, end = {}, 0
        for name in names:
            size = self.spans[name].stop - self.spans[name].start
            header[name] = {"dtype": tensors[name].dtype, "shape": tensors[name].shape,
                            "data_offsets": [end, end + size]}
            end += size
        text = json.dumps(header).encode()
        with (folder / "model.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                file.write(np.ascontiguousarray(tensors[name].raw()).data)
        return folder
