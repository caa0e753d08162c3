"""A weight matrix and its role. The role decides residual scaling and which schemes set the matrix."""

from dataclasses import dataclass

QKV = ("q", "k", "v")
BLOCK = (*QKV, "attn_out", "mlp_in", "mlp_out")
"""Matrices inside a transformer block, in the order of the forward pass."""
RESIDUAL = ("attn_out", "mlp_out")
"""Projections that write to the residual stream; GPT-2 multiplies their std by 1 / sqrt(2 n_layer)."""
EMBEDDINGS = ("embedding", "position")
DENSE = ("hidden", "readout")
"""Weight layers of an MLP."""


@dataclass(frozen=True)
class Parameter:
    """One weight matrix: its name in the model, role, place and size.

    `layer` counts from 1; embeddings are layer 0. `depth` is the number of transformer blocks, or the number
    of weight layers of an MLP.
    """

    name: str
    role: str
    layer: int
    depth: int
    fan_in: int
    fan_out: int
