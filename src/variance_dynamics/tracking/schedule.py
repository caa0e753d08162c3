"""When to measure: step -> bool. A step counts the updates done; 0 is the initial state."""

from collections.abc import Callable, Iterable

Schedule = Callable[[int], bool]


def at(steps: Iterable[int]) -> Schedule:
    """True at the given steps."""
    chosen = frozenset(steps)
    return lambda step: step in chosen


def early(until: int) -> list[int]:
    """Every step from 0 to `until`."""
    return list(range(until + 1))


def evenly(every: int, last: int) -> list[int]:
    """0, every, 2 every, ... up to `last`."""
    return list(range(0, last + 1, every))


def log_spaced(per_decade: int, last: int) -> list[int]:
    """About `per_decade` steps a decade from 1 to `last`, rounded to whole steps."""
    steps, power = [], 0
    while per_decade and (step := round(10 ** (power / per_decade))) <= last:
        steps.append(step)
        power += 1
    return steps
