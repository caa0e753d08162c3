"""Checkpoints of a long run: in a folder named by all that decides its result, and checked when read."""

import hashlib
import json
import sys
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import torch

from study.base.checkpoint_folder import abandoned, files, home, own
from study.base.provenance import loaded_code

KEPT = 2
"""How many checkpoints are kept. If the newest one is damaged, the one before it is used."""
TRIES = 100
"""How often a folder is made again when another process, which has finished the same run, removes it."""


def folder(*facts: Any) -> Path:
    """The folder of the run that the facts (anything that JSON can hold), our loaded code and torch make."""
    text = json.dumps([facts, loaded_code(), torch.__version__], sort_keys=True)
    return home() / hashlib.sha256(text.encode()).hexdigest()[:32]


def save(place: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` after `step` updates to a file in the folder `place`, and delete older ones.

    The file's name holds the step and the content's sha256. It appears whole or not at all.
    """
    partial = own(place)
    with _created(partial) as stream:
        torch.save(state, stream)
    with partial.open("rb") as stream:
        name = f"{step:09d}-{_digest(stream)}.pt"
    partial.replace(place / name)
    for old in [*files(place, "*.pt")[:-KEPT], *abandoned(place)]:
        old.unlink(missing_ok=True)


def latest(place: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None. A line on stderr names each that is passed over.

    Only tensors and plain values are loaded: a file that would run code cannot be read.
    """
    for file in reversed(files(place, "*.pt")):
        with suppress(FileNotFoundError), file.open("rb") as stream:  # another process may have deleted it
            state = _loaded(stream) if file.stem.partition("-")[2] == _digest(stream) else None
            if state is not None:
                return state
            print(f"{file}: damaged checkpoint, passed over", file=sys.stderr)
    return None


def _loaded(stream: BufferedReader) -> dict[str, Any] | None:
    """The state in an open file, or None if it holds none: it may have been torn before its sum was taken."""
    stream.seek(0)
    try:
        state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception:  # a torn file makes torch raise almost anything
        return None
    return state


def _created(file: Path) -> BufferedWriter:
    """A new file, open for writing. Its folder may be removed by another process until the file is in it."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # mkdir raises either when it is removed meanwhile
            file.parent.mkdir(parents=True, exist_ok=True)
            return file.open("wb")
    file.parent.mkdir(parents=True, exist_ok=True)  # raises the error that remains
    return file.open("wb")


def _digest(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()
