"""What a parameter is for. Its role settles tying, residual scaling and which schemes set it."""

from dataclasses import dataclass

QKV = ("q", "k", "v")
BLOCK = (*QKV, "attn_out", "mlp_in", "mlp_out")
"""Matrices inside a transformer block, in the order of the forward pass."""
RESIDUAL = ("attn_out", "mlp_out")
"""Projections that write to the residual stream; GPT-2 scales their std by 1/sqrt(2 n_layer)."""
EMBEDDINGS = ("embedding", "position")
DENSE = ("hidden", "readout")
"""Weight layers of an MLP."""


@dataclass(frozen=True)
class Parameter:
    """One weight matrix: its name in the model, role, place and size.

    `layer` counts from 1; embeddings are layer 0. `depth` is the number of transformer blocks, or of
    weight layers in an MLP.
    """

    name: str
    role: str
    layer: int
    depth: int
    fan_in: int
    fan_out: int
