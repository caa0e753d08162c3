"""Tensors that could not be read and may be weights: quantised ones, and types that nobody computes with."""

from variance_dynamics.auditing.tensors import Checkpoint
from variance_dynamics.roles.patterns import BUFFERS

COUNTS = ("I64", "BOOL", "int64", "bool")
"""Types of positions, counters and masks, which are never weights."""


def weights_left_out(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Their names; what is a buffer by its name or type, and the scales beside quantised weights, are not."""
    return tuple(name for name, kind in checkpoint.skipped.items()
                 if kind not in COUNTS and not kind.startswith("scales") and not BUFFERS.search(name)
                 and not name.endswith(("attn.bias", "attention.bias"))
                 and len(checkpoint.skipped_shapes.get(name, (1, 1))) > 1)
