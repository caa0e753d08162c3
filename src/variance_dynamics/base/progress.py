"""A progress bar with rate and time left, which writes few lines into a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, **options: Any) -> "tqdm[Any]":
    """tqdm on stderr: redrawn each half second on a terminal, one line each 15 s in a log."""
    options.setdefault("mininterval", 0.5 if sys.stderr.isatty() else 15.0)
    options.setdefault("dynamic_ncols", sys.stderr.isatty())
    return tqdm(items, file=sys.stderr, **options)
