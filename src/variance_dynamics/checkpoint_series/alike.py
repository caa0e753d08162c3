"""How alike the steps of one tensor are: what `integrity` judges, from samples of the values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.checkpoint_series.records import Record

Floats = NDArray[np.float64]
CLOSER = 0.5
"""A step is far from its neighbours where it is not even half as close to them as it should be."""
NOISE = 1e-3
"""Distances below this are those of float16."""
STD_JUMP = 0.05
"""Of ln std, between neighbours whose weights are nearly the same."""
NEARLY_THE_SAME = 0.1


def median(values: Iterable[float]) -> float:
    """Of those that are not NaN; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


@dataclass(frozen=True)
class Alike:
    """One matrix over the steps [S] of a series.

    `distance` [S, S] is 1 - cosine between the samples of two steps, NaN where one lacks it. `rms` [S] is
    that of the samples. `bits` names what is the same to the last bit, "" where a step lacks it.
    """

    tensor: str
    distance: Floats
    rms: Floats
    bits: tuple[str, ...]
    constant: bool

    @property
    def frozen(self) -> bool:
        """Whether it is the same at all steps that have it."""
        return len(set(self.bits) - {""}) == 1


def alike(tensor: str, records: Mapping[int, Record], steps: Sequence[int]) -> Alike:
    """From the records of one tensor by step."""
    present = [records.get(step) for step in steps]
    size = max(record.sample.size for record in records.values())
    absent = np.full(size, np.nan)
    table = np.array([absent if record is None or record.constant or record.broken
                      else record.sample.astype(np.float64) for record in present])
    norms = np.sqrt((table**2).sum(1))
    cosines = np.clip(table @ table.T / np.outer(norms, norms), -1, 1)
    bits = tuple("" if record is None or record.constant else record.bits for record in present)
    rms = np.array([record.sample_rms if record else np.nan for record in present])
    return Alike(tensor, 1 - cosines, rms, bits, not any(bits))


def out_of_line(matrix: Alike, places: Sequence[int]) -> dict[int, int | None]:
    """Which of `places` (numbers of steps, in order) do not lie between their neighbours.

    The value is the place which that step is nearest to, if it is far off, or None. Training moves weights
    on: a step is as close to its neighbours as they are to each other, or closer, and closer than others.
    """
    places = [place for place in places if not math.isnan(matrix.distance[place, place])]
    distance = matrix.distance[np.ix_(places, places)]
    found: dict[int, int | None] = {}
    for b in range(1, len(places)):
        nearest = _like_another(distance, b)
        if nearest is not None:
            found[places[b]] = places[nearest]
        elif b + 1 < len(places) and (_beside_its_neighbours(distance, b)
                                      or _jumps(matrix.rms[places], distance, b)):
            found[places[b]] = None
    return found


def _beside_its_neighbours(distance: Floats, b: int) -> bool:
    aside = min(distance[b - 1, b], distance[b, b + 1])
    return bool(aside > NOISE and distance[b - 1, b + 1] < CLOSER * aside)


def _jumps(rms: Floats, distance: Floats, b: int) -> bool:
    """Whether the std differs from that of both neighbours, which are nearly the same."""
    if not distance[b - 1, b + 1] < NEARLY_THE_SAME or min(rms[b - 1 : b + 2]) <= 0:
        return False
    before, now, after = np.log(rms[b - 1 : b + 2])
    beyond = max(min(before, after) - now, now - max(before, after))
    return bool(beyond > max(STD_JUMP, 3 * abs(after - before)))


def _to_neighbours(distance: Floats, b: int) -> float:
    return float(min(distance[b, place] for place in (b - 1, b + 1) if 0 <= place < len(distance)))


def _like_another(distance: Floats, b: int) -> int | None:
    """A step that is far away in the series and far nearer in its weights than both neighbours."""
    far = [place for place in range(len(distance)) if abs(place - b) > 2]
    if not far:
        return None
    nearest = min(far, key=lambda place: distance[b, place])
    own = _to_neighbours(distance, b)
    if own > NOISE and distance[b, nearest] < CLOSER * own and own > _to_neighbours(distance, nearest):
        return nearest
    return None
