"""Every tensor of every step, read once: one tensor over all steps, beside step 0 and the step before.

So that no tensor is whole in memory, files are mapped anew for each chunk. The tensor of the step before and
that of step 0 have been read just before, and still are in the system's cache.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from variance_dynamics.auditing.tensors import ITEM, Floats, Moments, StoredTensor, float64, measure
from variance_dynamics.checkpoint_series.records import Journal, Record, Sample, Values
from variance_dynamics.checkpoint_series.steps import Opened, Step
from variance_dynamics.weights.pieces import Piece

CHUNK = 2**18
"""Values that are worked on at once."""
SAMPLE = 2048
"""Values in the middle of a tensor by which steps are compared."""
FORMAT = 1
"""Of the records; one more where their meaning changes."""
COSINES = ("cosine_init", "cosine_before")
"""Cosine of the weights with those of step 0, and with those of the step before."""


@dataclass(frozen=True)
class Wanted:
    """A tensor that is read: its name, its shape, and the matrices in it (none of a vector)."""

    tensor: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Entry:
    """A step that could be opened."""

    step: Step
    opened: Opened


def walk(entries: Sequence[Entry], wanted: Wanted, journal: Journal, whole: bool,
         done: Callable[[int], object]) -> Iterator[Record]:
    """The records of one tensor at all steps that hold it in this shape; `whole` measures all its values.

    `done` is given the number of bytes of each tensor that is finished.
    """
    stored = [entry.opened.checkpoint.tensors.get(wanted.tensor) for entry in entries]
    held = [entry for entry, tensor in zip(entries, stored, strict=True)
            if tensor and tensor.shape == wanted.shape]
    start = held[0] if held and held[0].step.number == 0 else None
    before: tuple[Entry, Record] | None = None
    first: tuple[Entry, Record] | None = None
    for entry in held:
        key = _key(wanted, whole, entry, start, before[0] if before else None)
        record = journal.known.get(key)
        if record is None:
            record = _record(entry, wanted, key, whole, first, before)
            journal.add(record)
        yield record
        done(bytes_of(entry.opened.checkpoint.tensors[wanted.tensor]))
        if before and before[0] is not start:
            before[0].opened.release(wanted.tensor)
        before = entry, record
        first = before if entry is start else first
    if before and before[0] is not start:
        before[0].opened.release(wanted.tensor)


def confirmed(records: Mapping[int, Record], entries: Sequence[Entry]) -> dict[int, Record]:
    """The records of a tensor, whose `bits` are now about all its bytes where samples are the same.

    Its bytes are read, but where the hub's hashes say that the files are the same.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        record = records.get(entry.step.number)
        if record is not None and not record.constant:
            groups.setdefault(record.bits, []).append(entry)
    sure = dict(records)
    for group in groups.values():
        name = sure[group[0].step.number].tensor
        hashes = {entry.opened.hashes.get(entry.opened.files[name]) for entry in group}
        if len(group) == 1 or (len(hashes) == 1 and None not in hashes):
            continue
        for entry in group:
            stored = entry.opened.checkpoint.tensors[name]
            sure[entry.step.number] = replace(sure[entry.step.number], bits=_digest(stored))
            entry.opened.release(name)
    return sure


