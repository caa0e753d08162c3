"""Names that libraries give their parameters, as patterns of which the first match decides.

Each pattern is searched in a parameter's path without ".weight" and without wrappers. A new spelling is a new
alternative in one of them.
"""

import re

Table = tuple[tuple[str, "re.Pattern[str]"], ...]

WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""Parts of a name that torch.compile, DDP, FSDP, activation checkpointing and Lightning Fabric insert."""

BUFFERS = re.compile(r"(inv_freq|masked_bias|running_(mean|var)|num_batches_tracked|(position|type)_ids)$")
"""Buffers, which nobody initialises."""

CONV1D = re.compile(r"(^|\.)(c_attn|q_attn|c_proj|c_fc)\.weight$")
"""Layers that are Conv1D, with weights [in, out], in Hugging Face's models of GPT-2's family."""

RECURRENT = re.compile(r"weight_(ih|hh)_l\d")
"""Fused gates of torch's RNN, GRU and LSTM: no scheme here is about them."""


def _table(**alternatives: str) -> Table:
    return tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in alternatives.items())


ATTENTION: Table = _table(
    qkv_per_head=r"(^|\.)query_key_value$",
    qkv=r"(^|\.)(c_attn|qkv|qkv_proj|wqkv|to_qkv|in_proj_weight)$|(attn|attention)\w*\.in_proj$",
    q=r"(^|\.)(q|q_proj|query|q_lin|wq|to_q|query_proj)$",
    k=r"(^|\.)(k|k_proj|key|k_lin|wk|to_k|key_proj)$",
    v=r"(^|\.)(v|v_proj|value|v_lin|wv|to_v|value_proj)$",
    attn_out=r"(attn|attention)\w*\.(.*\.)?(c_proj|o_proj|out_proj|dense|proj|out_lin|wo|o|to_out|to_out\.0)$",
)
"""Attention. A block is where q, k and v are."""

MLP: Table = _table(
    gate_up=r"(^|\.)gate_up_proj$",
    mlp_in=r"(^|\.)(c_fc|fc_in|fc1|fc_1|fc_2|lin1|linear1|gate_proj|up_proj|w1|w3|wi|wi_0|wi_1|dense_h_to_4h"
           r"|intermediate\.dense|(mlp|ff\w*)\.(fc|0|up|w_in))$",
    mlp_out=r"(^|\.)(mlp\.c_proj|fc_out|fc2|lin2|linear2|down_proj|w2|wo|dense_4h_to_h"
            r"|output\.dense|(mlp|ff\w*)\.(proj|2|down|w_out))$",
)
"""The other matrices of a block."""

OUTSIDE: Table = _table(
    readout=r"(^|\.)(lm_head|embed_out|unembed\w*|readout|heads?|heads?\.head|score|logits|output|out|proj_out|fc"
            r"|classifier|classifier\.(out_proj|\d+)|predictions\.decoder|seq_relationship|qa_outputs)$",
    hidden=r"(^|\.)(pooler|transform|classifier\.dense|pre_classifier)(\.dense)?$",
    position=r"(^|[._])(wpe|pos|position|positional|positions)([._]|$)",
    embedding=r"(^|[._])(wte|emb|embed|embeds|embedding|embeddings|shared)([._]|$)"
              r"|(^|[._])(cls|class|mask|dist\w*)_token$",
)
"""Matrices outside of every block."""
