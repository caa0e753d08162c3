"""Parts of a batch on the cores of a CPU side by side, or one after another on a GPU."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch

from variance_dynamics.base.machine import cores


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
