"""What is measured of one tensor at one step, and the file in which a run that is stopped keeps it."""

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.base.atomic import replacing

Sample = NDArray[np.float16]
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Record:
    """One tensor at one step.

    `values` maps the name of each matrix in it to its statistics. `sample` holds some values, those in the
    middle of the tensor, divided by their root mean square, and `sample_rms` that. `bits` is the same where
    the bytes are the same, as far as they were read. `broken` counts NaN and infinite values.
    """

    tensor: str
    step: int
    key: str
    values: Mapping[str, Values]
    sample: Sample
    sample_rms: float
    bits: str
    broken: int
    constant: bool


def as_line(record: Record) -> str:
    """One line of JSON; what is not finite is null."""
    fields: dict[str, Any] = {**vars(record), "sample": base64.b64encode(record.sample.tobytes()).decode()}
    fields["values"] = {name: {stat: value if value is not None and math.isfinite(value) else None
                               for stat, value in values.items()} for name, values in record.values.items()}
    return json.dumps(fields, allow_nan=False) + "\n"


def of_line(line: str) -> Record | None:
    """The record of a line; None for one that was cut short, or is none."""
    try:
        fields = json.loads(line)
        sample = np.frombuffer(base64.b64decode(fields.pop("sample")), np.float16)
        return Record(**fields, sample=sample) if line.endswith("\n") else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Journal:
    """Records that a run that was stopped has left in `file`, and those that this run adds to them."""

    def __init__(self, file: Path | None) -> None:
        self.known: dict[str, Record] = {}
        self.file = file
        if file is not None:
            kept = list(_read(file))
            self.known = {record.key: record for record in kept}
            with replacing(file) as partial:  # without a line that was cut short
                partial.write_text("".join(map(as_line, kept)), encoding="utf-8")

    def add(self, record: Record) -> None:
        """Keep a record."""
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as opened:
                opened.write(as_line(record))


def _read(file: Path) -> Iterator[Record]:
    if file.is_file():
        with file.open(encoding="utf-8", errors="replace") as opened:
            yield from filter(None, map(of_line, opened))
