"""A tensor as it is stored, and its moments.

Values are read once, a chunk at a time, so that a tensor is never whole in memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[Any]
Floats = NDArray[np.float64]
ITEM: dict[str, "np.dtype[Any]"] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Stored float type -> how numpy reads it. numpy has no bfloat16, so that is read as its bits."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor: `raw()` gives its values as `ITEM[dtype]`, where possible as a view of a mapped file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    raw: Callable[[], Raw]


@dataclass(frozen=True)
class Checkpoint:
    """All float tensors of a model, and what is known beside them.

    `config` is the model's config; `tied` maps a tensor to the one that it shares memory with; `skipped` maps
    tensors that hold no floats to their type; `types` maps a parameter to its module's class name.
    """

    source: str
    tensors: dict[str, StoredTensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


def float64(raw: Raw, dtype: str) -> Floats:
    """Stored values as float64; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64)


CHUNK = 2**17
"""Values that are worked on at once. Larger arrays are fresh memory each time: an eighth of the speed."""


def chunks(raw: Raw, dtype: str, elements: int = CHUNK) -> Iterator[Floats]:
    """`raw` [rows, ...] as float64 [some rows, values in a row], about `elements` values at a time."""
    rows = raw.reshape(1, -1) if raw.ndim < 2 else raw
    width = max(1, rows.size // max(1, len(rows)))
    step = max(1, elements // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        yield float64(part, dtype).reshape(len(part), -1)


@dataclass(frozen=True)
class Moments:
    """Count, mean, std (about the mean), excess kurtosis (nan if constant) and extremes of the finite values.

    `broken` counts NaN and infinite values, `empty_rows` counts rows of zeros that were left out.
    """

    count: int
    mean: float
    std: float
    kurtosis: float
    low: float
    high: float
    broken: int
    empty_rows: int

    @property
    def absmax(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return self.count > 0 and self.low == self.high


def measure(raw: Raw, dtype: str, skip_empty_rows: bool = False) -> Moments:
    """Moments of `raw` [rows, ...], stored as `dtype`.

    With `skip_empty_rows`, rows of zeros (an embedding's padding token) are left out. Sums are taken of
    differences from the first chunk's mean, so that a mean far from 0 costs no digits.
    """
    count, broken, empty = 0, 0, 0
    center, low, high = math.nan, math.inf, -math.inf
    sums = np.zeros(4)
    for chunk in chunks(raw, dtype):
        values, left_out = _filled_rows(chunk) if skip_empty_rows else (chunk, 0)
        finite = values[np.isfinite(values)]
        broken, empty = broken + values.size - finite.size, empty + left_out
        if not finite.size:
            continue
        center = float(finite.mean()) if count == 0 else center
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        sums += _power_sums(finite - center)
        count += finite.size
    return Moments(count, *_central(sums / max(count, 1), center), low, high, broken, empty)


def _filled_rows(chunk: Floats) -> tuple[Floats, int]:
    """The rows that are not all zero, and how many are."""
    filled = (chunk != 0).any(axis=1)
    return chunk[filled], int((~filled).sum())


def _power_sums(x: Floats) -> Floats:
    square = x * x
    return np.array([x.sum(), square.sum(), (square * x).sum(), (square * square).sum()])


def _central(raw_moments: Floats, center: float) -> tuple[float, float, float]:
    """(mean, std, excess kurtosis) from the means of the first four powers of x - center."""
    m1, m2, m3, m4 = (float(moment) for moment in raw_moments)
    variance = max(0.0, m2 - m1**2)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    kurtosis = fourth / variance**2 - 3 if variance > 0 else math.nan
    return center + m1, math.sqrt(variance), kurtosis
