"""Checkpoints of a long run: untracked, keyed by all that decides its result, checked, gone on success."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

KEPT = 2
"""Checkpoints kept: if the newest is damaged, the one before is used."""


def folder(key: str) -> Path:
    """Where a run's checkpoints lie: git-ignored, and outside what DVC deletes ($DVC_ROOT in --temp runs)."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / key


def key(*facts: Any) -> str:
    """A name from the facts (anything that JSON holds), the package's loaded code and torch's version."""
    told = json.dumps([facts, loaded_code(), torch.__version__], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def loaded_code() -> dict[str, str]:
    """sha256 of every module of this package that is loaded."""
    package = __name__.partition(".")[0]
    files = {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == package}
    return {name: _digest(Path(file)) for name, file in files.items() if file}


def save(place: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` after `step` updates; its file, named by step and sha256, appears complete or never."""
    place.mkdir(parents=True, exist_ok=True)
    partial = place / "partial"
    torch.save(state, partial)
    partial.replace(place / f"{step:09d}-{_digest(partial)}.pt")
    for old in sorted(place.glob("*.pt"))[:-KEPT]:
        old.unlink()


def latest(place: Path) -> dict[str, Any] | None:
    """The newest checkpoint whose sum is right, or None. Tensors and plain values only: no code is loaded."""
    for file in sorted(place.glob("*.pt"), reverse=True):
        if file.stem.partition("-")[2] == _digest(file):
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            return state
        print(f"{file}: damaged checkpoint, passed over", file=sys.stderr)
    return None


def remove(place: Path) -> None:
    """Delete a finished run's checkpoints."""
    for file in place.glob("*"):
        file.unlink()
    if place.is_dir():
        place.rmdir()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
