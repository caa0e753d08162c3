"""What is wrong with a series of checkpoints: one line for each fault."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.checkpoint_series.alike import NOISE, Alike, median, out_of_line
from variance_dynamics.theory import null_law

Floats = NDArray[np.float64]
MOST = 0.5
"""Share of the matrices (of a file, or of the model) that a fault must show in."""
NEAR_ZERO = 0.05
"""Cosines of weights that do not descend from one another, in the median over matrices."""
KEPT = 0.3
"""A cosine which the law must predict before its absence says anything."""
RISE = 0.05
"""The cosine with step 0 falls as training goes on; it may rise by this."""
FITS = 0.8
"""Bytes that several steps hold belong to the step to whose neighbours they are so much closer."""
SHOWN = 6
"""Steps or names that a line lists."""


@dataclass(frozen=True)
class Sameness:
    """Steps, by place, which hold the same bytes in all matrices of `file` (all files where it is "").

    `copies` are those to which they do not belong; empty where that cannot be said.
    """

    places: tuple[int, ...]
    file: str
    matrices: int
    copies: tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """What is judged: the numbers of the steps, their matrices, and each step's files: tensor -> file."""

    steps: Sequence[int]
    matrices: Sequence[Alike]
    files: Sequence[Mapping[str, str]]

    @property
    def moving(self) -> list[Alike]:
        """Matrices that are not the same at all steps; all, where every one is."""
        judged = [matrix for matrix in self.matrices if not matrix.constant]
        return [matrix for matrix in judged if not matrix.frozen] or judged

    @property
    def units(self) -> list[tuple[str, list[Alike]]]:
        """All matrices, then those of each file where there are several."""
        names: dict[str, list[Alike]] = {}
        for matrix in self.moving:
            file = next((files[matrix.tensor] for files in self.files if matrix.tensor in files), "")
            names.setdefault(file, []).append(matrix)
        return [("", self.moving), *(sorted(names.items()) if len(names) > 1 else [])]


def faults(facts: Facts, rates: Floats | None, weight_decay: float) -> Iterator[tuple[bool, str]]:
    """Lines, and whether each is a fault or a remark. `rates` [T] is the lr of each update, if known."""
    if len(facts.steps) < 2 or not facts.moving:
        return
    same = list(same_bytes(facts))
    yield from ((True, _said(facts, each)) for each in same)
    yield from single_matrices(facts, same)
    yield from ((True, line) for line in _in_order(facts, same, rates, weight_decay))


def _in_order(facts: Facts, same: Sequence[Sameness], rates: Floats | None, weight_decay: float
              ) -> Iterator[str]:
    """Lines on steps that are not where their weights belong."""
    aside = dict(_out_of_line(facts, same))
    for (place, file), line in aside.items():
        yield f"step {facts.steps[place]:,}: {_in(file)}{line}"
    skipped = {place for place, _ in aside} | {place for each in same for place in each.copies or each.places}
    yield from _from_step_0(facts, skipped, rates, weight_decay)


def same_bytes(facts: Facts) -> Iterator[Sameness]:
    """Groups of steps that share all matrices, or all those of a file."""
    covered: set[tuple[int, int]] = set()
    for file, matrices in facts.units:
        groups: dict[tuple[str, ...], list[int]] = {}
        for place in range(len(facts.steps)):
            bits = tuple(matrix.bits[place] for matrix in matrices)
            if all(bits):
                groups.setdefault(bits, []).append(place)
        for places in groups.values():
            pairs = {(a, b) for a in places for b in places if a < b}
            if pairs - covered:
                covered |= pairs
                yield Sameness(tuple(places), file, len(matrices), _copies(facts, matrices, places))


def _copies(facts: Facts, matrices: Sequence[Alike], places: Sequence[int]) -> tuple[int, ...]:
    """The steps to which these bytes belong less than to the one whose neighbours they fit best."""
    others = [place for place in range(len(facts.steps)) if place not in places]
    ranked = sorted((_misfit(matrices, place, others), place) for place in places)
    (best, _), (second, _) = ranked[:2]
    if not best < FITS * second:
        return ()
    return tuple(sorted(place for _, place in ranked[1:]))


def _misfit(matrices: Sequence[Alike], place: int, others: Sequence[int]) -> float:
    """Mean distance from the steps before and after, of `others`, over the distance between those two.

    The first and the last step have one neighbour, which is compared with the next. Infinite where there
    are fewer than two others.
    """
    before, after = [o for o in others if o < place], [o for o in others if o > place]
    beside = [*before[-1:], *after[:1]]
    two = beside if len(beside) == 2 else before[-2:] or after[:2]
    if len(two) < 2:
        return math.inf
    far = [median(matrix.distance[place, o] for matrix in matrices) for o in beside]
    apart = median(matrix.distance[two[0], two[1]] for matrix in matrices)
    return sum(far) / len(far) / (apart + NOISE)


def _said(facts: Facts, same: Sameness) -> str:
    where = f"in {same.file} " if same.file else ""
    tensors = f"{'all ' if not same.file else ''}{same.matrices} tensors {where}are the same bytes"
    line = f"steps {_listed([facts.steps[place] for place in same.places])}: {tensors}"
    if not same.copies:
        return line
    owner = next(place for place in same.places if place not in same.copies)
    return f"{line}; by their neighbours they belong to step {facts.steps[owner]:,}"


