"""A weight matrix and its role. The role decides residual scaling and which schemes set the matrix."""

from dataclasses import dataclass

QKV = ("q", "k", "v")
BLOCK = (*QKV, "attn_out", "mlp_in", "mlp_out")
"""Matrices of GPT-2's block, in the order of the forward pass."""
IN_BLOCK = ("q_down", "kv_down", *QKV, "attn_out", "mixer_in", "mixer", "mixer_out", "router",
            "mlp_in", "mlp_out", "lora_a", "lora_b")
"""Matrices of any block, in the order of the forward pass.

q_down and kv_down are the down projections of latent attention (DeepSeek's), router that of a mixture of
experts, lora_a and lora_b an adapter's. mixer_in, mixer_out and mixer are the input projection, the output
projection and the rest of what mixes positions without being attention (Mamba, RWKV, linear attention).
"""
RESIDUAL = ("attn_out", "mlp_out", "mixer_out")
"""Projections that write to the residual stream; GPT-2 multiplies their std by 1 / sqrt(2 n_layer)."""
EMBEDDINGS = ("embedding", "position")
TABLES = (*EMBEDDINGS, "token", "bias_table")
"""Stored as [fan_in, fan_out] and looked up or added, not multiplied.

token: class, mask, register and query tokens. bias_table: biases of attention by relative position.
"""
DENSE = ("hidden", "readout")
"""Weight layers of an MLP."""
OTHER_LAYERS = ("patch", "conv", "input_gates", "recurrent_gates")
"""patch makes patches or frames into tokens, conv is any other convolution; gates are of an LSTM or GRU."""
UNKNOWN = "unknown"
ROLES = (*BLOCK, *(role for role in IN_BLOCK if role not in BLOCK), *TABLES, *DENSE, *OTHER_LAYERS)
"""Every role of a matrix except `UNKNOWN`."""
VECTOR_ROLES = ("norm", "bias", "scale", "other")
"""Roles of parameters that are no matrix. scale: what multiplies a block's output (layer scale)."""


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
