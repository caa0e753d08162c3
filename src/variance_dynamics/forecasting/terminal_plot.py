"""A chart in plain characters."""

import math
from collections.abc import Iterable, Sequence

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 68, 16


def chart(curves: Iterable[tuple[str, Points]], x_name: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Curves as (a character, points), later ones on top; both axes linear, y from 0."""
    drawn = [(mark, [(x, y) for x, y in points if math.isfinite(y)]) for mark, points in curves]
    most_x = max((x for _, points in drawn for x, _ in points), default=1.0) or 1.0
    most_y = max((y for _, points in drawn for _, y in points), default=1.0) or 1.0
    grid = [[" "] * width for _ in range(height)]
    for mark, points in drawn:
        for x, y in points:
            grid[height - 1 - round(y / most_y * (height - 1))][round(x / most_x * (width - 1))] = mark
    lines = [f"{_label(i, height, most_y):>8} |{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    axis = f"{'':>8} +{'-' * width}"
    right = f"{most_x:,.0f} {x_name}"
    return "\n".join([*lines, axis, f"{'':>10}0{right:>{width - 1}}"])


def _label(line: int, height: int, most: float) -> str:
    """A number on every fifth line."""
    value = most * (height - 1 - line) / (height - 1)
    return f"{value:.4g}" if line % 5 == 0 else ""
