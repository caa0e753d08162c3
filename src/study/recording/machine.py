"""What a recorded run says of where it came from: commit, machine and versions, and no path."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "tokenizers")


def commit(root: Path) -> dict[str, Any]:
    """commit: HEAD's hash; clean: whether the files are those of HEAD. Both None without git."""
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", "src", "params.yaml", "dvc.yaml", "requirements.lock")
    return {"commit": head, "clean": None if changes is None else not changes}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        told = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def described() -> dict[str, Any]:
    """CPU, cores, memory and system of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": processor(), "cores": cores, "memory_gib": round(memory, 1),
            "system": f"{platform.system()} {platform.machine()}"}


def processor() -> str:
    """The CPU's name and, as some names tell no generation, its family and model, where Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name", platform.processor())
    kind = ", ".join(f"{key} {told[key]}" for key in ("cpu family", "model") if key in told)
    return f"{name} ({kind})" if kind else name


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
