"""A tensor as it is stored: its bytes are looked at when they are measured, and never all at once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[Any]
ITEM: dict[str, "np.dtype[Any]"] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Stored float type -> how numpy reads it. It has no bfloat16: that is read as its bits."""


@dataclass(frozen=True)
class Stored:
    """One tensor: `raw()` gives its values as `ITEM[dtype]`, best as a view of a mapped file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    raw: Callable[[], Raw]


@dataclass(frozen=True)
class Checkpoint:
    """All float tensors of a model; `tied` maps a tensor to the one that it shares memory with.

    `skipped` maps tensors that are no floats to their type.
    """

    source: str
    tensors: dict[str, Stored]
    config: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


def float64(raw: Raw, dtype: str) -> NDArray[np.float64]:
    """Stored values as float64; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64)


def chunks(raw: Raw, dtype: str, elements: int = 2**20) -> Iterator[NDArray[np.float64]]:
    """`raw` [rows, ...] as float64 [some rows, values in a row], about `elements` values at a time."""
    rows = raw.reshape(1, -1) if raw.ndim < 2 else raw
    width = max(1, rows.size // max(1, len(rows)))
    step = max(1, elements // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        yield float64(part, dtype).reshape(len(part), -1)