def _digest(stored: StoredTensor) -> str:
    """The same where all bytes are the same."""
    total, raw = hashlib.sha256(), stored.raw()
    rows = max(1, CHUNK // max(1, math.prod(stored.shape[1:])))
    for start in range(0, len(raw), rows):
        total.update(np.ascontiguousarray(raw[start : start + rows]).data)
    return total.hexdigest()[:16]


def bytes_of(stored: StoredTensor) -> int:
    """The bytes of all its values."""
    return math.prod(stored.shape) * ITEM[stored.dtype].itemsize


def _key(wanted: Wanted, whole: bool, *entries: Entry | None) -> str:
    """The same where the same would be measured."""
    facts = [FORMAT, whole, wanted.tensor, [repr(piece) for piece in wanted.pieces],
             *(entry and [entry.step.number, entry.step.identity] for entry in entries)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _record(entry: Entry, wanted: Wanted, key: str, whole: bool, first: tuple[Entry, Record] | None,
            before: tuple[Entry, Record] | None) -> Record:
    stored = entry.opened.checkpoint.tensors[wanted.tensor]
    sample, rms, broken, constant, bits = _sampled(entry.opened, stored, whole)
    values: dict[str, Values] = {}
    if whole:
        others = dict(zip(COSINES, (first, before), strict=True))
        broken, constant = 0, True
        for piece in wanted.pieces:
            moments = measure(piece.of(stored.raw()), stored.dtype)
            broken, constant = broken + moments.broken, constant and moments.constant
            name = piece.parameter.name
            values[name] = _statistics(moments) | _cosines(piece, stored, moments, others)
            bits += repr(moments)
        if not wanted.pieces:
            broken = measure(stored.raw(), stored.dtype).broken
    bits = hashlib.sha256(bits.encode()).hexdigest()[:16]
    return Record(wanted.tensor, entry.step.number, key, values, sample, rms, bits, broken, constant)


def _sampled(opened: Opened, stored: StoredTensor, whole: bool) -> tuple[Sample, float, int, bool, str]:
    """(values / rms, rms, how many are not finite, whether all are the same, their bytes as a text)."""
    size = math.prod(stored.shape)
    start = max(0, size - SAMPLE) // 2
    stop = min(size, start + SAMPLE)
    some = stored.raw().reshape(-1)[start:stop] if whole else opened.sample(stored.name, start, stop)
    raw = np.ascontiguousarray(some)
    values = float64(raw, stored.dtype).reshape(-1)
    finite = np.isfinite(values)
    broken = int(values.size - finite.sum())
    values = np.where(finite, values, 0.0)
    rms = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    constant = bool(values.size == 0 or values.min() == values.max())
    return (values / (rms or 1.0)).astype(np.float16), rms, broken, constant, raw.tobytes().hex()


def _statistics(moments: Moments) -> dict[str, float]:
    """The Tracker's statistics of weights; NaN, as the Tracker's, where a value is not finite."""
    if moments.broken or not moments.count:
        return dict.fromkeys(("std", "mean", "rms", "absmax", "kurtosis"), math.nan)
    return {"std": moments.std, "mean": moments.mean, "rms": math.hypot(moments.std, moments.mean),
            "absmax": moments.absmax, "kurtosis": moments.kurtosis}


def _cosines(piece: Piece, stored: StoredTensor, moments: Moments,
             others: Mapping[str, tuple[Entry, Record] | None]) -> dict[str, float]:
    present = {name: other for name, other in others.items() if other is not None}
    tensors = {other[0].step.number: other[0].opened.checkpoint.tensors[stored.name]
               for other in present.values()}
    dots = _dots(piece, stored, tensors)
    size = math.prod(piece.shape)
    own = math.hypot(moments.std, moments.mean)
    cosines = {}
    for name, (entry, record) in present.items():
        rms = record.values[piece.parameter.name]["rms"]
        scale = size * own * (rms or math.nan)
        cosines[name] = dots[entry.step.number] / scale if scale else math.nan
    return cosines


def _dots(piece: Piece, stored: StoredTensor, others: Mapping[int, StoredTensor]) -> dict[int, float]:
    """The inner product of a matrix with that of each other step."""
    view = piece.of(stored.raw())
    rows = max(1, CHUNK // max(1, math.prod(view.shape[1:])))
    sums = dict.fromkeys(others, 0.0)
    for start in range(0, len(view), rows) if others else ():
        now = _part(piece, stored, start, start + rows)
        for number, other in others.items():
            sums[number] += float(now @ _part(piece, other, start, start + rows))
    return sums


def _part(piece: Piece, stored: StoredTensor, start: int, stop: int) -> Floats:
    return float64(piece.of(stored.raw())[start:stop], stored.dtype).reshape(-1)
