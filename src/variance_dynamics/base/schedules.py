"""Functions of the step: the learning rate of each update, and the steps at which something is measured.

Needs nothing but numbers. A step counts the updates that are done; step 0 is the initial state.
"""

import math
from collections.abc import Callable, Iterable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
    "wsd": lambda progress: min(1.0, (1 - progress) / 0.2),
}
"""Name -> how far the lr is from its lowest value (0) to its peak (1), as a function of progress.

Progress runs from 0 at the end of the warmup to 1 at the last update. wsd means warmup, stable, decay
(arXiv 2404.06395): constant, then linear over the last fifth.
"""

IsDue = Callable[[int], bool]
"""Step -> whether to measure at that step."""


def learning_rate(step: int, peak: float, schedule: str, warmup: int, steps: int, min_ratio: float) -> float:
    """Learning rate of update `step`, which counts from 0 to steps - 1.

    The warmup is linear and starts at peak / warmup. The last update has min_ratio * peak, except under the
    constant schedule.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    lowest = peak if schedule == "constant" else peak * min_ratio
    return lowest + SCHEDULES[schedule](progress) * (peak - lowest)


def at(steps: Iterable[int]) -> IsDue:
    """True at the given steps and at no others."""
    chosen = frozenset(steps)
    return lambda step: step in chosen


def early(until: int) -> list[int]:
    """Every step from 0 to `until`."""
    return list(range(until + 1))


def evenly(every: int, last: int) -> list[int]:
    """0, every, 2 every, ... up to `last`."""
    return list(range(0, last + 1, every))


def log_spaced(per_decade: int, last: int) -> list[int]:
    """About `per_decade` steps in each decade from 1 to `last`, rounded to whole steps; none if it is 0."""
    steps, power = [], 0
    while per_decade and (step := round(10 ** (power / per_decade))) <= last:
        steps.append(step)
        power += 1
    return steps
