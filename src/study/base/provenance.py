"""Where a result came from: the commit, the machine and the versions, but no path."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from variance_dynamics.base.machine import all_cores, memory_gib, processor

PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "tokenizers", "dvc", "matplotlib",
            "vl-convert-python")
"""The packages that decide numbers, tables and figures."""
SOURCES = ("src", "params.yaml", "dvc.yaml", "requirements.lock")
"""The files that decide results; changes elsewhere do not matter."""


def commit(root: Path) -> dict[str, Any]:
    """commit: the hash of HEAD; clean: whether `SOURCES` are as in HEAD. Both are None without git."""
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *SOURCES)
    return {"commit": head, "clean": None if changes is None else not changes}


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints, or None when it fails or git is not installed."""
    try:
        ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return ended.stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, number of cores, memory in GiB, and operating system of this machine."""
    return {"cpu": processor(), "cores": all_cores(), "memory_gib": round(memory_gib(), 1),
            "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """The versions of Python and of `PACKAGES`."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
