"""JSON from a file that may be damaged: an object, each name once, numbers of a size that can be used."""

import json
import math
from typing import Any

from variance_dynamics.base.errors import BadInput

LONGEST_NUMBER = 300
"""Digits of a whole number: it is then within a float64."""


class _Unusable(ValueError):
    """What JSON may say, and no file of ours does."""


def json_object(content: bytes, what: str) -> dict[str, Any]:
    """The object that `content` is. Raises BadInput, which begins with `what`, for all else."""
    why = ""
    try:
        read = json.loads(content, parse_int=_whole, parse_float=_finite, parse_constant=_finite,
                          object_pairs_hook=_each_once)
    except _Unusable as problem:
        read, why = None, f" ({problem})"
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise BadInput(f"{what}: no JSON object{why}: expected one")
    return read


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _Unusable(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Unusable(f"the number {text:.20}")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _Unusable("a name that occurs twice")
    return made
