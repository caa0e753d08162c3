"""A tensor as it is stored, and its moments.

Values are read a chunk at a time, so that a tensor is never whole in memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[Any]
Floats = NDArray[np.float64]
ITEM: dict[str, "np.dtype[Any]"] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"), "F8_E5M2": np.dtype("u1")}
"""Stored float type -> how numpy reads it. Types that numpy does not have are read as their bits.

The types of eight bits are those of arXiv 2209.05433.
"""
MOST_DIMENSIONS = 32
LARGEST = 2**62
"""Bytes of a tensor, a size of 0 counted as 1: numpy's limit is twice that."""
TINY = 1e-70
"""Below this std the fourth power of a value may be 0 in float64."""


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
    tensors that are left out, as they hold no floats or no weights, to their type, and `skipped_shapes` to
    the shape as it is stored, where that is known; `types` maps a parameter to its module's class name;
    `notes` are sentences on what was read.
    """

    source: str
    tensors: dict[str, StoredTensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    skipped_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def problem_with(shape: tuple[int, ...], dtype: str) -> str:
    """Why no tensor can have this shape, or an empty text."""
    if len(shape) > MOST_DIMENSIONS:
        return f"{len(shape)} dimensions: expected at most {MOST_DIMENSIONS}"
    if math.prod(max(1, size) for size in shape) * ITEM[dtype].itemsize > LARGEST:
        return f"shape {list(shape)}: expected sizes that a tensor can have"
    return ""


def float64(raw: Raw, dtype: str) -> Floats:
    """Stored values as float64. BF16 is the upper half of a float32, F8_E5M2 that of a float16."""
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F8_E5M2":
        raw = (raw.astype(np.uint16) << 8).view(np.float16)
    elif dtype == "F8_E4M3":
        return _e4m3()[raw]
    return raw.astype(np.float64)


CHUNK = 2**17
"""Values that are worked on at once. Larger arrays are fresh memory each time: an eighth of the speed."""


@cache
def _e4m3() -> Floats:
    """[256] The value of each F8_E4M3: a sign, four bits of exponent, three of mantissa, no infinity."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    size = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    values = np.where(bits < 128, size, -size)
    return np.where(bits & 127 == 127, math.nan, values)


def chunks(raw: Raw, dtype: str, elements: int = CHUNK) -> Iterator[Floats]:
    """`raw` [rows, ...] as float64 [some rows, values in a row], about `elements` values at a time."""
    if not raw.size:
        return
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
    differences from the first chunk's mean, so that a mean far from 0 costs no digits. Where a fourth power
    of the values is more, or less, than a float64 can hold, they are read again in units of the largest.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        moments = _measure(raw, dtype, skip_empty_rows, 1.0)
        if moments.constant or not moments.count or _certain(moments):
            return moments
        scaled = _measure(raw, dtype, skip_empty_rows, moments.absmax)
    return replace(scaled, mean=scaled.mean * moments.absmax, std=scaled.std * moments.absmax,
                   low=moments.low, high=moments.high)


def _certain(moments: Moments) -> bool:
    """Whether no sum of powers was rounded to 0 or to infinity."""
    return math.isfinite(moments.kurtosis) and moments.std > TINY


def _measure(raw: Raw, dtype: str, skip_empty_rows: bool, unit: float) -> Moments:
    """As `measure`, of the values divided by `unit`."""
    count, broken, empty = 0, 0, 0
    center, low, high = math.nan, math.inf, -math.inf
    sums = np.zeros(4)
    for chunk in chunks(raw, dtype):
        values, left_out = _filled_rows(chunk) if skip_empty_rows else (chunk, 0)
        finite = values[np.isfinite(values)] / unit
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
    m1, m2, m3, m4 = raw_moments  # of numpy, as Python's own floats raise OverflowError
    variance = np.maximum(0.0, m2 - m1**2)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    kurtosis = fourth / variance**2 - 3 if variance**2 > 0 else math.nan
    return float(center + m1), float(np.sqrt(variance)), float(kurtosis)
