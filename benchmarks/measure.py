"""Rates on a noisy machine: every peer once in each round, medians, and ratios taken within a round.

A benchmark is a script that prints its rows as JSON; a row holds `bench`, `shape`, `peer` and what was
measured over rounds as `median`, `low` and `high` in `unit`. `run.py` runs them all.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
Work = tuple[Callable[[], object], float]
"""What to time, and how many units it does in one call."""


def rates(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Units per second of each work in each round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name, (work, units) in works.items():
            started = time.perf_counter()
            work()
            found[name].append(units / (time.perf_counter() - started))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def spread(values: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Median, lowest and highest, to four digits."""
    named = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {prefix + name: float(f"{value:.4g}") for name, value in named.items()}


def against(found: dict[str, list[float]], ours: str, peer: str) -> dict[str, float]:
    """How many times the peer's rate ours is, over rounds."""
    return spread([a / b for a, b in zip(found[ours], found[peer], strict=True)], "ratio_")
