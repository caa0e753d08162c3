"""Parts of a batch on the cores of a CPU side by side, or one after another on a GPU."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch


class Map(Protocol):
    """Like the built-in `map`: results come in the order of the parts, whichever ends first."""

    def __call__(self, work: Callable[[Any], Any], parts: Iterable[Any], /) -> Iterator[Any]: ...


def over_parts(parts: int, device: str) -> Map:
    """How to go over `parts` equal parts; on a CPU torch's own threads are set to the cores left per part.

    One part per core beats splitting every operation over all cores: nothing waits at a barrier after each of
    a step's thousand operations, and sums do not depend on how many cores there are.
    """
    if device != "cpu":
        return map
    each = max(1, cores() // parts)
    torch.set_num_threads(each)
    if parts == 1 or cores() == 1:
        return map
    return ThreadPoolExecutor(min(parts, cores()), initializer=torch.set_num_threads, initargs=(each,)).map


def cores() -> int:
    """Cores this process may use; OMP_NUM_THREADS, where it is set, says fewer."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable, int(asked)) if asked.isdecimal() and int(asked) else usable
