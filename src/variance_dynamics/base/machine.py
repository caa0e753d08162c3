"""Facts about this machine: the cores that a process may use, the processor's name, the memory."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """The number of cores that this process may use; OMP_NUM_THREADS, where it is set, may say fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(all_cores(), int(asked)) if asked.isdecimal() and int(asked) else all_cores()


def all_cores() -> int:
    """The number of cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name; with family and model on Linux, since some names do not show the generation."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = entries.get("model name", platform.processor())
    kind = ", ".join(f"{key} {entries[key]}" for key in ("cpu family", "model") if key in entries)
    return f"{name} ({kind})" if kind else name


def memory_gib() -> float:
    """The machine's memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
