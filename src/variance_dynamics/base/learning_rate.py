"""The learning rate of each update of a run: warmup, then one of SCHEDULES. Needs nothing but numbers."""

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
    "wsd": lambda progress: min(1.0, (1 - progress) / 0.2),
}
"""Progress after the warmup (1 at the last update) to the share of the way from the lowest lr to the peak.

wsd is warmup, stable, decay (2404.06395): constant, then linear over the last fifth.
"""


def learning_rate(step: int, peak: float, schedule: str, warmup: int, steps: int, min_ratio: float) -> float:
    """Learning rate of update `step` of 0..steps-1.

    Linear warmup from peak / warmup; but for constant, the last update is at min_ratio * peak.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    lowest = peak if schedule == "constant" else peak * min_ratio
    return lowest + SCHEDULES[schedule](progress) * (peak - lowest)
