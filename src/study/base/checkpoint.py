"""Checkpoints of a long run: untracked, keyed by all that decides its result, checked, gone on success."""

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import torch

from study.base.provenance import loaded_code

KEPT = 2
"""Checkpoints kept: if the newest is damaged, the one before is used."""
ABANDONED = 600.0
"""Seconds after which an unfinished file is taken for a killed process's."""
TRIES = 100
"""Times that a folder may vanish before a file is in it: other processes remove it on their success."""


def folder(key: str) -> Path:
    """Where a run's checkpoints lie: git-ignored, and outside what DVC deletes ($DVC_ROOT in --temp runs)."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / key


def key(*facts: Any) -> str:
    """A name from the facts (anything that JSON holds), the package's loaded code and torch's version."""
    told = json.dumps([facts, loaded_code(), torch.__version__], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def save(place: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` after `step` updates; its file, named by step and sha256, appears complete or never."""
    partial = place / f"{os.getpid()}.partial"  # two processes may train the same run
    with _created(partial) as stream:
        torch.save(state, stream)
    with partial.open("rb") as stream:
        name = f"{step:09d}-{_digest(stream)}.pt"
    partial.replace(place / name)
    for old in [*_files(place, "*.pt")[:-KEPT], *_left_behind(place)]:
        old.unlink(missing_ok=True)


def latest(place: Path) -> dict[str, Any] | None:
    """The newest checkpoint whose sum is right, or None. Tensors and plain values only: no code is loaded."""
    for file in reversed(_files(place, "*.pt")):
        with suppress(FileNotFoundError), file.open("rb") as stream:  # gone: another process is further
            if file.stem.partition("-")[2] == _digest(stream):
                stream.seek(0)
                state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
                return state
            print(f"{file}: damaged checkpoint, passed over", file=sys.stderr)
    return None


def remove(place: Path) -> None:
    """Delete a finished run's checkpoints, but not what another process is writing there."""
    for file in [*_files(place, "*.pt"), *_left_behind(place), place / f"{os.getpid()}.partial"]:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        place.rmdir()


def _created(file: Path) -> BufferedWriter:
    """A new file open for writing, in a folder that another process may remove until it is there."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # gone since, or while mkdir looked at it
            file.parent.mkdir(parents=True, exist_ok=True)
            return file.open("wb")
    file.parent.mkdir(parents=True, exist_ok=True)  # says what is wrong
    return file.open("wb")


def _files(place: Path, pattern: str) -> list[Path]:
    """The folder's files, sorted; none where another process has just removed it."""
    with suppress(FileNotFoundError):  # as Path.glob itself does from Python 3.13 on
        return sorted(place.glob(pattern))
    return []


def _left_behind(place: Path) -> list[Path]:
    """Unfinished files that nobody has written to for a while: their processes were killed."""
    before = time.time() - ABANDONED
    found = []
    for file in _files(place, "*partial"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < before:
                found.append(file)
    return found


def _digest(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()
