"""Where a result came from: commit, machine and versions, and no path."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from variance_dynamics.base.machine import all_cores, memory_gib, processor

PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "tokenizers", "dvc", "matplotlib",
            "vl-convert-python")
"""The packages that decide numbers, tables and figures."""


def commit(root: Path) -> dict[str, Any]:
    """commit: the hash of HEAD; clean: whether the files are those of HEAD. Both are None without git."""
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", "src", "params.yaml", "dvc.yaml", "requirements.lock")
    return {"commit": head, "clean": None if changes is None else not changes}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB, and system of this machine."""
    return {"cpu": processor(), "cores": all_cores(), "memory_gib": round(memory_gib(), 1),
            "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """The versions of Python and of PACKAGES."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
