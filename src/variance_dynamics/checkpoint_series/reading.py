"""All tensors of all steps, one after another: what is measured of them, and what is seen on the way."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from variance_dynamics.checkpoint_series.alike import Alike, alike
from variance_dynamics.checkpoint_series.records import Journal, Record
from variance_dynamics.checkpoint_series.walk import Entry, Wanted, bytes_of, confirmed, walk

SHOWN = 3
"""Names that a line lists."""


def some_of(texts: Sequence[str]) -> str:
    """The first few of some texts."""
    return "; ".join(texts[:SHOWN]) + (f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


@dataclass
class Measured:
    """What is kept of the records: `values` by step and matrix, the matrices for judging, lines on faults."""

    values: dict[tuple[int, str], Mapping[str, float | None]]
    matrices: list[Alike]
    broken: list[str]
    notes: list[str]


def read_all(entries: Sequence[Entry], wanted: Sequence[Wanted], journal: Journal, whole: bool) -> Measured:
    """Every tensor of `wanted` at every step; with `whole` all values of it, else samples."""
    values: dict[tuple[int, str], Mapping[str, float | None]] = {}
    matrices, bad = [], dict[int, list[str]]()
    numbers = [entry.step.number for entry in entries]
    with _progress(entries, wanted) as done:
        for each in wanted:
            records: dict[int, Record] = {}
            for record in walk(entries, each, journal, whole, done):
                records[record.step] = record
                values |= {(record.step, name): found for name, found in record.values.items()}
                if record.broken:
                    bad.setdefault(record.step, []).append(each.tensor)
            if not whole:
                records = confirmed(records, entries)
            if each.pieces and records:
                matrices.append(alike(each.tensor, records, numbers))
    sampled = "" if whole else " (of those that were looked at)"
    broken = [f"step {step:,}: values NaN or infinite{sampled} in {some_of(names)}"
              for step, names in sorted(bad.items())]
    frozen = [matrix.tensor for matrix in matrices if matrix.frozen]
    line = (f"{len(frozen)} of {len(matrices)} tensors with matrices are the same at all steps: "
            f"{some_of(frozen)}")
    return Measured(values, matrices, broken, [line] if frozen and len(frozen) < len(matrices) else [])


@contextlib.contextmanager
def _progress(entries: Sequence[Entry], wanted: Sequence[Wanted]) -> Iterator[Callable[[int], object]]:
    """A bar in bytes, with rate and time left, where tqdm is installed."""
    tensors = (entry.opened.checkpoint.tensors.get(each.tensor) for entry in entries for each in wanted)
    total = sum(bytes_of(stored) for stored in tensors if stored)
    try:
        from variance_dynamics.base.progress import progress
    except ImportError:
        yield lambda size: None
        return
    with progress(total=total, unit="B", unit_scale=True, desc="series") as bar:
        yield bar.update