def single_matrices(facts: Facts, same: Sequence[Sameness]) -> Iterator[tuple[bool, str]]:
    """Lines on steps that share some matrices, but no whole file; and whether steps between them do not.

    Matrices that are the same at steps in a row may be frozen, or have no gradient any more.
    """
    known = {(a, b) for each in same for a in each.places for b in each.places}
    shared: dict[tuple[int, ...], list[str]] = {}
    for matrix in facts.moving:
        groups: dict[str, list[int]] = {}
        for place, bits in enumerate(matrix.bits):
            if bits:
                groups.setdefault(bits, []).append(place)
        for group in groups.values():
            if len(group) > 1 and (group[0], group[-1]) not in known:
                shared.setdefault(tuple(group), []).append(matrix.tensor)
    for places, names in shared.items():
        apart = places[-1] - places[0] >= len(places)
        yield apart, (f"steps {_listed([facts.steps[place] for place in places])}: {len(names)} of "
                      f"{len(facts.moving)} tensors are the same bytes: {_names(names)}")


def _out_of_line(facts: Facts, same: Sequence[Sameness]) -> Iterator[tuple[tuple[int, str], str]]:
    """(place, file), and what is wrong with that step; the whole model first, and then files."""
    whole: set[int] = set()
    for file, matrices in facts.units:
        left_out = whole | {place for each in same if each.file in ("", file) or not file
                            for place in each.copies or each.places}
        places = [place for place in range(len(facts.steps)) if place not in left_out]
        while worst := _worst(matrices, places):
            place, nearest = worst
            yield (place, file), _aside(facts, nearest)
            places.remove(place)  # the steps beside it may be out of line with nothing but it
            whole |= set() if file else {place}


def _worst(matrices: Sequence[Alike], places: Sequence[int]) -> tuple[int, list[int | None]] | None:
    """The step that is out of line in most matrices, and what it is like in each; None where none is.

    A step that is like one far away is before others: it may be the reason that these are out of line.
    """
    votes: dict[int, list[int | None]] = {}
    for matrix in matrices:
        for place, nearest in out_of_line(matrix, places).items():
            votes.setdefault(place, []).append(nearest)
    enough = {place: nearest for place, nearest in votes.items() if len(nearest) >= MOST * len(matrices)}
    return max(enough.items(), default=None,
               key=lambda item: (sum(place is not None for place in item[1]), len(item[1]), -item[0]))


def _aside(facts: Facts, nearest: Sequence[int | None]) -> str:
    known = [place for place in nearest if place is not None]
    line = "weights out of line with the steps before and after"
    if 2 * len(known) < len(nearest):
        return line
    return f"{line}: they are like those of step {facts.steps[max(set(known), key=known.count)]:,}"


def _from_step_0(facts: Facts, skipped: set[int], rates: Floats | None, weight_decay: float) -> Iterator[str]:
    """Whether the series descends from its step 0, and the cosine with it falls."""
    if facts.steps[0] != 0 or 0 in skipped:
        return
    places = [place for place in range(len(facts.steps)) if place not in skipped]
    cosine = {place: median(1 - matrix.distance[0, place] for matrix in facts.moving)
              for place in places}
    stranger = _stranger(facts, places[1:], cosine, rates, weight_decay)
    if stranger:
        yield stranger
        return
    kept = _longest_fall([cosine[place] for place in places])
    for place in (place for number, place in enumerate(places) if number not in kept):
        yield (f"step {facts.steps[place]:,}: the median cosine with step 0 is {cosine[place]:.3f}, out of "
               "line with the steps before and after")


def _stranger(facts: Facts, places: Sequence[int], cosine: Mapping[int, float], rates: Floats | None,
              weight_decay: float) -> str:
    """A line where step 0 is no ancestor of the steps after it; else an empty text."""
    if rates is not None:
        left = null_law.decay(rates, weight_decay)
        for place in places:
            expected = _expected(facts, place, left)
            if expected >= KEPT and abs(cosine[place]) < NEAR_ZERO:
                return (f"step {facts.steps[place]:,} does not descend from step 0: the median cosine is "
                        f"{cosine[place]:.3f}, where decay alone leaves {expected:.2f}")
        return ""
    if len(places) < 2:
        return ""
    one, two = places[:2]
    first, second = facts.steps[one], facts.steps[two] - facts.steps[one]
    onwards = median(1 - matrix.distance[one, two] for matrix in facts.moving)
    grown = median(matrix.rms[0] / matrix.rms[one] for matrix in facts.moving if matrix.rms[one] > 0)
    if abs(cosine[one]) < NEAR_ZERO and onwards > 0.5 and grown >= KEPT and first <= 2 * second:
        return (f"step {first:,} does not descend from step 0: the median cosine is {cosine[one]:.3f}, and "
                f"from step {first:,} to {facts.steps[two]:,} it is {onwards:.3f}")
    return ""


def _expected(facts: Facts, place: int, left: Floats) -> float:
    """The median over matrices of e^-kappa rms_0 / rms_t."""
    step = facts.steps[place]
    if step >= len(left):
        return 0.0
    ratios = (matrix.rms[0] / matrix.rms[place] for matrix in facts.moving if matrix.rms[place] > 0)
    return float(left[step]) * median(ratios)


def _longest_fall(values: Sequence[float]) -> set[int]:
    """Places of the longest subsequence which does not rise by more than RISE; it starts at the first."""
    length, before = [1] + [0] * (len(values) - 1), [-1] * len(values)
    for b in range(1, len(values)):
        for a in range(b):
            if length[a] and values[b] <= values[a] + RISE and length[a] >= length[b]:
                length[b], before[b] = length[a] + 1, a
    place, kept = max(range(len(values)), key=length.__getitem__), set()
    while place >= 0:
        kept.add(place)
        place = before[place]
    return kept


def _in(file: str) -> str:
    return f"{file}: " if file else ""


def _listed(steps: Sequence[int]) -> str:
    shown = [f"{step:,}" for step in steps[:SHOWN]]
    more = len(steps) - len(shown)
    last = f"{more} more" if more else shown.pop()
    return f"{', '.join(shown)} and {last}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
