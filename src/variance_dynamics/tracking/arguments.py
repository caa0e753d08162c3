"""What a tracker is given, checked, with one clear line for what is wrong."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import IsDue
from variance_dynamics.weights.pieces import Piece

WEIGHTS, GRADIENTS, UPDATES, SETTINGS = "weights", "gradients", "updates", "settings"
BUDGET, DISPLACEMENT, ACTIVATIONS = "budget", "displacement", "activations"
OF_MATRICES = (WEIGHTS, GRADIENTS, UPDATES, DISPLACEMENT)
"""What the study measures."""
MEASURES = (WEIGHTS, GRADIENTS, UPDATES, SETTINGS, BUDGET, DISPLACEMENT, ACTIVATIONS)
"""What can be measured, each switched by name."""
USUAL = (WEIGHTS, GRADIENTS, UPDATES, SETTINGS)
NEED_OPTIMIZER = (GRADIENTS, UPDATES, SETTINGS, BUDGET, ACTIVATIONS)
SHOWN = 5
"""Matrices that a warning names."""


def checked_measures(measure: Collection[str] | None, watched: bool) -> Collection[str]:
    """The names in `measure`, or the usual ones for None; `watched` is whether there is an optimizer."""
    if measure is None:
        return USUAL if watched else (WEIGHTS,)
    names = [measure] if isinstance(measure, str) else list(measure)
    for name in names:
        if name not in MEASURES:
            raise BadInput(f"measure holds {name!r}: expected some of {', '.join(MEASURES)}")
        if not watched and name in NEED_OPTIMIZER:
            raise BadInput(f"measure holds {name!r}, optimizer is None: expected Tracker(model, optimizer)")
    return names


def checked_windows(windows: Iterable[int], measure: Collection[str]) -> list[int]:
    """Numbers of steps over which displacements are measured."""
    windows = list(windows)
    for window in windows:
        if not isinstance(window, int) or window < 1:
            raise BadInput(f"windows holds {window!r}: expected whole numbers of steps, 1 or more")
    if windows and DISPLACEMENT not in measure:
        raise BadInput(f"windows is {windows}, without \"displacement\" in measure: expected both or neither")
    return windows


def every_nth(every: int) -> IsDue:
    """True at every `every`-th step."""
    if not isinstance(every, int) or every < 1:
        raise BadInput(f"every is {every!r}: expected a whole number of steps, 1 or more")
    return lambda step: step % every == 0


def matrices_by_name(model: nn.Module, patterns: Mapping[str, str] | None, config: Mapping[str, Any] | None
                     ) -> list[Piece]:
    """The weight matrices by what the parameters' names say; a warning names those of no known role."""
    # The study gives `matrices`. Imported here, an edit of the name patterns does not train its GPT-2 again.
    from variance_dynamics.roles.of_model import roles_of

    roles = roles_of(model, patterns, config)
    pieces = [piece for piece in roles.pieces if math.prod(piece.shape)]
    if not pieces:
        raise BadInput(f"{type(model).__name__}: no weight matrix to track: expected a model with some")
    unknown = [piece.parameter.name for piece in roles.unknown]
    if unknown:
        warnings.warn(f"no role known of {shown(unknown)}: tracked whole, as 'unknown'; "
                      "patterns={regex: role} says what they are", stacklevel=3)
    return pieces


def shown(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def process() -> int:
    """The number of this process, 0 where there is one."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
