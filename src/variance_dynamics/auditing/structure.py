"""Faults that no moment shows: a matrix of low rank, and one of only +s and -s."""

import math

import numpy as np

from variance_dynamics.auditing.tensors import Moments, Raw, float64

BLOCK = 64
"""Rows and columns of the corner whose rank is looked at."""
SMALLEST = 8
"""A smaller corner says nothing: of 8 x 8 random values, no more than one in 10^20 is of rank 4."""
SMALL = 0.01
"""A singular value of this share of the largest one is what rounding to bfloat16 leaves."""


def structure(raw: Raw, dtype: str, moments: Moments) -> str:
    """What is wrong with the matrix `raw` [rows, ...], or an empty text."""
    if moments.broken or moments.constant or not moments.count:
        return ""
    return _two_values(moments) or _low_rank(raw, dtype)


def _two_values(moments: Moments) -> str:
    """Where every value is +s or -s, the root of the mean square is the largest value."""
    rms = math.hypot(moments.mean, moments.std)
    same = moments.count > 4 and math.isclose(rms, moments.absmax, rel_tol=1e-6)
    return f"only +{moments.absmax:.4g} and -{moments.absmax:.4g}" if same else ""


def _low_rank(raw: Raw, dtype: str) -> str:
    """By the singular values of a corner: of random ones, far more than half are near the largest."""
    flat = raw.reshape(len(raw), -1) if raw.ndim != 2 else raw
    corner = float64(flat[:BLOCK, :BLOCK], dtype)
    corner = corner[(corner != 0).any(axis=1)]
    if min(corner.shape) < SMALLEST:
        return ""
    largest = float(np.abs(corner).max())
    singular = np.linalg.svd(corner / largest, compute_uv=False)
    rank = int((singular > SMALL * singular[0]).sum())
    rows, columns = corner.shape
    low = rank <= min(corner.shape) // 2
    return f"rank {rank} of its first {rows} rows and {columns} columns" if low else ""
