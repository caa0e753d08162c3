"""Rates on a noisy machine, and what they were measured on.

A benchmark is a script that prints its rows as JSON. A row holds `bench`, `shape`, `peer` and what was
measured over all rounds, as `median`, `low` and `high` in `unit`. Every peer has its turn in each round, and
ratios are taken within a round, because the machine's speed drifts. `run.py` runs the scripts.
"""

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from variance_dynamics.base.machine import all_cores, memory_gib, processor

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "numpy", "jax", "jaxlib", "transformers", "tokenizers", "pandas")
Row = dict[str, Any]
Rates = dict[str, list[float]]
"""Units per second of each peer, one number for each round."""
Work = tuple[Callable[[], object], float]
"""What to time, and how many units it does in one call."""


def rates(works: dict[str, Work], rounds: int) -> Rates:
    """Units per second of each work in each round."""
    measured: Rates = {name: [] for name in works}
    for number in range(rounds):
        for name, (work, units) in works.items():
            started = time.perf_counter()
            work()
            measured[name].append(units / (time.perf_counter() - started))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return measured


def spread(values: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Median, lowest and highest value, to four digits."""
    named = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {prefix + name: float(f"{value:.4g}") for name, value in named.items()}


def against(measured: Rates, ours: str, peer: str) -> dict[str, float]:
    """Our rate over the peer's, as a spread over the rounds."""
    return spread([a / b for a, b in zip(measured[ours], measured[peer], strict=True)], "ratio_")


def machine() -> dict[str, Any]:
    """What a rate depends on: the processor, the cores that we may use, the memory in GB, the GPU if any."""
    import torch

    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"processor": processor(), "cores": all_cores(), "memory_gb": round(memory_gib() * 2**30 / 1e9),
            "system": platform.system(), **gpu}


def versions() -> dict[str, str]:
    """The versions of Python and of PACKAGES."""
    known = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "missing"
    return known
