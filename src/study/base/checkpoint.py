"""Checkpoints of a long run: named by all that decides its result, checked when read, deleted at the end."""

import hashlib
import json
import os
import secrets
import sys
import time
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import torch

from study.base.provenance import loaded_code

TOKEN = secrets.token_hex(4)
"""Of this process. Two containers that share a folder may give their processes the same number."""
KEPT = 2
"""How many checkpoints are kept. If the newest one is damaged, the one before it is used."""
ABANDONED = 600.0
"""Seconds without a write after which an unfinished file is taken to be that of a killed process."""
TRIES = 100
"""How often a folder is made again when another process, which has finished the same run, removes it."""


def folder(key: str) -> Path:
    """Where a run's checkpoints lie: ignored by git, and where DVC deletes nothing.

    In `dvc exp run --temp`, $DVC_ROOT is the folder from which it was called.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / key


def key(*facts: Any) -> str:
    """A name made from the facts (anything that JSON can hold), our loaded code and torch's version."""
    text = json.dumps([facts, loaded_code(), torch.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def save(place: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` after `step` updates to a file in the folder `place`, and delete older ones.

    The file's name holds the step and the content's sha256. It appears whole or not at all.
    """
    partial = _own(place)
    with _created(partial) as stream:
        torch.save(state, stream)
    with partial.open("rb") as stream:
        name = f"{step:09d}-{_digest(stream)}.pt"
    partial.replace(place / name)
    for old in [*_files(place, "*.pt")[:-KEPT], *_abandoned(place)]:
        old.unlink(missing_ok=True)


def latest(place: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None. A line on stderr names each that is passed over.

    Only tensors and plain values are loaded: a file that would run code cannot be read.
    """
    for file in reversed(_files(place, "*.pt")):
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


def _own(place: Path) -> Path:
    """The file that this process alone writes to, as another one may train the same run."""
    return place / f"{os.getpid()}-{TOKEN}.partial"


def remove(place: Path) -> None:
    """Delete a finished run's checkpoints, but not the file that another process is writing there."""
    for file in [*_files(place, "*.pt"), *_abandoned(place), _own(place)]:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # the folder is not there, or is not empty
        place.rmdir()


def _created(file: Path) -> BufferedWriter:
    """A new file, open for writing. Its folder may be removed by another process until the file is in it."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # mkdir raises either when it is removed meanwhile
            file.parent.mkdir(parents=True, exist_ok=True)
            return file.open("wb")
    file.parent.mkdir(parents=True, exist_ok=True)  # raises the error that remains
    return file.open("wb")


def _files(place: Path, pattern: str) -> list[Path]:
    """The folder's files, sorted; an empty list when another process has just removed the folder."""
    with suppress(FileNotFoundError):  # Path.glob ignores this itself from Python 3.13 on
        return sorted(place.glob(pattern))
    return []


def _abandoned(place: Path) -> list[Path]:
    """Unfinished files that no process has written to for `ABANDONED` seconds."""
    limit = time.time() - ABANDONED
    files = []
    for file in _files(place, "*partial"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < limit:
                files.append(file)
    return files


def _digest(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()
