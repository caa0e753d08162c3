"""Folders of checkpoints, one for each run: where they lie, and when they are deleted.

DVC files an output after its stage has ended, and may fail, as where its cache is full. So a finished run
leaves its last checkpoint, and later stages delete it once DVC's cache holds the output. Needs no torch.
"""

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

TOKEN = secrets.token_hex(4)
"""Of this process. Two containers that share a folder may give their processes the same number."""
ABANDONED = 600.0
"""Seconds without a write after which an unfinished file is taken to be that of a killed process."""
FINISHED = "finished"
"""The file in a finished run's folder that holds DVC's name of its output."""
UNFILED = 4
"""Of so many finished runs, the newest ones, checkpoints are kept although DVC has not filed the outputs."""
CACHE = "from dvc.repo import Repo; print(Repo().cache.local.path)"


def home() -> Path:
    """The folder of all checkpoints: ignored by git, and where DVC deletes nothing.

    In `dvc exp run --temp`, $DVC_ROOT is the folder from which it was called.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints"


def own(place: Path) -> Path:
    """The file that this process alone writes to, as another one may train the same run."""
    return place / f"{os.getpid()}-{TOKEN}.partial"


def files(place: Path, pattern: str) -> list[Path]:
    """The folder's files, sorted; an empty list when another process has just removed the folder."""
    with suppress(FileNotFoundError):  # Path.glob ignores this itself from Python 3.13 on
        return sorted(place.glob(pattern))
    return []


def abandoned(place: Path) -> list[Path]:
    """Unfinished files that no process has written to for `ABANDONED` seconds."""
    limit = time.time() - ABANDONED
    found = []
    for file in files(place, "*partial"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < limit:
                found.append(file)
    return found


def remove(place: Path) -> None:
    """Delete a run's checkpoints, and those in folders below, but not what another process writes there."""
    for folder in files(place, "*/"):
        remove(folder)
    for file in [*files(place, "*.pt"), *files(place, FINISHED), own(place)]:
        file.unlink(missing_ok=True)
    _tidy(place)


def finish(place: Path, out: Path) -> None:
    """Keep the last checkpoint of a run that has written its output, the folder `out`, until that is filed.

    If the disk is so full that this cannot be noted, they stay as those of a run that has not finished.
    """
    for old in files(place, "*.pt")[:-1]:
        old.unlink(missing_ok=True)
    if not place.is_dir():  # the run was too short for a checkpoint
        return
    partial = own(place)
    with suppress(OSError):
        partial.write_text(dvc_name(out), encoding="utf-8")
        partial.replace(place / FINISHED)


def clean() -> None:
    """Delete what no run needs: checkpoints of outputs that DVC has filed, and what killed processes left."""
    places = files(home(), "*/")
    for place in places:
        for folder in [*files(place, "*/"), place]:
            _tidy(folder)
    marks = sorted((mark for place in places for mark in files(place, FINISHED)), key=_written)
    cache = _cache() if marks else None
    filed = [mark for mark in marks if cache and _is_filed(mark, cache)]
    unfiled = [mark for mark in marks if mark not in filed]
    for mark in [*filed, *unfiled[:-UNFILED]]:
        remove(mark.parent)


def dvc_name(folder: Path) -> str:
    """The name that DVC gives to a folder's content: in dvc.lock, and as a file of its cache.

    It is the md5 of a list of all files with theirs (DVC 3, dvc_data.hashfile.tree).
    """
    listed = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "md5").hexdigest()
        listed.append({"md5": content, "relpath": path.relative_to(folder).as_posix()})
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def _tidy(place: Path) -> None:
    for file in abandoned(place):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # the folder is not there, or is not empty
        place.rmdir()


def _cache() -> Path | None:
    """Where DVC's cache keeps files by name, or None outside of a DVC repository."""
    asked = subprocess.run([sys.executable, "-c", CACHE], capture_output=True, text=True)
    return Path(asked.stdout.strip()) if asked.returncode == 0 else None


def _is_filed(mark: Path, cache: Path) -> bool:
    """Whether DVC's cache holds the output: its list of files comes last, after all that it lists."""
    try:
        name = mark.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return (cache / name[:2] / name[2:]).is_file()


def _written(file: Path) -> float:
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
