"""Where a result came from: the commit, the machine and the versions, but no path."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from variance_dynamics.base.machine import all_cores, memory_gib, processor

PACKAGES = ("variance-dynamics", "torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "tokenizers",
            "dvc", "matplotlib", "vl-convert-python")
"""The packages that decide numbers, tables and figures."""
OURS = ("variance_dynamics", "study")


def commit(root: Path) -> dict[str, Any]:
    """commit: the hash of HEAD; clean: whether the code is that of HEAD. Both are None without git.

    params.yaml may differ from HEAD: `dvc exp run` writes there, and its values are recorded on their own.
    """
    head = git(root, "rev-parse", "HEAD")
    changes = git(root, "status", "--porcelain", "--", "src", "dvc.yaml", "requirements.lock")
    return {"commit": head, "clean": None if changes is None else not changes}


def git(root: Path, *arguments: str) -> str | None:
    """What a git command prints, or None when it fails or git is not installed."""
    try:
        ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True,
                               encoding="utf-8", errors="replace")
    except (OSError, subprocess.CalledProcessError):
        return None
    return ended.stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, number of cores, memory in GiB, and operating system of this machine."""
    return {"cpu": processor(), "cores": all_cores(), "memory_gib": round(memory_gib(), 1),
            "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """The versions of Python and of those of PACKAGES that are installed."""
    installed = {name: each for name in PACKAGES if (each := _version(name))}
    return {"python": platform.python_version(), **installed}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # a machine that only trains needs no package that draws
        return None


def loaded_code() -> dict[str, str]:
    """sha256 of every module of the library and of the study that this process has loaded."""
    files = {name: module.__file__ for name, module in sys.modules.items()
             if name.partition(".")[0] in OURS}
    return {name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for name, file in files.items() if file}


def home() -> Path:
    """The folder of all notes: ignored by git, and where DVC deletes nothing (see `checkpoint.folder`)."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".runs"


def digest(folder: Path) -> str:
    """sha256 of the names and contents of all files in a folder; without a folder, of none."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()
